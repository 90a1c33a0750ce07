"""`secagg params` says what the protocol will do: held against real sessions and worked examples."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.cli.choice import planned
from secagg.cli.masking_cost import cpu, traffic
from secagg.cli.prospect import prospect
from secagg.encoding.codec import Codec
from secagg.errors import PlanError
from secagg.masking.parameters import Policy, threshold
from secagg.plan import policy_of, settings_of
from secagg.weights import Layout
from tests.cohort import Cohort


def said(secagg, *arguments):
    done = secagg("params", *arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def told(secagg, *arguments):
    return json.loads(said(secagg, *arguments, "--json"))


def refused(secagg, *arguments):
    done = secagg("params", *arguments, "--json")
    assert done.exit_code == 2, done.output
    return json.loads(done.stdout)


def test_five_clients_tolerate_one_dropout_and_four_none(secagg):
    five = told(secagg, "--clients", 5)
    assert (five["k"], five["t"], five["quorum"], five["needed"], five["may_vanish"]) == (4, 3, 4, 4, 1)
    assert (five["protection"], five["smallest_cohort"]) == ("masks", 3)
    assert told(secagg, "--clients", 4)["may_vanish"] == 0
    assert "n=3 or 4: none; n=5: one" in said(secagg, "--clients", 5)


def test_a_semi_honest_plan_has_no_quorum(secagg):
    honest = told(secagg, "--clients", 5, "--adversary", "semi-honest")
    assert honest["quorum"] == 0
    assert "confirm" not in honest["stages"]
    assert "confirmed" not in said(secagg, "--clients", 5, "--adversary", "semi-honest")


def test_a_plan_is_where_the_options_begin(secagg, here):
    from_plan = told(secagg, "--plan", "plan.toml", "--dim", 3)
    assert from_plan["clients"] == 3
    assert from_plan["ring_bits"] == 25  # 3 clients of clip norm 5, at steps of 2^-20
    codec = Codec(Layout.of({"w": np.zeros(3, "f4")}), settings_of(planned(here / "plan.toml", {})))
    assert from_plan["vector_bytes"] == codec.size  # the declared metric counts
    assert told(secagg, "--plan", "plan.toml", "--clients", 7)["clients"] == 7


@pytest.mark.parametrize(
    ("given", "ways"),
    [
        (["--clients", 2], ["--clients 3"]),
        (["--clients", 10, "--colluders", 0.6], ["--dropouts 0.19", "--colluders 0.4"]),
        (["--clients", 4, "--dropouts", 0.3], ["--dropouts 0.24", "--clients 5"]),
        (["--clients", 50, "--adversary", "semi-honest"], ["--min-survivors 7"]),
    ],
)
def test_what_cannot_work_is_refused_with_the_nearest_that_does(secagg, given, ways):
    error = refused(secagg, *given)
    assert error["problems"]
    for way in ways:
        assert way in error["hint"]
        option, value = way.split()
        told(secagg, *given, option, value)  # and it does


@pytest.mark.parametrize("protection", ["masks", "bfv"])
@pytest.mark.parametrize("option", ["--colluders", "--dropouts", "--precision"])
@pytest.mark.parametrize("value", ["nan", "inf", "-1"])
def test_a_number_that_is_none_is_refused_by_its_path(secagg, protection, option, value):
    error = refused(secagg, "--clients", 10, "--protection", protection, f"{option}={value}")
    assert option.strip("-") in [problem["path"].partition(".")[2] for problem in error["problems"]]


def test_a_ring_that_would_be_too_wide_is_refused(secagg):
    assert "2^52" in refused(secagg, "--clients", 10, "--precision", 1e-20)["message"]


def test_a_plan_that_hides_nothing_has_no_parameters(secagg, here):
    (here / "open.toml").write_text((here / "plan.toml").read_text() + '[protection]\nkind = "none"\n')
    assert refused(secagg, "--plan", "open.toml")["error"] == "params-unprotected"


def test_clients_or_a_plan_must_be_given(secagg):
    assert refused(secagg)["error"] == "usage"


def test_public_weights_are_the_plans(secagg, here):
    weights = '[aggregation]\nweighting = "public"\n[aggregation.weights]\n"*" = 100000000\n'
    (here / "public.toml").write_text((here / "plan.toml").read_text() + weights)
    public = told(secagg, "--plan", "public.toml", "--weighting", "public")
    assert public == told(secagg, "--plan", "public.toml")
    assert public["ring_bits"] == 30  # 3 weights of 100 000 000, added up
    assert told(secagg, "--plan", "plan.toml")["ring_bits"] == 25


def test_public_weighting_without_weights_is_refused_with_the_way_out(secagg, here):
    error = refused(secagg, "--clients", 10, "--weighting", "public")
    assert error["error"] == "usage"
    assert "goes with --plan" in error["message"]
    (problem,) = refused(secagg, "--plan", "plan.toml", "--weighting", "public")["problems"]
    assert problem["path"] == "aggregation.weights"
    assert "hospital-1 = 300" in problem["hint"]


@given(
    clients=st.integers(3, 60),
    clip_norm=st.floats(0.01, 100),
    precision=st.floats(1e-9, 1e-3),
    weighting=st.sampled_from(["uniform", "examples"]),
    max_examples=st.integers(1, 10**7),
)
def test_the_ring_holds_as_many_clients_as_it_says_and_not_one_more(
    clients, clip_norm, precision, weighting, max_examples
):
    plan = planned(
        None,
        {
            "cohort": {"max_clients": clients, "colluders": 0.01},
            "encoding": {"clip_norm": clip_norm, "precision": precision},
            "aggregation": {"weighting": weighting, "max_examples": max_examples},
        },
    )
    found, largest = prospect(plan, 10), settings_of(plan).largest
    assert found.clients <= found.ring_holds_clients
    assert found.ring_holds_clients * largest < 2 ** (found.ring_bits - 1) or found.ring_bits == 8
    assert (found.ring_holds_clients + 1) * largest >= 2 ** (found.ring_bits - 1)


@given(clients=st.integers(3, 40), colluders=st.floats(0, 0.4), dropouts=st.floats(0, 0.4))
def test_the_figures_are_those_of_the_protocol(clients, colluders, dropouts):
    changes = {"cohort": {"max_clients": clients, "colluders": colluders, "dropouts": dropouts}}
    try:
        plan = planned(None, changes)
    except PlanError:
        return
    found, limits = prospect(plan, 10), threshold(policy_of(plan), clients)
    assert (found.k, found.t, found.quorum, found.may_vanish) == (
        limits.k,
        limits.t,
        limits.quorum,
        limits.tolerated,
    )
    assert all(sentence for sentences in found.words.values() for sentence in sentences)


@pytest.mark.parametrize("n", [3, 10])
@pytest.mark.parametrize("adversary", ["malicious", "semi-honest"])
def test_the_bytes_are_those_of_a_real_round_within_two_per_cent(n, adversary):
    cohort = Cohort(n, length=500, bits=25, policy=Policy(n, 3, 0.1, 0.2, adversary))
    expected = traffic(threshold(cohort.policy, n), cohort.length, cohort.bits)
    stages = []
    while stage := cohort.server.stage:
        asked = cohort.server.requests()
        replies = cohort.step()
        down = sum(map(len, asked.values())) / len(asked)
        up = sum(map(len, replies.values())) / len(replies)
        assert math.isclose(expected[stage].down, down, rel_tol=0.02, abs_tol=4), stage
        assert math.isclose(expected[stage].up, up, rel_tol=0.02, abs_tol=4), stage
        stages.append(stage)
    assert stages == list(expected)


def test_more_clients_parameters_and_dropouts_cost_more():
    def cost(n, length, vanished):
        return cpu(threshold(Policy(n, 3), n), length, 25, vanished)

    base = cost(10, 10**5, 0)
    assert cost(20, 10**5, 0).client > base.client
    assert cost(10, 10**6, 0).server > base.server
    assert cost(100, 10**5, 20).server > cost(100, 10**5, 0).server
