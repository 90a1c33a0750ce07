"""Canaries in a real run: found where there is no noise, and never beyond the account where there is."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

import secagg
from secagg.errors import SecaggError
from secagg_attacks.audit import AUDITORS, AuditError, one_run_bound
from secagg_attacks.audit.canaries import PREFIX, Canaries, canary_run
from secagg_attacks.audit.canary_run import CanaryRun
from secagg_attacks.audit.directions import directions
from secagg_attacks.audit.trade_off import delta_of
from secagg_attacks.defences import Terms, defence
from secagg_attacks.federation import Federation
from secagg_attacks.statistics.roc import roc
from secagg_attacks.views import capture
from tests.attacks.digit_targets import target

DELTA = 1e-3
TERMS = Terms(clients=0, delta=DELTA)
MODEL = {"a": np.zeros((40, 50)), "b": np.zeros(1000), "count": np.zeros(1, dtype=np.int64)}
CANARIES = 60


@cache
def played(name: str, canaries: int = CANARIES, rounds: int = 1, seed: int = 1) -> CanaryRun:
    return canary_run(defence(name), replace(TERMS, rounds=rounds), MODEL, {}, canaries=canaries, seed=seed)


# -- the canaries -------------------------------------------------------------------------------------------


def test_a_canary_is_a_direction_as_long_as_the_clip_norm_or_nothing() -> None:
    plan = defence("masks-client-8").plan(replace(TERMS, clients=4, noised_clip_norm=0.5))
    planted = Canaries.of(plan, MODEL, 4, seed=7)
    deltas = []
    for name, train in planted.clients(plan).items():
        assert name.startswith(PREFIX)
        delta = train(secagg.Task(1, 1, MODEL)).delta
        assert delta is not None
        assert {part: array.shape for part, array in delta.items()} == {"a": (40, 50), "b": (1000,)}
        deltas.append(np.concatenate([delta["a"].reshape(-1), delta["b"]]))
    expected = 0.5 * planted.included[:, None] * directions(3000, 4, seed=7)
    np.testing.assert_allclose(deltas, expected)
    assert planted.included.tolist() == (np.random.default_rng((7, 0)).random(4) < 0.5).tolist()


def test_canaries_are_the_same_in_every_round_and_for_every_run_of_a_seed() -> None:
    plan = defence("masks").plan(replace(TERMS, clients=3))

    def bytes_of(seed: int, round: int) -> list[bytes]:
        everyone = replace(Canaries.of(plan, MODEL, 3, seed), included=np.ones(3, dtype=bool))
        trains = everyone.clients(plan).values()
        updates = [train(secagg.Task(round, 2, MODEL)).delta or {} for train in trains]
        return [update["a"].tobytes() for update in updates]

    assert bytes_of(1, 1) == bytes_of(1, 2)
    assert len({*bytes_of(1, 1), *bytes_of(2, 1)}) == 6


def test_scores_are_cosines_with_the_opened_means() -> None:
    plan = defence("none").plan(replace(TERMS, clients=3, rounds=2))
    planted = replace(Canaries.of(plan, MODEL, 3, seed=3), included=np.array([True, True, False]))
    found = planted.scores(capture(plan, MODEL, planted.clients(plan), seed=3))
    np.testing.assert_allclose(found, [2 / np.sqrt(2), 2 / np.sqrt(2), 0], atol=1e-6)


def test_in_a_model_smaller_than_the_canaries_are_many_every_one_is_still_found_but_for_luck() -> None:
    small = {"w": np.zeros(120)}
    few = canary_run(defence("none"), TERMS, small, {}, canaries=100, seed=1)
    many = canary_run(defence("none"), TERMS, small, {}, canaries=130, seed=1)
    assert roc(few.scores, few.included).auc == 1.0
    assert 0.8 < roc(many.scores, many.included).auc < 1.0


# -- what they show -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["masks", "bfv"])
def test_without_noise_every_canary_is_found_through_the_sum(name: str) -> None:
    run = played(name, canaries=30)
    assert run.account is None
    assert roc(run.scores, run.included).auc == 1.0
    assert run.bound(one_run_bound, delta=DELTA).epsilon > 1


@pytest.mark.parametrize("epsilon", [1, 8])
def test_no_auditor_reports_more_than_the_account(epsilon: int) -> None:
    run = played(f"masks-client-{epsilon}")
    assert run.account is not None
    assert (run.account.unit, run.account.delta) == ("client", DELTA)
    assert 0.9 * epsilon < run.account.server <= epsilon
    for name, auditor in AUDITORS.items():
        found = run.bound(auditor)
        assert found.epsilon <= run.account.server, name
        assert (found.delta, found.trials) == (DELTA, CANARIES)


def test_a_large_epsilon_is_seen_and_a_small_one_is_not() -> None:
    loud, quiet = played("bfv-client-20", rounds=2), played("bfv-client-0.1")
    assert loud.account is not None
    assert 0 < loud.bound(one_run_bound).epsilon < loud.account.server
    assert quiet.bound(one_run_bound).epsilon == 0


def test_scores_of_canaries_are_apart_by_what_the_accounted_noise_makes_of_it() -> None:
    """In standard deviations: 1 / noise multiplier, the mu whose (epsilon, delta) was accounted."""
    run = played("bfv-client-20", rounds=2)
    inside, outside = run.scores[run.included], run.scores[~run.included]
    spread = np.sqrt((inside.var(ddof=1) + outside.var(ddof=1)) / 2)
    found = (inside.mean() - outside.mean()) / spread
    error = np.sqrt(1 / len(inside) + 1 / len(outside)) + found / np.sqrt(2 * CANARIES)
    assert run.account is not None
    mu = np.linspace(0.1, 20, 20_000)
    accounted = mu[np.searchsorted([delta_of(each, run.account.server) for each in mu], DELTA)]
    assert accounted * 0.6 - 4 * error < found < accounted + 4 * error


def test_canaries_are_beside_honest_clients_who_train() -> None:
    federation = Federation(target(), 3, per_client=2)
    run = canary_run(
        defence("masks-client-8"),
        replace(federation.terms(), delta=DELTA),
        federation.initial,
        federation.trains(),
        canaries=24,
        seed=2,
    )
    assert run.scores.shape == run.included.shape == (24,)
    assert run.account is not None
    assert run.bound(one_run_bound).epsilon <= run.account.server


def test_the_coins_follow_the_seed_and_are_fair() -> None:
    assert (played("masks", canaries=30).included == played("bfv", canaries=30).included).all()
    tossed = np.random.default_rng((1, 0)).random(30) < 0.5
    assert (played("masks", canaries=30).included == tossed).all()


# -- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("canary-count", {"canaries": 1}),
        ("canary-names", {"honest": {f"{PREFIX}a": lambda task: secagg.Update(delta=task.weights)}}),
    ],
)
def test_canaries_that_cannot_be_planted_are_refused(code: str, how: dict[str, Any]) -> None:
    given: dict[str, Any] = {"honest": {}, "canaries": 4, "seed": 1, **how}
    with pytest.raises(AuditError) as caught:
        canary_run(defence("masks"), TERMS, MODEL, **given)
    assert (caught.value.code, caught.value.exit_code) == (code, 2)


def test_a_bound_without_an_account_needs_a_delta() -> None:
    with pytest.raises(AuditError) as caught:
        played("masks", canaries=30).bound(one_run_bound)
    assert caught.value.code == "audit-delta"


def test_a_run_that_opened_no_sum_has_no_scores() -> None:
    plan = defence("none").plan(replace(TERMS, clients=3))
    planted = Canaries.of(plan, MODEL, 3, seed=3)
    view = capture(plan, MODEL, planted.clients(plan))
    closed = replace(view, rounds=tuple(replace(each, mean=None) for each in view.rounds))
    with pytest.raises(AuditError) as caught:
        planted.scores(closed)
    assert caught.value.code == "canary-sums"


def test_canaries_do_not_train_and_dp_sgd_within_clients_refuses_them() -> None:
    with pytest.raises(SecaggError) as caught:
        canary_run(defence("masks-example-8"), replace(TERMS, delta=1e-5), MODEL, {}, canaries=4, seed=1)
    assert caught.value.code == "update-without-receipt"
