"""ROC curves, held against scikit-learn's and the definitions."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu
from sklearn.metrics import roc_auc_score

from secagg_attacks.statistics.errors import StatisticsError
from secagg_attacks.statistics.intervals import clopper_pearson
from secagg_attacks.statistics.roc import log_log_curve, roc


@st.composite
def _scored(draw):
    """Scores with many ties, both infinities among them, and memberships."""
    score = st.one_of(st.integers(-3, 3).map(float), st.floats(allow_nan=False))
    scores = draw(st.lists(score, min_size=2, max_size=60))
    member = draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores)))
    member[0], member[1] = True, False
    return np.array(scores), np.array(member)


@given(_scored())
def test_the_auc_is_how_often_a_member_scores_above_a_nonmember(scored):
    scores, member = scored
    ours, others = scores[member][:, None], scores[~member][None, :]
    wins = (ours > others).sum() + (ours == others).sum() / 2
    assert roc(scores, member).auc == pytest.approx(wins / (ours.size * others.size), abs=1e-12)


@given(_scored())
def test_every_point_counts_who_reaches_its_threshold(scored):
    scores, member = scored
    curve = roc(scores, member)
    assert (curve.true_positives[0], curve.false_positives[0]) == (0, 0)
    for threshold, found, alarms in zip(
        curve.thresholds[1:], curve.true_positives[1:], curve.false_positives[1:], strict=True
    ):
        assert found == (scores[member] >= threshold).sum()
        assert alarms == (scores[~member] >= threshold).sum()
    assert len(curve.thresholds) == len(np.unique(scores)) + 1


@given(_scored())
def test_only_the_ranks_of_scores_count(scored):
    scores, member = scored
    ranks = np.unique(scores, return_inverse=True)[1]
    one, other = roc(scores, member), roc(np.exp(ranks / 10.0), member)
    assert (one.true_positives == other.true_positives).all()
    assert (one.false_positives == other.false_positives).all()


@given(_scored())
def test_negated_scores_mirror_the_auc(scored):
    scores, member = scored
    assert roc(-scores, member).auc == pytest.approx(1 - roc(scores, member).auc)


@given(_scored(), st.floats(0.001, 0.999))
def test_a_rate_is_of_the_loosest_threshold_within_it(scored, fpr):
    scores, member = scored
    curve = roc(scores, member)
    within = [
        (scores[member] >= threshold).mean()
        for threshold in np.unique(scores)
        if (scores[~member] >= threshold).mean() <= fpr
    ]
    assert curve.tpr[curve.at_fpr(fpr)] == pytest.approx(max(within, default=0.0))


def test_a_rate_that_is_a_whole_number_of_nonmembers_includes_them_all():
    for nonmembers in range(1, 300):
        scores = np.arange(2 * nonmembers, dtype=float)
        curve = roc(scores, np.arange(2 * nonmembers) % 2 == 0)
        for alarms in range(nonmembers + 1):
            assert curve.false_positives[curve.at_fpr(alarms / nonmembers)] == alarms


def test_a_constant_score_is_a_coin_and_a_perfect_one_is_perfect():
    member = np.array([True, True, False, False, False])
    constant, perfect = roc(np.zeros(5), member), roc(member.astype(float), member)
    assert (constant.auc, constant.balanced_accuracy, constant.chance_p_value) == (0.5, 0.5, 1.0)
    assert (perfect.auc, perfect.balanced_accuracy) == (1.0, 1.0)
    assert constant.tpr[constant.at_fpr(0.5)] == 0


def test_the_auc_is_scikit_learns_and_the_p_value_scipys_on_many_tied_scores():
    generator = np.random.default_rng(0)
    member = generator.random(20_000) < 0.3
    scores = np.round(generator.normal(size=20_000) + 0.05 * member, 1)
    curve = roc(scores, member)
    assert curve.auc == pytest.approx(roc_auc_score(member, scores), abs=1e-12)
    test = mannwhitneyu(scores[member], scores[~member], method="asymptotic", use_continuity=False)
    assert curve.chance_p_value == pytest.approx(test.pvalue, rel=1e-9)
    assert curve.balanced_accuracy == pytest.approx(
        max(((scores[member] >= t).mean() + (scores[~member] < t).mean()) / 2 for t in np.unique(scores))
    )


def test_p_values_of_scores_that_know_nothing_are_uniform():
    generator = np.random.default_rng(1)
    member = np.arange(400) % 2 == 0
    p_values = [roc(generator.random(400), member).chance_p_value for _ in range(2000)]
    counts = np.histogram(p_values, bins=10, range=(0, 1))[0]
    assert counts.max() - 200 < 5 * 200**0.5
    assert 200 - counts.min() < 5 * 200**0.5


def test_twenty_thousand_scores_take_milliseconds():
    generator = np.random.default_rng(2)
    scores, member = generator.random(20_000), generator.random(20_000) < 0.5
    spent = []
    for _ in range(5):
        begin = time.process_time()
        curve = roc(scores, member)
        _ = curve.auc, curve.balanced_accuracy, curve.chance_p_value, log_log_curve(curve)
        spent.append(time.process_time() - begin)
    assert min(spent) < 0.05


def test_a_curve_for_logarithmic_axes_is_the_step_function_at_even_logarithms():
    generator = np.random.default_rng(3)
    member = np.arange(2000) % 2 == 0
    of = roc(generator.normal(size=2000) + member, member)
    curve = log_log_curve(of, points=50)
    assert (curve.fpr[0], curve.fpr[-1]) == pytest.approx((1 / 1000, 1))
    assert np.diff(np.log(curve.fpr)) == pytest.approx(np.full(49, np.log(1000) / 49))
    assert (np.diff(curve.tpr) >= 0).all()
    assert curve.tpr[-1] == 1
    for fpr, tpr, low, high in zip(curve.fpr, curve.tpr, curve.band.low, curve.band.high, strict=True):
        assert tpr == of.tpr[of.fpr <= fpr].max()
        band = clopper_pearson(round(tpr * 1000), 1000)
        assert (low, high) == pytest.approx((band.low, band.high))


def test_a_curve_of_one_point_is_refused_by_name():
    with pytest.raises(StatisticsError) as refused:
        log_log_curve(roc([0.0, 1.0], [True, False]), points=1)
    assert refused.value.code == "points-invalid"


@pytest.mark.parametrize(
    ("scores", "member"),
    [
        ([0.1, 0.2], [True]),
        ([0.1, 0.2], [1, 0]),
        ([0.1, float("nan")], [True, False]),
        ([0.1, 0.2], [True, True]),
        ([0.1, 0.2], [False, False]),
        ([], []),
    ],
)
def test_scores_without_a_curve_are_refused_by_name(scores, member):
    with pytest.raises(StatisticsError) as refused:
        roc(scores, member)
    assert refused.value.code == "scores-invalid"
