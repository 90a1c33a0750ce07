"""How much an AUC would vary in another sample: the percentile bootstrap (Efron 1979).

What is drawn again is the *unit* that another sample would differ in. Scores of the same example under
several targets rise and fall together, so the unit is the example, or the target, and not the single score,
wherever there are several targets (the cluster bootstrap). With few units the interval is too narrow: eight
targets are few, some hundreds of examples are not.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from secagg_attacks.statistics.errors import StatisticsError
from secagg_attacks.statistics.intervals import Floats, Interval
from secagg_attacks.statistics.roc import checked_scores

__all__ = ["auc_interval"]

RESAMPLES: Final = 200
_AT_ONCE: Final = 1 << 20  # numbers in a block of resamples


def auc_interval(
    scores: npt.ArrayLike,
    is_member: npt.ArrayLike,
    seed: int,
    units: npt.ArrayLike | None = None,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
) -> Interval[float]:
    """The percentile interval of the AUC over `resamples` draws, with replacement, of as many units.

    units: an integer for each score, which unit it belongs to; None makes each score a unit of its own.
    Raises StatisticsError `scores-invalid`, `units-invalid` (other shape, not integers, fewer than two, or so
    few that a resample had no member or no non-member), `resamples-invalid`, `confidence-invalid`.
    """
    flat, member = checked_scores(scores, is_member)
    if resamples < 1:
        raise StatisticsError("resamples-invalid", f"{resamples} resamples", "1 or more; 200, say")
    if not 0 < confidence < 1:
        raise StatisticsError(
            "confidence-invalid", f"a confidence of {confidence}", "between 0 and 1; 0.95, say"
        )
    unit = np.arange(len(flat)) if units is None else _numbered(units, np.shape(scores))
    order = np.argsort(flat, kind="stable")
    rising, member, unit = flat[order], member[order], unit[order]
    starts = np.append(0, np.flatnonzero(rising[1:] != rising[:-1]) + 1)
    generator = np.random.default_rng(seed)
    count = int(unit.max()) + 1
    block = max(1, _AT_ONCE // len(flat))
    found = [
        _aucs(_drawn(generator, min(block, resamples - done), count)[:, unit], member, starts)
        for done in range(0, resamples, block)
    ]
    low, high = np.quantile(np.concatenate(found), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def _numbered(units: npt.ArrayLike, shape: tuple[int, ...]) -> npt.NDArray[np.intp]:
    given = np.asarray(units)
    if given.dtype.kind not in "iu" or given.shape != shape:
        raise StatisticsError(
            "units-invalid",
            f"units of shape {given.shape} and type {given.dtype}, scores of shape {shape}",
            "one integer for each score",
        )
    names, unit = np.unique(given.reshape(-1), return_inverse=True)
    if len(names) < 2:
        raise StatisticsError("units-invalid", "all scores belong to one unit", "two units at the least")
    return unit


def _drawn(generator: np.random.Generator, resamples: int, units: int) -> Floats:
    """How often each unit is in each resample: shape (resamples, units)."""
    drawn = generator.integers(units, size=(resamples, units)) + units * np.arange(resamples)[:, None]
    return np.bincount(drawn.reshape(-1), minlength=resamples * units).reshape(resamples, units).astype(float)


def _aucs(weights: Floats, member: npt.NDArray[np.bool_], starts: npt.NDArray[np.intp]) -> Floats:
    """AUCs under weights (resamples, scores) of the rising scores; equal ones begin at `starts`."""
    members = np.add.reduceat(weights * member, starts, axis=1)
    nonmembers = np.add.reduceat(weights * ~member, starts, axis=1)
    pairs = members.sum(axis=1) * nonmembers.sum(axis=1)
    if not pairs.all():
        raise StatisticsError(
            "units-invalid",
            "a resample had no members, or no non-members",
            "more units: examples instead of targets, or more of them",
        )
    below = np.cumsum(nonmembers, axis=1) - nonmembers / 2
    return np.asarray((members * below).sum(axis=1) / pairs)
