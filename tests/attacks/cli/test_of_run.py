"""`secagg attack audit --run RUN`: the plan of a run audited, for its privacy report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from secagg import report
from secagg.cli.group import Lazy, LazyGroup
from secagg.plan import Plan
from tests.report.runs import CLIENT, played


@pytest.fixture
def run(tmp_path: Path) -> Path:
    cohort = {"max_clients": 40, "min_survivors": 10, "colluders": 0.0, "dropouts": 0.0}
    return played(tmp_path, Plan(run={"name": "audited", "rounds": 1}, cohort=cohort, privacy=CLIENT))


def call(*arguments: Any) -> Result:
    group = LazyGroup("secagg", lazy=[Lazy("attack", "secagg_attacks.cli", "")])
    return CliRunner().invoke(group, ["attack", "audit", *map(str, arguments)])


def test_the_bounds_are_said_beside_the_account_and_stand_in_the_report(run: Path) -> None:
    done = call("--run", run)

    assert done.exit_code == 0, done.output
    assert "played: 40 canary clients, 1 of 1 rounds" in done.stdout
    assert done.stdout.count("epsilon of one client: at least") == 3
    accounted = report.write(run)["units"][0]["epsilon"]["server"]["says"]
    assert done.stdout.count(f"at most {accounted} by account") == 3
    assert report.verify(run).findings == ()


def test_with_json_it_is_one_object(run: Path) -> None:
    done = call("--run", run, "--json", "--seed", "3")

    (line,) = done.stdout.splitlines()
    said = json.loads(line)
    assert said["played"] == ["40 canary clients, 1 of 1 rounds"]
    assert said["bounds"] == report.document(report.read(run))["attacks"]["bounds"]


@pytest.mark.parametrize("option", ["--defence=masks", "--out=there", "--budget=60s", "--target=mine:target"])
def test_what_is_of_a_table_is_refused_beside_it(run: Path, option: str) -> None:
    done = call("--run", run, option)

    assert done.exit_code == 2
    assert "--run goes with" in done.output
    assert not (run / "attacks.json").exists()


def test_a_folder_that_is_no_run_is_refused_by_name(tmp_path: Path) -> None:
    done = call("--run", tmp_path, "--json")

    assert (done.exit_code, json.loads(done.stdout)["error"]) == (1, "run-missing")
