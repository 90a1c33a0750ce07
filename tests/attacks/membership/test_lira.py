"""LiRA, held against its definition written out and against a world that it was made for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from secagg_attacks.membership.errors import MembershipError
from secagg_attacks.membership.lira import OWN_VARIANCE_FROM, lira_offline, lira_online
from secagg_attacks.membership.splits import complementary_pairs
from secagg_attacks.statistics.roc import roc


def _gaussian(shadows, examples, targets=4, seed=0):
    """phi = a difficulty of the example's own + a gain of its own for members + normal noise."""
    generator = np.random.default_rng(seed)
    member = complementary_pairs(shadows + targets, examples, seed)
    difficulty, gain = generator.normal(0, 5, examples), generator.uniform(0.5, 3, examples)
    phi = difficulty + gain * member + generator.normal(0, 1, member.shape)
    return phi[:shadows], member[:shadows], phi[shadows:], member[shadows:], difficulty, gain


@pytest.mark.parametrize("variance", ["pooled", "example"])
def test_online_is_the_log_ratio_of_two_normal_densities(variance):
    shadows, known, targets, *_ = _gaussian(12, 5)
    residuals = {True: [], False: []}
    for at in range(5):
        for side in (True, False):
            mine = shadows[known[:, at] == side, at]
            residuals[side].append(mine - mine.mean())
    found = lira_online(targets, shadows, known, variance)
    for at in range(5):
        densities = []
        for side in (True, False):
            mine = shadows[known[:, at] == side, at]
            own, pooled = mine.var(ddof=1), (np.square(residuals[side]).sum() / (5 * 5))
            spread = (pooled if variance == "pooled" else own) ** 0.5
            densities.append(norm.logpdf(targets[:, at], mine.mean(), spread))
        assert found[:, at] == pytest.approx(densities[0] - densities[1])


def test_offline_is_the_log_probability_of_less_confidence_without_the_example():
    shadows, known, targets, *_ = _gaussian(12, 5)
    found = lira_offline(targets, shadows, known, "example")
    for at in range(5):
        out = shadows[~known[:, at], at]
        assert found[:, at] == pytest.approx(norm.logcdf(targets[:, at], out.mean(), out.std(ddof=1)))


def test_offline_needs_no_shadow_with_the_example_and_tells_apart_what_is_far_above():
    shadows = np.random.default_rng(0).normal(size=(6, 3))
    found = lira_offline(np.array([[-30.0, 3, 6], [-31, 4, 7]]), shadows, np.zeros((6, 3), dtype=bool))
    assert np.isfinite(found).all()
    assert (np.diff(found, axis=0) != 0).all()
    with pytest.raises(MembershipError) as refused:
        lira_online(np.zeros(3), shadows, np.zeros((6, 3), dtype=bool))
    assert refused.value.code == "never-in"


def test_variance_is_pooled_below_sixty_four_shadows_and_each_examples_own_from_there():
    for shadows, chosen in ((OWN_VARIANCE_FROM - 2, "pooled"), (OWN_VARIANCE_FROM, "example")):
        phi, known, targets, *_ = _gaussian(shadows, 10)
        assert (lira_online(targets, phi, known) == lira_online(targets, phi, known, chosen)).all()
        other = "example" if chosen == "pooled" else "pooled"
        assert (lira_online(targets, phi, known) != lira_online(targets, phi, known, other)).any()


def test_many_shadows_come_near_the_best_test_there_is_and_few_lose_little():
    shadows, known, targets, member, difficulty, gain = _gaussian(128, 2000)
    best = norm.logpdf(targets - difficulty - gain) - norm.logpdf(targets - difficulty)
    most = roc(best, member).auc
    assert most - roc(lira_online(targets, shadows, known), member).auc < 0.01
    assert most - roc(lira_online(targets, shadows[:8], known[:8]), member).auc < 0.06
    assert most - roc(lira_offline(targets, shadows, known), member).auc < 0.06
    # Without shadows the examples' own difficulty hides nearly everything.
    assert most - roc(targets, member).auc > 0.1


def test_shadows_that_tell_no_spread_are_refused_by_name():
    pair = np.array([[True, False], [False, True]])
    for phi, member in ((np.array([[1.0, 2], [3, 4]]), pair), (np.ones((8, 2)), np.tile(pair, (4, 1)))):
        with pytest.raises(MembershipError) as refused:
            lira_online(np.zeros(2), phi, member)
        assert refused.value.code == "too-few-shadows"


def test_phi_that_is_not_finite_and_an_unknown_variance_are_refused_by_name():
    shadows, known, targets, *_ = _gaussian(8, 4)
    for where, code in ((shadows, "shadows-shape"), (targets, "targets-shape")):
        kept, where[0, 0] = where[0, 0], np.nan
        with pytest.raises(MembershipError) as refused:
            lira_offline(targets, shadows, known)
        assert refused.value.code == code
        where[0, 0] = kept
    with pytest.raises(MembershipError) as refused:
        lira_online(targets, shadows, known, "own")  # type: ignore[arg-type]
    assert refused.value.code == "variance-invalid"
