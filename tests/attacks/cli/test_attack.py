"""`secagg attack`, called as the command calls it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from secagg.cli.group import Lazy, LazyGroup
from secagg_attacks.cli.group import attack

MODULE = """
import numpy as np
import torch
from secagg_attacks import Target
from torch import nn

rng = np.random.default_rng(0)
images, labels = rng.random((300, 1, 4, 4)).astype("float32"), rng.integers(0, 3, 300)


def made():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3))
    return Target(model, (images[:200], labels[:200]), (images[200:], labels[200:]), name="mine")


mine = made()


def nothing():
    return 3
"""


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    (tmp_path / "attacked.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield tmp_path
    sys.modules.pop("attacked", None)


def call(*arguments: Any) -> Any:
    group = LazyGroup("secagg", lazy=[Lazy("attack", "secagg_attacks.cli", "")])
    return CliRunner().invoke(group, ["attack", *map(str, arguments)])


def test_there_are_four_commands():
    assert set(attack.commands) == {"inversion", "membership", "audit", "matrix"}
    for name in attack.commands:
        done = call(name, "--help")
        assert done.exit_code == 0
        for option in ("--defence", "--budget", "--seed", "--json", "--out", "--target"):
            assert option in done.stdout


def test_a_table_says_verdict_figure_and_chance_and_writes_its_report(here):
    done = call(
        "membership", "--defence", "masks", "--budget", "20s", "--target", "attacked:mine", "--out", "out"
    )
    assert done.exit_code == 0, done.output
    assert "masks: accuracy" in done.stdout and "chance 0.5" in done.stdout
    assert done.stdout.splitlines()[-1] == "out/report.html"
    assert {path.name for path in (here / "out").iterdir()} == {
        "cells",
        "config.json",
        "report.html",
        "results.json",
        "scores.npz",
    }
    config = json.loads((here / "out" / "config.json").read_text())
    assert (config["target"], config["source"]) == ("mine", "attacked:mine")
    assert len(config["target_digest"]) == 64


def test_with_json_it_is_one_object_on_one_line(here):
    done = call("membership", "--defence", "none", "--budget", "20s", "--target", "attacked:made", "--json")
    (line,) = done.stdout.splitlines()
    written = json.loads(line)
    assert written["format"] == "secagg-attacks/1"
    assert {each["defence"] for each in written["findings"]} == {"none"}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--defence", "hope"], "defence-unknown"),
        (["--target", "attacked:nothing"], "target-missing"),
        (["--target", "attacked:labels"], "target-missing"),
        (["--target", "nowhere:made"], "function-module-missing"),
        (["--target", "attacked:absent"], "function-missing"),
        (["--budget", "soon"], "usage"),
        (["--budget", "0s"], "matrix-budget"),
        (["--seed", "-1"], "usage"),
    ],
)
def test_what_is_asked_wrongly_is_exit_code_2_with_its_code(here, arguments, code):
    done = call("audit", "--json", *arguments)
    assert done.exit_code == 2, done.output
    assert json.loads(done.stdout)["error"] == code


def test_a_bound_that_beats_its_account_is_exit_code_5(here):
    """The cell of an earlier call says so: what is there is gone on with."""
    arguments = (
        "audit",
        "--defence",
        "masks-client-50",
        "--budget",
        "30s",
        "--target",
        "attacked:mine",
        "--out",
        "o",
    )
    first = call(*arguments)
    assert first.exit_code == 0, first.output
    (cell,) = (
        path
        for path in (here / "o" / "cells").glob("*.json")
        if (known := json.loads(path.read_text())).get("attack") and known["defence"] == "masks-client-50"
    )
    document = json.loads(cell.read_text())
    document["more"]["accounted epsilon"] = 0.0
    document["more"]["epsilon at least, at 99.9 %"] = 0.5
    cell.write_text(json.dumps(document))
    again = call(*arguments)
    assert again.exit_code == 5
    assert "FAILURE: masks-client-50: epsilon is at least 0.5 and is accounted as 0" in again.stderr
    assert 'role="alert"' in (here / "o" / "report.html").read_text()


def test_another_seed_does_not_go_on_with_a_table(here):
    assert (
        call(
            "audit", "--defence", "none", "--budget", "20s", "--target", "attacked:mine", "--out", "o"
        ).exit_code
        == 0
    )
    done = call(
        "audit", "--defence", "none", "--target", "attacked:mine", "--out", "o", "--seed", "1", "--json"
    )
    assert (done.exit_code, json.loads(done.stdout)["error"]) == (2, "matrix-other-config")
