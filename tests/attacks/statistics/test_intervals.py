"""Intervals of a proportion, held against SciPy's and published tables."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from secagg_attacks.statistics.errors import StatisticsError
from secagg_attacks.statistics.intervals import clopper_pearson, wilson

_COUNTS = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
_CONFIDENCES = st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99, 0.999])


@given(_COUNTS, _CONFIDENCES)
def test_both_intervals_are_scipys(counts, confidence):
    successes, trials = counts
    test = stats.binomtest(successes, trials)
    for ours, method in ((clopper_pearson, "exact"), (wilson, "wilson")):
        theirs = test.proportion_ci(confidence, method)
        found = ours(successes, trials, confidence)
        assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-10)


@given(_COUNTS, _CONFIDENCES)
def test_a_one_sided_bound_is_scipys_and_leaves_the_other_end_open(counts, confidence):
    successes, trials = counts
    lower = clopper_pearson(successes, trials, confidence, "lower")
    upper = clopper_pearson(successes, trials, confidence, "upper")
    theirs = [
        stats.binomtest(successes, trials, alternative=side).proportion_ci(confidence, "exact")
        for side in ("greater", "less")
    ]
    assert lower.low == pytest.approx(theirs[0].low, abs=1e-10)
    assert upper.high == pytest.approx(theirs[1].high, abs=1e-10)
    assert (lower.high, upper.low) == (1, 0)


def test_clopper_pearson_has_the_figures_of_published_tables():
    # Newcombe 1998 (Statistics in Medicine 17, 857-872), table I, methods 5 and 3.
    for successes, trials, low, high in (
        (81, 263, 0.2527, 0.3676),
        (15, 148, 0.0578, 0.1617),
        (0, 20, 0, 0.1684),
    ):
        found = clopper_pearson(successes, trials)
        assert (round(found.low, 4), round(found.high, 4)) == (low, high)
    for successes, trials, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
    ):
        found = wilson(successes, trials)
        assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_arrays_broadcast_and_give_what_single_counts_give():
    successes, trials = np.array([[0, 3], [7, 10]]), np.array([10, 20])
    for interval in (clopper_pearson, wilson):
        many = interval(successes, trials)
        for at in np.ndindex(2, 2):
            one = interval(successes[at], trials[at[1]])
            assert (many.low[at], many.high[at]) == (one.low, one.high)


@pytest.mark.parametrize("truth", [0.003, 0.2, 0.5])
def test_clopper_pearson_covers_the_truth_at_least_as_often_as_it_says(truth):
    trials = 150
    counts = np.arange(trials + 1)
    chances = stats.binom.pmf(counts, trials, truth)
    for confidence in (0.8, 0.95):
        band = clopper_pearson(counts, trials, confidence)
        assert chances[(band.low <= truth) & (truth <= band.high)].sum() >= confidence
        assert chances[clopper_pearson(counts, trials, confidence, "lower").low <= truth].sum() >= confidence
        assert chances[clopper_pearson(counts, trials, confidence, "upper").high >= truth].sum() >= confidence


@pytest.mark.parametrize(("successes", "trials"), [(-1, 5), (6, 5), (0, 0), (2.0, 5), (2, 5.0)])
def test_counts_that_are_none_are_refused_by_name(successes, trials):
    for interval in (clopper_pearson, wilson):
        with pytest.raises(StatisticsError) as refused:
            interval(successes, trials)
        assert refused.value.code == "counts-invalid"


@pytest.mark.parametrize("confidence", [0, 1, 95, float("nan")])
def test_a_confidence_that_is_no_probability_is_refused_by_name(confidence):
    for interval in (clopper_pearson, wilson):
        with pytest.raises(StatisticsError) as refused:
            interval(1, 2, confidence)
        assert refused.value.code == "confidence-invalid"


def test_an_unknown_side_is_refused_by_name():
    with pytest.raises(StatisticsError) as refused:
        clopper_pearson(1, 2, 0.95, "left")  # type: ignore[call-overload]
    assert refused.value.code == "side-invalid"
