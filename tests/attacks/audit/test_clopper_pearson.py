from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta

from secagg_attacks.audit import clopper_pearson_bound
from secagg_attacks.audit.bound import Scores
from secagg_attacks.audit.operating_points import by_ranks, geometric_ranks
from tests.attacks.audit.canaries import betrayed, normal

TRUTH = np.log(3.0)


def _sided(count: int, seed: int, sign: int) -> tuple[np.ndarray, np.ndarray]:
    """Of one kind 30 % stand out, of the other 10 %: epsilon = log 3 shows in one direction only."""
    rng = np.random.default_rng(seed)
    included = rng.random(count) < 0.5
    stands_out = rng.random(count) < np.where(included == (sign > 0), 0.3, 0.1)
    return sign * np.where(stands_out, 1.0, 0.0), included


@pytest.mark.parametrize("sign", [1, -1])
def test_both_directions_are_looked_at(sign: int) -> None:
    """TPR over FPR where members stand out, TNR over FNR where the others do."""
    scores, included = _sided(4000, 0, sign)
    distinct = scores + 1e-9 * np.random.default_rng(1).standard_normal(4000)
    assert 0.4 < clopper_pearson_bound(distinct, included, 0.0).epsilon < TRUTH


def test_a_perfect_attack_shows_what_the_ranks_allow() -> None:
    """500 of each; of twelve bounds two decide: of rank 3 in 500, and of no error at all in 500."""
    included = np.arange(1000) < 500
    bound = clopper_pearson_bound(included + np.linspace(0, 0.1, 1000), included, 0.0)
    each = 0.05 / 12
    assert list(geometric_ranks(500)) == [3, 15, 75]
    wrong, missed = beta.ppf(1 - each, 3, 498), beta.ppf(1 - each, 1, 500)
    assert bound.epsilon == pytest.approx(np.log((1 - wrong) / missed))


def test_delta_is_taken_off_before_the_ratio() -> None:
    """One coin in five betrayed is (0, .2)-DP."""
    assert max(clopper_pearson_bound(*betrayed(0.2, 2000, seed), 0.2).epsilon for seed in range(40)) == 0
    assert clopper_pearson_bound(*betrayed(0.2, 2000, 0), 0.0).epsilon > 2


def test_the_bounds_of_all_thresholds_hold_at_once_whether_scores_tie_or_not() -> None:
    """Members and others uniform: the true rates at a threshold are known from where it lies."""
    missed = {"distinct": 0, "tied": 0}
    for seed in range(600):
        rng = np.random.default_rng(seed)
        included = rng.random(300) < 0.5
        for kind, scores in (("distinct", rng.random(300)), ("tied", rng.integers(1, 7, 300) / 6)):
            points = by_ranks(Scores(scores, included), np.array([3, 40]), np.array([3, 40]), 0.9)
            others, members = np.sort(scores[~included]), np.sort(scores[included])
            high, low = others[-np.array([3, 40])], members[np.array([3, 40]) - 1]
            # Above high is taken for a member; at low or above, too. Of ties a sixth lies on the threshold.
            step = 1 / 6 if kind == "tied" else 0.0
            false_positives = np.concatenate([1 - high, 1 - low + step])
            false_negatives = np.concatenate([high, low - step])
            wrong = (points.false_positives < false_positives) | (points.false_negatives < false_negatives)
            missed[kind] += bool(wrong.any())
    allowed = 60 + 3 * np.sqrt(600 * 0.1 * 0.9)
    assert missed["distinct"] <= allowed
    assert missed["tied"] <= allowed
    assert missed["distinct"] > 10


@pytest.mark.parametrize(("count", "ranks"), [(10, [3]), (29, [3]), (30, [3, 15]), (2500, [3, 15, 75, 375])])
def test_ranks_depend_on_the_number_of_scores_and_nothing_else(count: int, ranks: list[int]) -> None:
    assert list(geometric_ranks(count)) == ranks


def test_it_shows_more_than_a_threshold_chosen_on_one_half_and_judged_on_the_other() -> None:
    ranks, halves = [], []
    for seed in range(60):
        scores, included = normal(0.924, 5000, seed)
        ranks.append(clopper_pearson_bound(scores, included, 1e-5).epsilon)
        halves.append(_by_halves(scores, included, 1e-5))
    assert np.median(ranks) > np.median(halves) + 0.15


def _by_halves(scores: np.ndarray, included: np.ndarray, delta: float) -> float:
    """The rival: of the first half the threshold that would show most, of the second its bounds."""
    half = len(scores) // 2
    tried = np.unique(scores[:half])
    best = tried[np.argmax(_epsilons(scores[:half], included[:half], tried, delta, 0.025))]
    return float(_epsilons(scores[half:], included[half:], np.array([best]), delta, 0.025)[0])


def _epsilons(
    scores: np.ndarray, included: np.ndarray, thresholds: np.ndarray, delta: float, each: float
) -> np.ndarray:
    """Of each threshold, both directions, by bounds that each fail with probability `each`: uncorrected."""
    members, others = np.sort(scores[included]), np.sort(scores[~included])
    missed = np.searchsorted(members, thresholds)
    false = len(others) - np.searchsorted(others, thresholds)
    misses = np.where(
        missed < len(members), beta.ppf(1 - each, missed + 1, np.maximum(len(members) - missed, 1)), 1
    )
    alarms = np.where(
        false < len(others), beta.ppf(1 - each, false + 1, np.maximum(len(others) - false, 1)), 1
    )
    one = np.log(np.maximum(1 - misses - delta, 1e-300) / alarms)
    other = np.log(np.maximum(1 - alarms - delta, 1e-300) / misses)
    return np.maximum(0, np.maximum(one, other))


def test_the_best_of_all_thresholds_would_show_epsilon_where_there_is_none() -> None:
    """Why no threshold is chosen by how well it did: its rates as they are, or the largest of all bounds."""
    runs, ratio, largest, corrected = 200, 0, 0, 0
    for seed in range(runs):
        scores, included = normal(0.0, 5000, seed)
        found = included[np.argsort(-scores)]
        true, false = np.cumsum(found) / found.sum(), np.cumsum(~found) / (~found).sum()
        ratio += bool(np.any(true - 1e-5 > false))
        largest += bool(_epsilons(scores, included, np.unique(scores), 1e-5, 0.05).max() > 0)
        corrected += clopper_pearson_bound(scores, included, 1e-5).epsilon > 0
    assert ratio / runs >= 0.93
    assert largest / runs > 0.2
    assert corrected / runs <= 0.05
