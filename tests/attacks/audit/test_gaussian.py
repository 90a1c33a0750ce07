from __future__ import annotations

import numpy as np
import pytest

from secagg_attacks.audit import AuditError, gaussian_bound
from secagg_attacks.audit.trade_off import epsilon_of
from tests.attacks.audit.canaries import normal


def test_from_moments_the_bound_is_the_noncentral_t_one() -> None:
    """Of large samples: the difference of means over its standard deviation, less 1.645 standard errors."""
    scores, included = normal(1.0, 40_000, 0)
    members, others = scores[included], scores[~included]
    standardised = (members.mean() - others.mean()) / np.sqrt((members.var() + others.var()) / 2)
    error = np.sqrt(4 / 40_000 + standardised**2 / (2 * 40_000))
    found = gaussian_bound(scores, included, 1e-5, of="moments").epsilon
    assert found == pytest.approx(epsilon_of(standardised - 1.6449 * error, 1e-5), rel=1e-3)


def test_moments_show_the_truth_too_high_once_in_twenty_and_no_more() -> None:
    truth = epsilon_of(1.0, 1e-5)
    shown = np.array([gaussian_bound(*normal(1.0, 60, k), 1e-5, of="moments").epsilon for k in range(1000)])
    assert 29 <= np.count_nonzero(shown > truth) <= 71


def test_moments_do_not_depend_on_the_scale_of_the_scores() -> None:
    scores, included = normal(1.0, 500, 0)
    one = gaussian_bound(scores, included, 1e-5, of="moments").epsilon
    assert gaussian_bound(1e6 * scores - 3, included, 1e-5, of="moments").epsilon == pytest.approx(one)


def test_rates_withstand_one_score_that_moments_do_not() -> None:
    scores, included = normal(1.0, 5000, 0)
    rates, moments = (gaussian_bound(scores, included, 1e-5, of=of).epsilon for of in ("rates", "moments"))
    scores[np.flatnonzero(included)[0]] = 1e6
    assert gaussian_bound(scores, included, 1e-5).epsilon == pytest.approx(rates, abs=0.05)
    assert gaussian_bound(scores, included, 1e-5, of="moments").epsilon < moments / 4


def test_scores_that_lie_further_apart_than_students_t_can_be_computed_for_have_a_bound_too() -> None:
    _, included = normal(1.0, 1000, 0)
    jitter = 1e-12 * np.random.default_rng(0).standard_normal(1000)
    found = gaussian_bound(included + jitter, included, 1e-5, of="moments").epsilon
    assert np.isfinite(found)
    assert found > gaussian_bound(included + 1e9 * jitter, included, 1e-5, of="moments").epsilon > 1e3


def test_an_unknown_way_and_scores_without_variance_are_refused() -> None:
    scores, included = normal(1.0, 100, 0)
    with pytest.raises(AuditError) as refused:
        gaussian_bound(scores, included, 1e-5, of="quantiles")  # type: ignore[arg-type]
    assert refused.value.code == "audit-of"
    with pytest.raises(AuditError) as refused:
        gaussian_bound(included.astype(float), included, 1e-5, of="moments")
    assert refused.value.code == "audit-constant"
