"""Epsilon under the assumption that the mechanism's trade-off function is that of a Gaussian mechanism.

One point of the curve, or its scores' mean and variance, then tell the whole, also where no canary is: this
shows nearly all of epsilon, if the assumption holds, and may show more than the truth if it does not. Every
bound says so (`assumes`). From rates: Nasr et al. 2023, Tight Auditing of Differentially Private Machine
Learning. From moments: the confidence bound of a standardised difference of means by the
noncentral t distribution (Hedges and Olkin 1985, chapter 5).
"""

from __future__ import annotations

import math
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import nctdtr

from secagg_attacks.audit.bound import AuditError, Bound, Scores, check_levels, checked
from secagg_attacks.audit.operating_points import by_ranks
from secagg_attacks.audit.trade_off import epsilon_of, separation

__all__ = ["gaussian_bound"]

_FALSE_POSITIVES: Final = 0.3
"""Where the one threshold lies: at error rates near a third, a rate tells most of mu."""
_LARGEST: Final = 1e5
"""Of Student's t, where its noncentral law is still computed; less than what came is a lower bound too."""


def gaussian_bound(
    scores: npt.ArrayLike,
    included: npt.ArrayLike,
    delta: float,
    *,
    confidence: float = 0.95,
    of: Literal["rates", "moments"] = "rates",
) -> Bound:
    """scores: finite, of shape (canaries,), higher for members, independent. included: bool, of that shape.

    of: "rates", FPR and FNR of one threshold, and so the order of the scores only; or "moments", which takes
    the scores themselves for normal with one variance. Raises AuditError `audit-scores`, `audit-included`,
    `audit-shapes`, `audit-too-few`, `audit-delta`, `audit-confidence`, `audit-of`, `audit-constant`.
    """
    check_levels(delta, confidence, pure=False)
    known = checked(scores, included)
    trials = len(known.values)
    if of == "rates":
        mu = _mu_of_rates(known, confidence)
        return Bound("gaussian", epsilon_of(mu, delta), delta, confidence, trials, "gaussian")
    if of == "moments":
        mu = _mu_of_moments(known, confidence)
        return Bound("gaussian-moments", epsilon_of(mu, delta), delta, confidence, trials, "gaussian-scores")
    raise AuditError("audit-of", f'of must be "rates" or "moments", not {of!r}', '"rates" assumes less')


def _mu_of_rates(scores: Scores, confidence: float) -> float:
    rank = max(1, round(_FALSE_POSITIVES * len(scores.others)))
    none = np.array([], dtype=np.int64)
    points = by_ranks(scores, np.array([rank], dtype=np.int64), none, confidence)
    return float(separation(points.false_positives, points.false_negatives)[0])


def _mu_of_moments(scores: Scores, confidence: float) -> float:
    members, others = scores.members, scores.others
    freedom = len(scores.values) - 2
    squares = len(members) * float(members.var()) + len(others) * float(others.var())
    if not squares > 0:
        raise AuditError(
            "audit-constant",
            "members have one score, and the others one: there is no variance",
            'of = "rates"',
        )
    spread = math.sqrt(1 / len(members) + 1 / len(others))
    t = min(_LARGEST, float(members.mean() - others.mean()) / math.sqrt(squares / freedom) / spread)
    if nctdtr(freedom, 0.0, t) <= confidence:
        return 0.0
    return spread * float(brentq(lambda shift: nctdtr(freedom, shift, t) - confidence, 0.0, t))
