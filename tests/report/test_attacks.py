"""Measured beside proven: attacks.json in the report, and what a lower bound above the account does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from secagg import report
from secagg.cli import main
from secagg.errors import RunError
from secagg.plan import Plan
from secagg.report.attack_record import read_attacks
from secagg.report.figures import left
from tests.report.attacked import BOUND, FINDING, SURE, attacked
from tests.report.runs import plan_of, played

SCHEMA = json.loads((files("secagg.report") / "privacy.schema.json").read_text())


@pytest.fixture
def plan() -> Plan:
    return plan_of("client")


@pytest.fixture
def run(tmp_path: Path, plan: Plan) -> Path:
    return played(tmp_path, plan)


def documented(run: Path) -> dict[str, Any]:
    made = report.document(report.read(run))
    jsonschema.Draft202012Validator(SCHEMA).validate(made)
    return made


def beating(run: Path) -> float:
    """An epsilon above the account of the server."""
    return 1.01 * float(documented(run)["units"][0]["epsilon"]["server"]["epsilon"])


def test_without_the_file_there_is_nothing_measured_and_the_page_says_so(run: Path) -> None:
    made = documented(run)

    assert made["attacks"] is None
    assert made["digests"]["attacks"] is None
    assert "No attack was run" in report.markdown(made)


def test_what_was_measured_stands_beside_what_is_proven(run: Path, plan: Plan) -> None:
    made = documented(attacked(run, plan))

    (bound,) = made["attacks"]["bounds"]
    server = made["units"][0]["epsilon"]["server"]["epsilon"]
    assert (bound["accounted"], bound["beats"]) == (server, False)
    assert made["attacks"]["findings"] == [FINDING]
    assert made["digests"]["attacks"] == hashlib.sha256((run / "attacks.json").read_bytes()).hexdigest()
    page = report.markdown(made)
    assert "cosine-sum" in page
    assert "proves nothing about other attacks" in page
    row = next(line for line in page.splitlines() if line.startswith("| one client"))
    assert row.split(" | ")[1:3] == ["0.25", made["units"][0]["epsilon"]["server"]["says"]]


def test_it_is_on_the_html_page_too(run: Path, plan: Plan) -> None:
    attacked(run, plan)
    report.write(run)

    page = (run / "report.html").read_text()
    assert "cosine-sum" in page
    assert made_of(run)["digests"]["attacks"] in page


def made_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "privacy.json").read_text())
    return found


@pytest.mark.parametrize("confidence", [0.999, 0.9999])
def test_a_sure_lower_bound_above_the_account_is_said_first(run: Path, plan: Plan, confidence: float) -> None:
    sure = {**SURE, "epsilon": beating(run), "confidence": confidence}
    made = documented(attacked(run, plan, bounds=[sure]))

    assert made["attacks"]["bounds"][0]["beats"] is True
    assert made["claim"][0].startswith("The account does not hold, or the audit does not")
    assert f"{100 * confidence:.4g} % confidence, assuming fair coins" in made["claim"][0]
    assert len(made["claim"]) == len(documented(attacked(run, plan))["claim"]) + 1
    assert "Caution" not in report.markdown(made)


@pytest.mark.parametrize(("confidence", "one_in"), [(0.95, 20), (0.998, 500)])
def test_a_bound_above_of_less_confidence_is_a_caution_and_no_failure(
    run: Path, plan: Plan, confidence: float, one_in: int
) -> None:
    epsilon = beating(run)
    made = documented(attacked(run, plan, bounds=[{**BOUND, "epsilon": epsilon, "confidence": confidence}]))

    assert made["attacks"]["bounds"][0]["beats"] is False
    assert report.beaten(made) is None
    assert made["claim"] == documented(attacked(run, plan))["claim"]
    page = report.markdown(made)
    assert f"Caution: epsilon of one client is at least {left(epsilon)}" in page
    assert f"in one audit of {one_in}," in page
    assert CliRunner().invoke(main, ["report", str(run)]).exit_code == 0


def test_a_bound_below_the_account_is_no_caution(run: Path, plan: Plan) -> None:
    assert "Caution" not in report.markdown(documented(attacked(run, plan)))


@pytest.mark.parametrize("options", [[], ["--format", "json"], ["--json"]])
def test_the_command_then_ends_with_code_5_and_has_written_the_report(
    run: Path, plan: Plan, options: list[str]
) -> None:
    attacked(run, plan, bounds=[{**SURE, "epsilon": beating(run)}, BOUND])

    done = CliRunner().invoke(main, ["report", str(run), *options])

    assert done.exit_code == 5
    assert "account-beaten" in done.output
    assert "does not hold" in done.output
    assert (run / "privacy.json").exists() == ("--format" not in options)


def test_verification_ends_with_code_5_too_where_all_is_as_claimed(run: Path, plan: Plan) -> None:
    attacked(run, plan, bounds=[{**SURE, "epsilon": beating(run)}])
    report.write(run)

    assert report.verify(run).findings == ()
    done = CliRunner().invoke(main, ["report", str(run), "--verify"])
    assert done.exit_code == 5
    assert "all is as claimed" in done.output


def test_a_bound_below_ends_with_code_0(run: Path, plan: Plan) -> None:
    attacked(run, plan)
    report.write(run)

    for options in ([], ["--verify"]):
        assert CliRunner().invoke(main, ["report", str(run), *options]).exit_code == 0


def test_verification_covers_what_was_measured(run: Path, plan: Plan) -> None:
    attacked(run, plan)
    report.write(run)
    assert any("attacks.json" in sentence for sentence in report.verify(run).checked)

    attacked(run, plan, bounds=[{**BOUND, "epsilon": 0.2}])
    where = {finding.where for finding in report.verify(run).findings}
    assert "privacy.json, attacks.bounds[0].epsilon" in where
    assert "privacy.json, digests.attacks" in where

    (run / "attacks.json").unlink()
    assert any(finding.where.startswith("privacy.json, attacks") for finding in report.verify(run).findings)


def test_measurements_of_another_plan_are_a_finding_and_are_not_shown(run: Path) -> None:
    attacked(run, plan_of("client", rounds=6), bounds=[{**BOUND, "epsilon": 1000.0}])
    made = report.write(run)

    assert made["attacks"]["of_this_plan"] is False
    assert (made["attacks"]["findings"], made["attacks"]["bounds"]) == ([], [])
    assert not made["claim"][0].startswith("The account")
    page = report.markdown(made)
    assert "of another plan" in page
    assert "cosine-sum" not in page
    (finding,) = report.verify(run).findings
    assert finding.where == "attacks.json"
    jsonschema.Draft202012Validator(SCHEMA).validate(made)


@pytest.mark.parametrize("delta", [1e-6, 0.0])
def test_a_bound_at_a_smaller_delta_is_not_held_against_the_account(
    run: Path, plan: Plan, delta: float
) -> None:
    made = documented(attacked(run, plan, bounds=[{**SURE, "epsilon": 1000.0, "delta": delta}]))

    assert (made["attacks"]["bounds"][0]["accounted"], made["attacks"]["bounds"][0]["beats"]) == (None, None)
    assert "not comparable" in report.markdown(made)


def test_a_bound_at_a_larger_delta_is_one_at_the_accounts_as_well(run: Path, plan: Plan) -> None:
    made = documented(attacked(run, plan, bounds=[{**SURE, "epsilon": beating(run), "delta": 1e-3}]))

    assert made["attacks"]["bounds"][0]["beats"] is True


def test_a_bound_of_a_unit_that_the_plan_does_not_protect_is_not_comparable(run: Path, plan: Plan) -> None:
    made = documented(attacked(run, plan, bounds=[{**BOUND, "unit": "example"}]))

    assert made["attacks"]["bounds"][0]["beats"] is None


def test_of_a_run_that_is_not_over_the_account_beside_a_bound_is_of_every_round_of_the_plan(
    tmp_path: Path, plan: Plan
) -> None:
    whole = documented(attacked(played(tmp_path / "whole", plan), plan))
    part = documented(attacked(played(tmp_path / "part", plan, rounds=2, finished=False), plan))

    assert whole["attacks"]["rounds"] == part["attacks"]["rounds"] == plan.run.rounds
    accounted = whole["attacks"]["bounds"][0]["accounted"]
    assert part["attacks"]["bounds"][0]["accounted"] == pytest.approx(accounted, rel=1e-9)
    assert part["units"][0]["epsilon"]["server"]["epsilon"] < accounted


def without(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda document: document.pop(name)


CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another format": lambda document: document.update(format=2),
    "a format that is no number": lambda document: document.update(format=True),
    "no plan": without("plan"),
    "no bounds": without("bounds"),
    "a plan that is no digest": lambda document: document.update(plan="../" * 20),
    "one name more": lambda document: document.update(more=1),
    "findings that are none": lambda document: document.update(findings={}),
    "a finding that is none": lambda document: document["findings"].append([]),
    "a finding of no attack": lambda document: document["findings"][0].pop("attack"),
    "an attack of many lines": lambda document: document["findings"][0].update(attack="a\nb"),
    "an attack that a terminal obeys": lambda document: document["findings"][0].update(attack="\x1b[2J"),
    "an attack without an end": lambda document: document["findings"][0].update(attack="a" * 200),
    "another verdict": lambda document: document["findings"][0].update(verdict="safe"),
    "a value of words": lambda document: document["findings"][0].update(value="0.5"),
    "a count below zero": lambda document: document["findings"][0].update(n=-1),
    "a count that is a truth": lambda document: document["findings"][0].update(n=True),
    "a view that is no digest": lambda document: document["bounds"][0].update(view="<b>"),
    "an epsilon below zero": lambda document: document["bounds"][0].update(epsilon=-0.1),
    "no epsilon": lambda document: document["bounds"][0].update(epsilon=None),
    "a delta of one": lambda document: document["bounds"][0].update(delta=1),
    "full confidence": lambda document: document["bounds"][0].update(confidence=1.0),
    "no trials": lambda document: document["bounds"][0].update(trials=0),
    "another unit": lambda document: document["bounds"][0].update(unit=["client"]),
    "another assumption": lambda document: document["bounds"][0].update(assumes="trust"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_file_that_no_harness_writes_is_damage(
    run: Path, plan: Plan, change: Callable[[dict[str, Any]], Any]
) -> None:
    attacked(run, plan)
    document = json.loads((run / "attacks.json").read_text())
    change(document)
    (run / "attacks.json").write_text(json.dumps(document))

    for refuse in (report.read, report.verify, report.write):
        with pytest.raises(RunError) as refused:
            refuse(run)
        assert refused.value.code == "run-damaged"
        assert "attacks.json" in refused.value.message


@pytest.mark.parametrize("text", ["", "null", "[1", '{"format": 1, "format": 1}', '{"format": NaN}'])
def test_what_is_not_strict_json_is_damage(run: Path, text: str) -> None:
    (run / "attacks.json").write_text(text)

    with pytest.raises(RunError) as refused:
        report.read(run)
    assert refused.value.code == "run-damaged"


def test_more_measurements_than_a_page_can_hold_are_refused(run: Path, plan: Plan) -> None:
    attacked(run, plan, findings=[FINDING] * 1001)

    with pytest.raises(ValueError, match="findings"):
        read_attacks(run)


def test_markup_in_a_name_is_shown_and_not_obeyed(run: Path, plan: Plan) -> None:
    attacked(run, plan, findings=[{**FINDING, "attack": "<script>alert(1)</script>|x"}])
    report.write(run)

    assert "<script" not in (run / "report.html").read_text()
    assert report.verify(run).findings == ()
