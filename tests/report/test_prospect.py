"""What a plan would cost is what its run costs, and its alternatives are what they say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from secagg import report
from secagg.cli.prospect import prospect as params
from secagg.plan import Plan
from tests.report.runs import CLIENT, COHORT, KINDS, plan_of, played
from tests.report.test_document import SCHEMA

SIZE = 15


def asked(plan: Plan, size: int = SIZE) -> dict[str, Any]:
    document = report.prospect(plan, size)
    SCHEMA.validate(json.loads(report.as_json(document)))
    return document


def epsilons(document: dict[str, Any]) -> list[Any]:
    return [
        {audience: entry and entry["epsilon"] for audience, entry in unit["epsilon"].items()}
        for unit in document["units"]
    ]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "budget"])
def test_the_run_costs_what_the_plan_promised(kind, tmp_path):
    plan = plan_of(kind)
    before = asked(plan)
    after = report.document(report.read(played(tmp_path, plan)))
    assert epsilons(before) == epsilons(after)
    assert before["encoding"]["ring_bits"] == after["encoding"]["ring_bits"]
    assert before["digests"]["plan"] == after["digests"]["plan"]


def test_a_budget_ends_the_run_where_the_prospect_says(tmp_path):
    plan = plan_of("budget")
    before = asked(plan)
    rounds = before["plan"]["rounds_affordable"]
    assert 0 < rounds < plan.run.rounds
    (unit,) = before["units"]
    assert unit["epsilon"]["colluders"]["epsilon"] <= 2.0
    longer = report.document(report.read(played(tmp_path, plan, rounds=rounds + 1)))
    assert longer["units"][0]["epsilon"]["colluders"]["epsilon"] > 2.0


def test_a_run_that_its_budget_ends_early_is_claimed_for_no_more_rounds_than_it_has():
    document = asked(plan_of("budget"))
    rounds = document["plan"]["rounds_affordable"]
    assert f"of the {rounds} of 5 rounds that the plan's epsilon allows" in document["claim"][0]
    assert "of all 5 rounds" in asked(plan_of("client"))["claim"][0]
    assert "of all 1 round," in asked(plan_of("client", 1))["claim"][0]


def test_a_model_so_large_that_the_first_round_is_too_dear_opens_nothing():
    """A plan is judged at a million coordinates; rounding more of them than that costs more."""
    coarse = Plan(
        run={"name": "dear", "rounds": 5},
        cohort=COHORT,
        encoding={"precision": 1e-3},
        privacy={**CLIENT, "epsilon": 1.2},
    )
    document = asked(coarse, 100_000_000)
    assert document["plan"]["rounds_affordable"] == 0
    assert document["claim"] == [
        "The first round would cost more than the plan's epsilon: no sum would be opened."
    ]
    assert "Nothing was run" in report.html(document)
    assert "lets 0 of" not in report.html(document)


def test_where_no_noise_keeps_an_epsilon_the_reason_is_given():
    document = asked(plan_of("adaptive"))
    rows = {row["epsilon"]: row for row in document["alternatives"]}
    assert rows[1.0]["noise_multiplier"] is None and rows[1.0]["why"] == "the count alone costs more"
    assert rows[1.0]["why"] in report.markdown(document)
    assert all((row["why"] is None) != (row["noise_multiplier"] is None) for row in rows.values())
    loud = Plan(
        run={"name": "loud", "rounds": 5},
        cohort=COHORT,
        privacy=CLIENT,
        metrics={"loss": {"min": 0.0, "max": 4.0, "noise_multiplier": 1.0}},
    )
    assert asked(loud)["alternatives"][0]["why"] == "the metrics alone cost more"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "protection" not in KINDS[kind]])
def test_params_and_report_agree_on_whether_a_sum_can_wrap(kind):
    plan = plan_of(kind)
    said = " ".join(params(plan, SIZE).words["ring"])
    wraps = asked(plan)["encoding"]["wrap"] != "impossible"
    assert ("wraps" in said) == wraps and ("no sum can overflow" in said) != wraps
    if plan.privacy.unit == "example":
        assert ("metrics are noised" in said) == bool(plan.metrics)


def test_each_alternative_keeps_its_epsilon_and_no_less_noise_would():
    plan = plan_of("client")
    for row in asked(plan)["alternatives"]:
        for noise, kept in ((row["noise_multiplier"], True), (row["noise_multiplier"] * 0.99, False)):
            other = Plan(
                run={"name": "report", "rounds": 5},
                cohort=COHORT,
                privacy={**CLIENT, "noise_multiplier": noise},
            )
            (found,) = epsilons(asked(other))
            assert (found["colluders"] <= row["epsilon"]) == kept


def test_epsilon_falls_with_noise_and_clients_and_grows_with_rounds():
    document = asked(plan_of("client"))
    for name, sign in (("against_rounds", 1), ("against_noise", -1), ("against_cohort", -1)):
        for audience in ("public", "server", "colluders"):
            course = [entry[audience] for entry in document[name]]
            assert len(course) > 4 and course == sorted(course, key=lambda epsilon: sign * epsilon)


def test_the_plans_own_point_is_on_every_course():
    document = asked(plan_of("client"))
    (own,) = epsilons(document)
    for name, key, value in (
        ("against_rounds", "rounds", 5),
        ("against_noise", "noise_multiplier", 4.0),
        ("against_cohort", "max_clients", 10),
    ):
        (entry,) = [entry for entry in document[name] if entry[key] == pytest.approx(value)]
        assert {audience: entry[audience] for audience in own} == own


def test_a_plan_without_noise_offers_nothing_to_choose():
    document = asked(plan_of("none"))
    assert document["noise"] is None and document["units"] == []
    assert document["against_noise"] == document["alternatives"] == []
    assert "unit = " in report.markdown(document)


def test_calibrated_noise_is_said_to_be():
    privacy = {"unit": "client", "placement": "distributed", "epsilon": 3.0, "delta": 1e-5}
    document = asked(Plan(run={"name": "calibrated", "rounds": 5}, cohort=COHORT, privacy=privacy))
    assert document["noise"]["calibrated"]
    (planned,) = [row for row in document["alternatives"] if row["planned"]]
    assert planned["noise_multiplier"] == document["noise"]["noise_multiplier"]
    assert document["plan"]["rounds_affordable"] == 5
    (unit,) = document["units"]
    assert 2.99 < unit["epsilon"]["colluders"]["epsilon"] <= 3.0 and not unit["budget"]["ends_the_run"]


def test_noise_of_a_client_is_its_share_of_what_h_clients_add():
    noise = asked(plan_of("client"))["noise"]
    assert noise["per_client"] * noise["honest_contributors"] ** 0.5 == pytest.approx(noise["in_the_sum"])
    assert noise["in_the_sum"] == pytest.approx(4.0)
    assert noise["in_the_mean"] == pytest.approx(4.0 * (10 / 5) ** 0.5 / 10)
    assert asked(plan_of("central"))["noise"]["per_client"] == 0
    assert asked(plan_of("public weights"))["noise"]["in_the_mean"] is None
