"""What every auditor refuses, and what holds of every one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg_attacks.audit import AUDITORS, AuditError, Auditor
from tests.attacks.audit.canaries import Canaries, any_canaries, normal

every = pytest.mark.parametrize("audit", AUDITORS.values(), ids=AUDITORS)
by_rank = pytest.mark.parametrize(
    "audit", [audit for name, audit in AUDITORS.items() if name != "gaussian-moments"]
)
SCORES, INCLUDED = normal(1.0, 200, 0)


def _with(value: float) -> npt.NDArray[np.float64]:
    scores = SCORES.copy()
    scores[7] = value
    return scores


@every
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_no_finite_number_is_refused(audit: Auditor, value: float) -> None:
    with pytest.raises(AuditError, match="1 of 200") as refused:
        audit(_with(value), INCLUDED, 1e-5, confidence=0.95)
    assert (refused.value.code, refused.value.exit_code) == ("audit-scores", 2)


@every
@pytest.mark.parametrize(
    ("scores", "included", "code"),
    [
        (SCORES[:-1], INCLUDED, "audit-shapes"),
        (SCORES.reshape(2, -1), INCLUDED, "audit-scores"),
        (SCORES.astype(str), INCLUDED, "audit-scores"),
        (SCORES, INCLUDED.reshape(2, -1), "audit-shapes"),
        (SCORES, INCLUDED.astype(int), "audit-included"),
        (SCORES, np.arange(200) < 9, "audit-too-few"),
        (SCORES, np.arange(200) >= 9, "audit-too-few"),
    ],
)
def test_arrays_that_are_not_scores_and_coins_are_refused_by_name(
    audit: Auditor, scores: npt.NDArray[np.float64], included: npt.NDArray[np.bool_], code: str
) -> None:
    with pytest.raises(AuditError) as refused:
        audit(scores, included, 1e-5, confidence=0.95)
    assert refused.value.code == code
    assert refused.value.hint


@every
@pytest.mark.parametrize("delta", [-1e-9, 1.0, 2.0, np.nan])
def test_a_delta_out_of_range_is_refused(audit: Auditor, delta: float) -> None:
    with pytest.raises(AuditError) as refused:
        audit(SCORES, INCLUDED, delta, confidence=0.95)
    assert refused.value.code == "audit-delta"


@every
@pytest.mark.parametrize("confidence", [0.0, 0.49, 1.0, 95.0, np.nan])
def test_a_confidence_out_of_range_is_refused(audit: Auditor, confidence: float) -> None:
    with pytest.raises(AuditError) as refused:
        audit(SCORES, INCLUDED, 1e-5, confidence=confidence)
    assert refused.value.code == "audit-confidence"


@pytest.mark.parametrize("name", AUDITORS)
def test_delta_zero_is_refused_where_a_gaussian_would_have_no_epsilon(name: str) -> None:
    audit = AUDITORS[name]
    if name in ("clopper-pearson", "one-run"):
        assert audit(SCORES, INCLUDED, 0.0, confidence=0.95).delta == 0.0
    else:
        with pytest.raises(AuditError) as refused:
            audit(SCORES, INCLUDED, 0.0, confidence=0.95)
        assert refused.value.code == "audit-delta"


@pytest.mark.parametrize(
    ("name", "assumes"),
    [
        ("clopper-pearson", "independence"),
        ("one-run", "fair-coins"),
        ("f-dp", "gaussian"),
        ("gaussian", "gaussian"),
        ("gaussian-moments", "gaussian-scores"),
    ],
)
def test_a_bound_says_how_it_was_found_and_what_it_assumes(name: str, assumes: str) -> None:
    bound = AUDITORS[name](SCORES, INCLUDED, 1e-5, confidence=0.9)
    assert (bound.method, bound.assumes) == (name, assumes)
    assert (bound.delta, bound.confidence, bound.trials) == (1e-5, 0.9, 200)


@every
@given(canaries=any_canaries(), delta=st.sampled_from([1e-9, 1e-5, 0.01, 0.5]))
def test_a_bound_is_finite_and_never_negative(audit: Auditor, canaries: Canaries, delta: float) -> None:
    scores, included = canaries
    scores = scores + np.linspace(0, 1e-3, len(scores))
    assert 0 <= audit(scores, included, delta, confidence=0.95).epsilon < np.inf


@every
@given(canaries=any_canaries(), more=st.integers(0, 50))
def test_members_further_above_the_others_never_show_less(
    audit: Auditor, canaries: Canaries, more: int
) -> None:
    scores, included = canaries
    scores = scores + np.linspace(0, 1e-3, len(scores))
    near = audit(scores, included, 1e-3, confidence=0.95).epsilon
    assert audit(scores + more * included, included, 1e-3, confidence=0.95).epsilon >= near - 1e-9


@by_rank
@given(canaries=any_canaries())
def test_only_the_order_of_the_scores_counts(audit: Auditor, canaries: Canaries) -> None:
    scores, included = canaries
    stretched = scores**3 + 7.0
    assert audit(scores, included, 1e-3, confidence=0.95) == audit(stretched, included, 1e-3, confidence=0.95)


@every
@given(canaries=any_canaries())
def test_more_confidence_or_a_larger_delta_never_shows_more(audit: Auditor, canaries: Canaries) -> None:
    scores, included = canaries
    scores = scores + np.linspace(0, 1e-3, len(scores))
    shown = audit(scores, included, 1e-3, confidence=0.9).epsilon
    assert audit(scores, included, 1e-3, confidence=0.99).epsilon <= shown + 1e-5
    assert audit(scores, included, 1e-1, confidence=0.9).epsilon <= shown + 1e-5


@by_rank
def test_scores_that_are_all_the_same_show_nothing_whatever_their_order(audit: Auditor) -> None:
    included = np.arange(1000) < 500
    for order in (included, included[::-1]):
        assert audit(np.zeros(1000), order, 1e-5, confidence=0.95).epsilon == 0


@every
def test_an_attack_that_is_always_wrong_shows_nothing(audit: Auditor) -> None:
    scores, included = normal(-3.0, 1000, 1)
    assert audit(scores, included, 1e-5, confidence=0.95).epsilon == 0


@every
def test_a_perfect_attack_shows_more_with_more_canaries(audit: Auditor) -> None:
    few, many = (audit(*normal(50.0, count, 2), 1e-5, confidence=0.95).epsilon for count in (100, 5000))
    assert 1 < few < many
