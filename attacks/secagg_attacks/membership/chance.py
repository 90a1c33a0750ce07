"""How likely so many members would rank so high if the scores knew nothing of who trained on what.

Several models are asked about the same examples: each about its own members and about non-members that all
of them share. If nothing is known, who is a member of which model is a random assignment of examples to
models, whatever the scores. The sum of the members' ranks is then a linear statistic of a random permutation,
whose mean and variance are known exactly (Hoeffding 1951, A combinatorial central limit theorem, theorem 2),
however alike the models' scores of an example are. Mann and Whitney's test, made on the pooled scores as if
each were of an example of its own, calls too much significant there.

The tail is the saddlepoint's of independent draws (Lugannani and Rice 1980), brought to the exact variance: a
score that takes few values has a skewed sum of ranks, and the normal tail would call too much significant.
Where it says 1 % or less, 999 assignments are drawn: if one of them ranks members so high, the p-value is no
less than their share (with few non-members, or many equal scores, the tail alone may be far too small).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import logsumexp, ndtr
from scipy.stats import rankdata

from secagg_attacks.membership.confidence import Floats
from secagg_attacks.membership.errors import MembershipError

__all__ = ["chance_p_value"]

_NEAR: Final = 1e-2
"""Standard deviations from the mean within which the saddlepoint's formula is 0 / 0, and the normal is exact
enough."""
_STEEPEST: Final = 1e4
_DRAWN: Final = 999
_DRAWN_FROM: Final = 0.01


def chance_p_value(scores: npt.ArrayLike, owner: npt.NDArray[np.integer]) -> float:
    """Two-sided, of scores (models, examples). owner: (examples,), the model that each is a member of, from
    0; -1 for non-members, of whom there may be none if there are several models: then members of one are held
    against those of the others, which is a test of what each model saw, whatever all of them know.

    Raises MembershipError `scores-shape`: other shapes, scores that are not numbers, a model without members,
    or nobody to hold them against.
    """
    given = np.asarray(scores, dtype=np.float64)
    if given.ndim != 2 or owner.shape != given.shape[1:] or bool(np.isnan(given).any()):
        raise MembershipError(
            "scores-shape",
            f"scores of shape {given.shape}, owners of shape {owner.shape}",
            "(models, examples), all of them numbers, and (examples,)",
        )
    counts = np.bincount(owner + 1, minlength=len(given) + 1)
    others = bool(counts[0]) or len(given) > 1
    if len(counts) != len(given) + 1 or not counts[1:].all() or not others:
        raise MembershipError(
            "scores-shape",
            f"{counts[1:].tolist()} members of {len(given)} models, and {counts[0]} non-members",
            "one member of each model, and one non-member or a second model, at the least",
        )
    ranks = (rankdata(given).reshape(given.shape) - 0.5) / given.size
    each = counts[1:].astype(np.float64)
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    members = owner >= 0
    excess = float(centred[owner[members], np.flatnonzero(members)].sum())
    exact, independent = _variances(centred, each)
    if exact <= 0 or abs(excess) <= _NEAR * np.sqrt(exact):
        return 1.0 if exact <= 0 else float(2 * ndtr(-abs(excess) / np.sqrt(exact)))
    toward = 1.0 if excess > 0 else -1.0
    found = min(1.0, 2 * _tail(toward * centred, each, abs(excess) * float(np.sqrt(independent / exact))))
    return found if found > _DRAWN_FROM else max(found, _drawn(centred, owner[members], abs(excess)))


def _drawn(centred: Floats, owner: npt.NDArray[np.integer], excess: float) -> float:
    """The share of assignments drawn that are as far from the mean; 0 where none is."""
    generator = np.random.default_rng(0)
    reached = 0
    for _ in range(_DRAWN):
        drawn = generator.permutation(centred.shape[1])[: len(owner)]
        reached += abs(float(centred[owner, drawn].sum())) >= excess * (1 - 1e-12)
    return (1 + reached) / (1 + _DRAWN) if reached else 0.0


def _variances(centred: Floats, each: Floats) -> tuple[float, float]:
    """Of the sum over a random assignment, and over independent draws; rows are of mean 0."""
    examples = centred.shape[1]
    within = float((each[:, None] * centred**2).sum())
    columns = (each[:, None] * centred).sum(axis=0) / examples
    return (within - examples * float((columns**2).sum())) / (examples - 1), within / examples


def _tail(values: Floats, each: Floats, at: float) -> float:
    """P(sum >= at), at > 0, of each[r] independent draws from row r of values, whose rows are of mean 0."""

    def tilted(slope: float) -> tuple[float, float, float]:
        """The cumulant generating function, and its first two derivatives."""
        logs = slope * values
        total = logsumexp(logs, axis=1, keepdims=True)
        shares = np.exp(logs - total)
        mean = (shares * values).sum(axis=1)
        spread = (shares * values**2).sum(axis=1) - mean**2
        value = float((each * (total[:, 0] - np.log(values.shape[1]))).sum())
        return value, float((each * mean).sum()), float((each * spread).sum())

    # The least there is: every member among the highest of its row. Reached where many scores are equal.
    highest = values == values.max(axis=1, keepdims=True)
    least = float(np.exp((each * np.log(highest.mean(axis=1))).sum()))
    if tilted(_STEEPEST)[1] <= at:
        return least
    slope = brentq(lambda tried: tilted(tried)[1] - at, 0.0, _STEEPEST)
    value, _, curvature = tilted(slope)
    deviation = np.sqrt(2 * max(0.0, slope * at - value))
    along = slope * np.sqrt(max(0.0, curvature))  # rounding may bring it below 0
    bound = float(np.exp(min(0.0, value - slope * at)))  # Chernoff's: it holds where the formula fails
    if not (deviation > 0 and along > 0):
        return max(least, bound)
    density = np.exp(-(deviation**2) / 2) / np.sqrt(2 * np.pi)
    found = float(ndtr(-deviation) + density * (1 / along - 1 / deviation))
    return max(least, min(found, 1.0) if found > 0 else bound)
