"""What scores come to, and which figures they are too few for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg_attacks.membership.errors import MembershipError
from secagg_attacks.membership.figures import PRIORS, figures, precision, tpr_at_fpr
from secagg_attacks.statistics.bootstrap import auc_interval
from secagg_attacks.statistics.intervals import clopper_pearson
from secagg_attacks.statistics.roc import roc


def _scored(targets, examples, shift=1.0, seed=0):
    generator = np.random.default_rng(seed)
    member = generator.permuted(np.broadcast_to(np.arange(examples) % 2 == 0, (targets, examples)), axis=1)
    return generator.normal(size=member.shape) + shift * member, member


@pytest.mark.parametrize(("fpr", "needed"), [(0.1, 10), (0.01, 100), (0.001, 1000)])
def test_a_rate_needs_as_many_nonmembers_as_one_false_alarm_stands_for(fpr, needed):
    members = [(float(at), True) for at in range(50)]
    for nonmembers in (needed - 1, needed):
        scores, member = zip(*members, *((at + 0.5, False) for at in range(nonmembers)), strict=True)
        curve = roc(np.array(scores), np.array(member))
        if nonmembers < needed:
            with pytest.raises(MembershipError) as refused:
                tpr_at_fpr(curve, fpr)
            assert refused.value.code == "too-few-nonmembers"
            assert "more targets" in refused.value.hint
        else:
            assert tpr_at_fpr(curve, fpr).fpr == fpr


def test_targets_are_pooled_so_that_together_they_have_nonmembers_enough():
    scores, member = _scored(8, 250)
    one, all_of_them = figures(scores[0], member[0], seed=0), figures(scores, member, seed=0)
    assert [rate.fpr for rate in one.rates] == [0.1, 0.01]
    assert [(level, why.code) for level, why in one.refused] == [(0.001, "too-few-nonmembers")]
    assert [rate.fpr for rate in all_of_them.rates] == [0.1, 0.01, 0.001]
    assert all_of_them.refused == ()
    assert (all_of_them.members, all_of_them.nonmembers) == (1000, 1000)


def test_every_figure_is_what_its_name_says():
    scores, member = _scored(4, 500)
    found, curve = figures(scores, member, seed=3), roc(scores, member)
    assert (found.auc, found.balanced_accuracy) == (curve.auc, curve.balanced_accuracy)
    assert found.chance_p_value == curve.chance_p_value
    for rate in found.rates:
        threshold = np.sort(scores[~member])[::-1][int(rate.fpr * 1000)]
        count = int((scores[member] > threshold).sum())
        assert rate.tpr == count / 1000
        interval = clopper_pearson(count, 1000)
        assert (rate.interval.low, rate.interval.high) == (interval.low, interval.high)
        assert rate.precisions == tuple(precision(rate.tpr, rate.fpr, prior) for prior in PRIORS)


def test_the_bootstrap_draws_examples_or_targets_and_says_which():
    scores, member = _scored(4, 100)
    rows, columns = np.indices(scores.shape)
    for unit, drawn in (("example", columns), ("target", rows)):
        found, interval = figures(scores, member, seed=3, unit=unit), auc_interval(scores, member, 3, drawn)
        assert found.unit == unit
        assert (found.auc_interval.low, found.auc_interval.high) == (interval.low, interval.high)
    assert figures(scores[0], member[0], seed=3, unit="target").unit == "example"


@given(st.floats(0, 1), st.floats(0.0001, 1), st.floats(0.001, 0.999))
def test_precision_is_bayes_rule_on_counts(tpr, fpr, prior):
    population = 1e6
    called = population * (prior * tpr + (1 - prior) * fpr)
    assert precision(tpr, fpr, prior) == pytest.approx(population * prior * tpr / called)


def test_where_nobody_is_called_a_member_no_member_is_found():
    assert precision(0, 0, 0.5) == 0


def test_what_cannot_be_computed_is_refused_by_name():
    scores, member = _scored(2, 50)
    with pytest.raises(MembershipError) as refused:
        figures(scores[None], member[None], seed=0)
    assert refused.value.code == "scores-shape"
    for level in (0, 1, float("nan")):
        with pytest.raises(MembershipError) as refused:
            figures(scores, member, seed=0, levels=(level,))
        assert refused.value.code == "fpr-invalid"
    with pytest.raises(MembershipError) as refused:
        precision(0.5, 0.1, 0)
    assert refused.value.code == "prior-invalid"
