"""Guesses of membership with abstention, as the audits from one run count them.

Steinke, Nasr, Jagielski 2023, Algorithm 1: of m canaries, each included by its own fair coin, the highest
scores are guessed to be in, as many lowest ones out, and of those between nothing is said. How many guesses
are made is settled before any score is seen; ties are broken by a coin, never by the truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.stats import binom

from secagg_attacks.audit.bound import AuditError, Scores

__all__ = ["SHARES", "Guesses", "guess"]

SHARES: Final = (0.04, 0.2, 1.0)
"""Of the canaries, how many are guessed: few where epsilon is large, all where canaries are few."""

_UNFAIR: Final = 1e-9


@dataclass(frozen=True)
class Guesses:
    """Of `canaries`, `made` were guessed and `correct` of these rightly."""

    canaries: int
    made: int
    correct: int


def guess(scores: Scores, shares: tuple[float, ...], seed: int) -> tuple[Guesses, ...]:
    """Guesses for each share. Raises AuditError `audit-shares`, `audit-coins`."""
    if not shares or not all(0 < share <= 1 for share in shares):
        raise AuditError(
            "audit-shares", f"shares must be above 0 and at most 1, not {shares}", f"such as {SHARES}"
        )
    canaries, inside = len(scores.values), int(scores.included.sum())
    if 2 * float(binom.cdf(min(inside, canaries - inside), canaries, 0.5)) < _UNFAIR:
        raise AuditError(
            "audit-coins",
            f"{inside} of {canaries} canaries were included, which fair coins do not do",
            "include each canary with probability 1/2, independently of the others",
        )
    shuffled = np.random.default_rng(seed).permutation(canaries)
    ascending = scores.included[np.lexsort((shuffled, scores.values))]
    outs, ins = np.cumsum(~ascending), np.cumsum(ascending[::-1])
    made = [max(2, round(share * canaries)) for share in shares]
    return tuple(
        Guesses(canaries, count, int(ins[count - count // 2 - 1] + outs[count // 2 - 1])) for count in made
    )
