"""The bootstrap interval of an AUC."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.stats import norm

from secagg_attacks.statistics.bootstrap import auc_interval
from secagg_attacks.statistics.errors import StatisticsError
from secagg_attacks.statistics.roc import roc

_RNG_SEED = 7


def _shifted(examples, shift, seed=_RNG_SEED):
    generator = np.random.default_rng(seed)
    member = np.arange(examples) % 2 == 0
    return generator.normal(size=examples) + shift * member, member


def test_a_resample_weighs_pairs_as_drawing_the_scores_again_would():
    scores, member = np.array([1.0, 2, 2, 3, 0, 1]), np.array([True, False, True, True, False, False])
    interval = auc_interval(scores, member, seed=0, resamples=1, units=[0, 0, 1, 1, 2, 2])
    drawn = np.random.default_rng(0).integers(3, size=3)
    again = np.concatenate([[2 * unit, 2 * unit + 1] for unit in drawn])
    assert interval.low == interval.high == roc(scores[again], member[again]).auc


def test_the_interval_covers_the_true_auc_about_as_often_as_it_says():
    truth = norm.cdf(1 / 2**0.5)
    covered = 0
    for seed in range(200):
        interval = auc_interval(*_shifted(300, 1.0, seed), seed=seed, confidence=0.9)
        covered += interval.low <= truth <= interval.high
    assert 165 <= covered <= 195


def test_scores_that_repeat_under_every_target_do_not_narrow_the_interval():
    scores, member = _shifted(300, 0.5)
    once = auc_interval(scores, member, seed=1)
    example = np.tile(np.arange(300), 8)
    repeated, repeated_member = np.tile(scores, 8), np.tile(member, 8)
    clustered = auc_interval(repeated, repeated_member, seed=1, units=example)
    naive = auc_interval(repeated, repeated_member, seed=1)
    assert clustered.high - clustered.low == pytest.approx(once.high - once.low)
    assert naive.high - naive.low < 0.5 * (once.high - once.low)


def test_the_same_seed_gives_the_same_interval_and_another_one_another():
    scored = _shifted(100, 0.5)
    one, same, other = (auc_interval(*scored, seed=seed) for seed in (0, 0, 1))
    assert (one.low, one.high) == (same.low, same.high) != (other.low, other.high)


def test_two_hundred_resamples_of_twenty_thousand_scores_take_less_than_a_second():
    scored = _shifted(20_000, 0.5)
    spent = []
    for _ in range(3):
        begin = time.process_time()
        auc_interval(*scored, seed=0, resamples=200)
        spent.append(time.process_time() - begin)
    assert min(spent) < 1


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"units": [0, 1, 2]}, "units-invalid"),
        ({"units": [0.0, 1.0, 2.0, 3.0]}, "units-invalid"),
        ({"units": [5, 5, 5, 5]}, "units-invalid"),
        ({"units": [0, 1, 0, 1]}, "units-invalid"),
        ({"resamples": 0}, "resamples-invalid"),
        ({"confidence": 1.0}, "confidence-invalid"),
    ],
)
def test_what_cannot_be_resampled_is_refused_by_name(more, code):
    with pytest.raises(StatisticsError) as refused:
        auc_interval([0.1, 0.2, 0.3, 0.4], [True, False, True, False], seed=0, **more)
    assert refused.value.code == code
