"""Canary examples: found where training is not private, and never beyond the account where it is."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

import secagg
from secagg_attacks.audit import AUDITORS, AuditError, one_run_bound
from secagg_attacks.audit.canary_run import CanaryRun, played
from secagg_attacks.audit.example_canaries import ExampleCanaries
from secagg_attacks.defences import Terms, defence
from secagg_attacks.statistics.roc import roc
from secagg_attacks.views import Account, capture

DELTA = 1e-5
STEPS = 10
CANARIES = 1000


def plan_of(name: str, clients: int = 2, **terms: Any) -> secagg.Plan:
    return defence(name).plan(Terms(clients, rounds=2, local_steps=2 * STEPS, delta=DELTA, **terms))


@cache
def run_of(name: str, canaries: int = CANARIES) -> CanaryRun:
    plan = plan_of(name)
    planted = ExampleCanaries.of(plan, canaries, STEPS, seed=1)
    return played(plan, planted, planted.clients(plan), seed=1)


# -- the canaries -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_grad_norm", [1.0, 0.01])
def test_each_canary_moves_its_own_column_by_as_much_as_every_other(max_grad_norm: float) -> None:
    """With hardly any noise: by a clipped gradient in each step that drew it, 10 of 20 on average."""
    plan = plan_of("none-example-10000", max_grad_norm=max_grad_norm)
    planted = ExampleCanaries.of(plan, 60, STEPS, seed=1)
    found = planted.scores(capture(plan, planted.weights, planted.clients(plan), seed=1))

    inside, outside = found[planted.included], found[~planted.included]
    assert inside.min() > outside.max()
    drawn = 2 * STEPS / 2
    spread = np.sqrt(drawn / 2) / drawn
    assert abs(outside).max() < 0.2 * inside.mean()
    assert 0.5 * spread < inside.std() / inside.mean() < 1.7 * spread


def test_an_excluded_canary_leaves_the_size_of_the_data_as_it_was() -> None:
    """Everybody's step is divided by the examples expected: with fewer, all scores would tell of it."""
    plan = plan_of("none")
    planted = ExampleCanaries.of(plan, 60, STEPS, seed=1)
    alone = replace(planted, included=np.arange(60) == 7)
    scores = [each.scores(capture(plan, each.weights, each.clients(plan))) for each in (planted, alone)]

    assert planted.included[7]
    assert scores[0][7] == pytest.approx(scores[1][7], rel=1e-5)
    assert not scores[1][np.arange(60) != 7].any()


def test_no_update_is_clipped_as_a_whole() -> None:
    for name in ("none", "none-example-8"):
        plan = plan_of(name, clip_norm=1.0)
        planted = ExampleCanaries.of(plan, 200, STEPS, seed=1)
        view = capture(plan, planted.weights, planted.clients(plan), seed=1)
        norms = [np.linalg.norm(upload["weight"]) for each in view.rounds for upload in each.uploads.values()]
        assert 0.1 < min(norms) <= max(norms) < 0.9, name


def test_shares_are_disjoint_and_whole_and_the_coins_follow_the_seed() -> None:
    plan = plan_of("masks", clients=3)
    planted = ExampleCanaries.of(plan, 100, STEPS, seed=5)

    assert sorted(np.concatenate(list(planted.shares.values())).tolist()) == list(range(100))
    assert planted.included.tolist() == (np.random.default_rng((5, 0)).random(100) < 0.5).tolist()


# -- what they show -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["none", "masks", "bfv"])
def test_without_dp_sgd_every_canary_is_found(name: str) -> None:
    run = run_of(name, canaries=100)
    assert run.account is None
    assert roc(run.scores, run.included).auc == 1.0


@pytest.mark.parametrize("name", ["none-example-8", "masks-example-8"])
def test_no_auditor_reports_more_than_the_account_and_the_surest_reports_more_than_nothing(name: str) -> None:
    run = run_of(name)
    assert run.account == Account("example", DELTA, 8.0, 8.0)
    for method, auditor in AUDITORS.items():
        assert 0 < run.bound(auditor).epsilon <= 8.0, method
    assert run.bound(one_run_bound, confidence=0.999).epsilon > 0


def test_through_a_sum_the_noise_of_the_others_hides_canaries_further() -> None:
    alone, summed = run_of("none-example-8"), run_of("masks-example-8")
    assert roc(alone.scores, alone.included).auc > roc(summed.scores, summed.included).auc


def test_a_small_epsilon_is_not_seen() -> None:
    """At a confidence that chance fails once in ten thousand."""
    assert run_of("masks-example-0.1", canaries=200).bound(one_run_bound, confidence=0.9999).epsilon <= 0.1


def test_scores_are_apart_by_what_the_accounted_noise_makes_of_it() -> None:
    """In standard deviations: rate * sqrt(steps) / noise multiplier, within the experiment's own error."""
    run = run_of("none-example-8")
    inside, outside = run.scores[run.included], run.scores[~run.included]
    noise = secagg.calibrate_noise(8.0, DELTA, 2 * STEPS, sampling_rate=0.5)
    expected = 0.5 * np.sqrt(2 * STEPS) / noise
    error = np.sqrt(1 / len(inside) + 1 / len(outside)) + expected / np.sqrt(2 * len(outside))
    assert abs((inside.mean() - outside.mean()) / outside.std() - expected) < 4 * error


# -- what is refused ----------------------------------------------------------------------------------------


def test_too_few_canaries_to_deal_out_are_refused() -> None:
    with pytest.raises(AuditError) as caught:
        ExampleCanaries.of(plan_of("masks", clients=3), 5, STEPS, seed=1)
    assert (caught.value.code, caught.value.exit_code) == ("canary-count", 2)


def test_a_run_that_opened_no_sum_has_no_scores() -> None:
    plan = plan_of("none")
    planted = ExampleCanaries.of(plan, 20, 1, seed=1)
    view = capture(plan, planted.weights, planted.clients(plan))
    with pytest.raises(AuditError) as caught:
        planted.scores(replace(view, rounds=()))
    assert caught.value.code == "canary-sums"
