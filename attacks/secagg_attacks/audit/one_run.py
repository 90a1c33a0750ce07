"""Epsilon from a single run with many canaries, whatever they do to one another.

Steinke, Nasr, Jagielski 2023, Privacy Auditing with One (1) Training Run (arXiv 2305.08846), theorem 5.2. Of
r guesses about m canaries, an (epsilon, delta)-DP mechanism lets at least v be right with probability at most

    P[B >= v] + 2 m delta max_i P[v > B >= v - i] / i,     B ~ Binomial(r, e^epsilon / (1 + e^epsilon)).

The largest epsilon at which this stays below 1 - confidence is refuted. With several numbers of guesses, each
is judged at its part of that (Bonferroni).
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import expit
from scipy.stats import binom

from secagg_attacks.audit.bound import Bound, check_levels, checked
from secagg_attacks.audit.guesses import SHARES, Guesses, guess

__all__ = ["one_run_bound", "probability"]

_PRECISION: Final = 1e-6


def one_run_bound(
    scores: npt.ArrayLike,
    included: npt.ArrayLike,
    delta: float,
    *,
    confidence: float = 0.95,
    shares: tuple[float, ...] = SHARES,
    seed: int = 0,
) -> Bound:
    """scores: finite, of shape (canaries,), higher for members. included: bool, of that shape, fair coins.

    shares: of the canaries, how many to guess; chosen without a look at the scores. seed: breaks ties.
    Depends on the order of the scores only. Raises AuditError `audit-scores`, `audit-included`,
    `audit-shapes`, `audit-too-few`, `audit-delta`, `audit-confidence`, `audit-shares`, `audit-coins`.
    """
    check_levels(delta, confidence, pure=True)
    known = checked(scores, included)
    tried = guess(known, shares, seed)
    epsilon = max(_refuted(guesses, delta, (1 - confidence) / len(tried)) for guesses in tried)
    return Bound("one-run", epsilon, delta, confidence, len(known.values), "fair-coins")


def probability(guesses: Guesses, epsilon: float, delta: float) -> float:
    """The most that an (epsilon, delta)-DP mechanism gives to as many correct guesses or more."""
    right = guesses.correct
    at_least = binom.sf(np.arange(-1, right), guesses.made, expit(epsilon))
    tail = float(at_least[right])
    if not delta or not right:
        return tail
    fewer = np.arange(1, right + 1)
    extra = float(np.max((at_least[right - fewer] - tail) / fewer))
    return min(1.0, tail + 2 * guesses.canaries * delta * extra)


@cache
def _refuted(guesses: Guesses, delta: float, significance: float) -> float:
    """The largest epsilon refuted, by bisection; 0 if none is."""

    def refuted(epsilon: float) -> bool:
        return probability(guesses, epsilon, delta) <= significance

    low, high = 0.0, 1.0
    if not refuted(low):
        return 0.0
    while refuted(high):
        low, high = high, 2 * high
    while high - low > _PRECISION:
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low
