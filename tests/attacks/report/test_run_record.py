"""attacks.json as the harness writes it, read by the report of the run that it is written into."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from secagg import report
from secagg.plan import Plan
from secagg.report.attack_record import read_attacks
from secagg_attacks.audit.bound import AuditError, Bound
from secagg_attacks.report.run_record import Measured, audit_run, write_attacks
from secagg_attacks.results import Measurement
from secagg_attacks.verdicts import judged
from tests.report.runs import CLIENT, LOSS, plan_of, played

VIEW = "cd" * 32


def audited_plan(clients: int) -> Plan:
    cohort = {"max_clients": clients, "min_survivors": 10, "colluders": 0.0, "dropouts": 0.0}
    return Plan(run={"name": "audited", "rounds": 1}, cohort=cohort, privacy=CLIENT)


def test_findings_and_bounds_come_back_as_they_were(tmp_path: Path) -> None:
    measured = Measurement(
        "lira",
        "masks",
        "measured",
        0,
        "AUC",
        0.7,
        0.6,
        0.8,
        n=50,
        chance=0.5,
        ceiling=1.0,
        p_value=1e-9,
        view=VIEW,
    )
    absent = Measurement("analytic", "masks", "not applicable", 0, notes=("no images",))
    bound = Bound("one-run", 0.4, 1e-5, 0.95, 100, "fair-coins")

    path = write_attacks(tmp_path, "ef" * 32, judged([measured, absent]), [Measured("client", bound, VIEW)])

    found = read_attacks(tmp_path)
    assert path == tmp_path / "attacks.json"
    assert found is not None
    assert found.plan == "ef" * 32
    (finding,) = found.findings
    assert {name: finding[name] for name in ("attack", "value", "n", "verdict", "view")} == {
        "attack": "lira",
        "value": 0.7,
        "n": 50,
        "verdict": "partial",
        "view": VIEW,
    }
    assert found.bounds[0]["assumes"] == "fair-coins"
    assert found.bounds[0]["view"] == VIEW


def test_nothing_measured_is_a_file_too(tmp_path: Path) -> None:
    write_attacks(tmp_path, "ef" * 32)

    found = read_attacks(tmp_path)
    assert found is not None
    assert (found.findings, found.bounds) == ((), ())


def test_the_audit_of_a_run_stands_in_its_report_below_its_account(tmp_path: Path) -> None:
    run = played(tmp_path, audited_plan(40))

    bounds = audit_run(run, seed=0).bounds

    assert [each.bound.confidence for each in bounds] == [0.95, 0.999, 0.95]
    made = report.write(run)
    assert [one["epsilon"] for one in made["attacks"]["bounds"]] == [each.bound.epsilon for each in bounds]
    assert [one["beats"] for one in made["attacks"]["bounds"]] == [False, False, False]
    assert report.verify(run).findings == ()


def test_a_plan_of_few_clients_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    run = played(tmp_path, plan_of("client", rounds=1))

    with pytest.raises(AuditError) as refused:
        audit_run(run)

    assert refused.value.code == "audit-too-few"
    assert refused.value.hint.startswith("a plan of 40 clients or more")
    assert not (run / "attacks.json").exists()


def private_plan(**tables: Any) -> Plan:
    """DP-SGD of few steps by few clients."""
    cohort = {"max_clients": 3, "min_survivors": 3, "colluders": 0.0, "dropouts": 0.0}
    local = {"epsilon": 8.0, "delta": 1e-5, "local_steps": 20}
    tables = {"privacy": {"unit": "example", **local}, **tables}
    if tables["privacy"]["unit"] == "client":
        tables["privacy"] = {**tables["privacy"], "example": local}
    return Plan(run={"name": "private", "rounds": 2}, cohort=cohort, **tables)


def test_the_noise_on_examples_is_audited_with_examples(tmp_path: Path) -> None:
    run = played(tmp_path, private_plan())
    steps: list[tuple[str, int, int]] = []

    audited = audit_run(run, seed=1, on_step=lambda *step: steps.append(step))

    about = "1000 canary examples of 3 clients, 2 of 2 rounds, 20 of 20 steps"
    assert audited.about == (about,)
    assert steps == [(about, done, 6) for done in range(1, 7)]
    assert 0 < audited.bounds[1].bound.epsilon < audited.bounds[0].bound.epsilon < 8
    made = report.write(run)
    assert [one["unit"] for one in made["attacks"]["bounds"]] == ["example"] * 3
    assert [(one["accounted"], one["beats"]) for one in made["attacks"]["bounds"]] == [(8.0, False)] * 3


def test_of_both_kinds_of_noise_the_one_with_canaries_enough_is_audited(tmp_path: Path) -> None:
    audited = audit_run(played(tmp_path, private_plan(privacy=CLIENT)))

    assert {each.unit for each in audited.bounds} == {"example"}
    assert (
        audited.about[0]
        == "3 canary clients, 2 of 2 rounds: too few to bound anything; a plan of 40 clients has enough"
    )


def test_bounds_of_examples_beside_metrics_are_at_the_delta_of_the_plan(tmp_path: Path) -> None:
    """The training alone is accounted at a smaller one; what is left is the metrics'."""
    run = played(tmp_path, private_plan(metrics=LOSS))

    bounds = audit_run(run).bounds

    assert {each.bound.delta for each in bounds} == {1e-5}
    assert all(one["accounted"] is not None for one in report.write(run)["attacks"]["bounds"])
