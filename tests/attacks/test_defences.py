"""Each defence has a name that gives it back, and a plan that says what the name says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import PlanError
from secagg_attacks.defences import DEFENCES, NONE, Defence, DefenceError, Kind, Terms, defence

TERMS = Terms(clients=5, rounds=2, local_steps=6, seed=7)


@pytest.mark.parametrize("name", DEFENCES)
def test_every_defence_has_a_plan_for_clients_of_any_number(name: str) -> None:
    for clients in (2, 3, 32):
        plan = DEFENCES[name].plan(replace(TERMS, clients=clients))
        assert (plan.run.rounds, plan.cohort.max_clients, plan.cohort.min_survivors) == (2, clients, clients)
        assert (plan.protection.kind, plan.run.name) == (DEFENCES[name].kind, name)
        assert plan.task_config() == {"seed": 7}


@pytest.mark.parametrize("name", DEFENCES)
def test_a_name_gives_its_defence_back(name: str) -> None:
    assert defence(name) == DEFENCES[name]
    assert defence(name).name == name


EPSILONS = st.none() | st.floats(min_value=0, exclude_min=True, allow_infinity=False)


@given(st.sampled_from(["none", "masks", "bfv", "ckks"]), EPSILONS, EPSILONS)
def test_a_name_gives_back_every_digit_of_every_epsilon(
    kind: Kind, client: float | None, example: float | None
) -> None:
    chosen = Defence(kind, client, example)
    assert defence(chosen.name) == chosen


def test_an_epsilon_is_written_plainly_and_whole() -> None:
    names = [Defence("masks", each).name for each in (1e-5, 0.1234567, 1e6, 2.0)]
    assert names == [
        "masks-client-0.00001",
        "masks-client-0.1234567",
        "masks-client-1000000",
        "masks-client-2",
    ]


def test_a_name_may_have_any_epsilon_and_both_units() -> None:
    assert defence("masks-client-2.5") == Defence("masks", client_epsilon=2.5)
    assert defence("bfv-client-3-example-0.5") == Defence("bfv", 3.0, 0.5)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "mask",
        "masks-client",
        "masks-client-0",
        "masks-8",
        "masks-client-1e5",
        "masks-example-1-client-1",
        pytest.param(f"masks-client-{'9' * 400}", id="infinite"),
    ],
)
def test_another_name_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(DefenceError) as caught:
        defence(name)
    assert caught.value.code == "defence-unknown"
    assert all(known in caught.value.hint for known in DEFENCES)


def test_without_noise_nothing_of_a_small_model_is_clipped_and_rounding_is_fine() -> None:
    for name in ("none", "masks", "bfv", "none-example-8"):
        encoding = DEFENCES[name].plan(TERMS).encoding
        assert (encoding.clip_norm, encoding.precision) == (1000.0, 1e-9)


def test_ckks_and_noise_round_as_finely_as_they_can() -> None:
    assert DEFENCES["ckks"].plan(TERMS).encoding.precision == 1000 / 2**24
    noised = DEFENCES["masks-client-8"].plan(replace(TERMS, noised_clip_norm=0.5)).encoding
    assert (noised.clip_norm, noised.precision) == (0.5, 0.5 / 2**24)


def test_an_asked_for_precision_that_is_coarser_is_kept() -> None:
    for name in ("none", "ckks", "masks-client-8"):
        assert DEFENCES[name].plan(replace(TERMS, precision=1e-3)).encoding.precision == 1e-3


def test_the_units_of_privacy_are_those_of_the_name() -> None:
    assert NONE.plan(TERMS).privacy.unit == "none"
    client = DEFENCES["masks-client-8"].plan(TERMS).privacy
    assert (client.unit, client.placement, client.epsilon, client.delta) == (
        "client",
        "distributed",
        8.0,
        1e-5,
    )
    example = DEFENCES["masks-example-8"].plan(TERMS).privacy
    assert (example.unit, example.epsilon, example.local_steps) == ("example", 8.0, 6)
    both = defence("masks-client-4-example-8").plan(TERMS).privacy
    assert both.local is not None
    assert (both.unit, both.epsilon, both.local.epsilon, both.local.local_steps) == ("client", 4.0, 8.0, 6)


def test_noise_is_what_a_defence_says_of_itself() -> None:
    assert [each.noised for each in map(defence, ("none", "masks-client-1", "none-example-1"))] == [
        False,
        True,
        True,
    ]


def test_noise_that_clients_share_needs_a_protection() -> None:
    with pytest.raises(PlanError, match="only their sum protects"):
        defence("none-client-8").plan(TERMS)


def test_fewer_survivors_may_be_asked_for_and_arrays_kept_at_home() -> None:
    plan = NONE.plan(replace(TERMS, min_survivors=3, local=("buffers.*",)))
    assert (plan.cohort.min_survivors, plan.training.local) == (3, ("buffers.*",))
