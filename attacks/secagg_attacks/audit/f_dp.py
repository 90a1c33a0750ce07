"""Epsilon from a single run, against the whole trade-off function of a Gaussian mechanism.

Mahloujifar, Melis, Chaudhuri 2024, Auditing f-Differential Privacy in One Run (arXiv 2410.22235), section 3.
Let p_i be the probability that exactly i of r guesses about m canaries are right. That one canary's guess is
right while at least i are, has the probability R_i / m on average, where R_i = sum of l p_l over l >= i; that
it is wrong while at least i are right, W_i / m, where W_i = sum of (r - l) p_l. Turning the canary's coin
over makes of the first event the second with one less right, so a mechanism with trade-off function f keeps

    R_i / m <= 1 - f(W_(i-1) / m)     for every i

(1 - f is concave, so what holds for each canary holds for their average).

From P[at least c right] = 1 - confidence, these give the least that all p_i can sum up to, from i = c down to
0. If that is more than 1, f is refuted. f is searched among those of Gaussian mechanisms; mu turns into
epsilon at delta.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from secagg_attacks.audit.bound import Booleans, Bound, Floats, check_levels, checked
from secagg_attacks.audit.guesses import SHARES, Guesses, guess
from secagg_attacks.audit.trade_off import epsilon_of, least_false_positives

__all__ = ["f_dp_bound", "refuted"]

_GRID: Final = 32
_PRECISION: Final = 1e-6


def f_dp_bound(
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
    check_levels(delta, confidence, pure=False)
    known = checked(scores, included)
    tried = guess(known, shares, seed)
    mu = max(_largest_refuted(guesses, (1 - confidence) / len(tried)) for guesses in tried)
    return Bound("f-dp", epsilon_of(mu, delta), delta, confidence, len(known.values), "gaussian")


def refuted(guesses: Guesses, mu: Floats, significance: float) -> Booleans:
    """Which Gaussian mechanisms would be as right as this with a probability below `significance`."""
    made, all_mass = guesses.made, guesses.made / guesses.canaries
    start = significance / guesses.canaries
    right = np.full(mu.shape, start * guesses.correct)
    wrong = np.full(mu.shape, start * (made - guesses.correct))
    for count in range(guesses.correct - 1, -1, -1):
        least = np.maximum(wrong, least_false_positives(right, mu))
        more = least - wrong
        right = np.minimum(right + count / (made - count) * more, 1.0)
        wrong = least
        # Once nothing is added, nothing is ever again.
        if np.all((more == 0) | (right + wrong > all_mass)):
            break
    return np.asarray(right + wrong > all_mass)


@cache
def _largest_refuted(guesses: Guesses, significance: float) -> float:
    """The largest mu refuted; 0 if none is. Each pass narrows it to one cell of a grid."""
    low, high = 0.0, 8.0
    while refuted(guesses, np.array([high]), significance)[0]:
        low, high = high, 2 * high
    while high - low > _PRECISION:
        grid = np.linspace(low, high, _GRID)
        kept = np.flatnonzero(~refuted(guesses, grid[1:], significance))
        cell = int(kept[0]) if len(kept) else _GRID - 2
        low, high = float(grid[cell]), float(grid[cell + 1])
    return low
