"""Epsilon from the error rates of a threshold attack, each within a Clopper-Pearson bound.

Jagielski, Ullman, Oprea 2020, Auditing Differentially Private Machine Learning; both directions as in Nasr et
al. 2021, Adversary Instantiation. An (epsilon, delta)-DP mechanism has TPR <= e^epsilon FPR + delta and TNR
<= e^epsilon FNR + delta at any threshold. Bounds hold at several thresholds at once (see operating_points),
so the largest epsilon among them and both directions is a bound as well.

Scores are taken for independent, as those of canaries in models of their own are. Of one model they are so
only if canaries do not touch one another; `one_run` needs no such thing.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from secagg_attacks.audit.bound import Bound, Floats, check_levels, checked
from secagg_attacks.audit.operating_points import by_ranks, geometric_ranks

__all__ = ["clopper_pearson_bound"]


def clopper_pearson_bound(
    scores: npt.ArrayLike, included: npt.ArrayLike, delta: float, *, confidence: float = 0.95
) -> Bound:
    """scores: finite, of shape (canaries,), higher for members. included: bool, of the same shape.

    Depends on the order of the scores only. Raises AuditError `audit-scores`, `audit-included`,
    `audit-shapes`, `audit-too-few`, `audit-delta`, `audit-confidence`.
    """
    check_levels(delta, confidence, pure=True)
    known = checked(scores, included)
    points = by_ranks(
        known, geometric_ranks(len(known.others)), geometric_ranks(len(known.members)), confidence
    )
    epsilon = max(
        _epsilon(1 - points.false_negatives, points.false_positives, delta),
        _epsilon(1 - points.false_positives, points.false_negatives, delta),
    )
    return Bound("clopper-pearson", epsilon, delta, confidence, len(known.values), "independence")


def _epsilon(right: Floats, wrong: Floats, delta: float) -> float:
    """The largest log((right - delta) / wrong), or 0. wrong: above 0, as upper bounds are."""
    shown = right > delta
    return float(np.max(np.log(right[shown] - delta) - np.log(wrong[shown]), initial=0.0))
