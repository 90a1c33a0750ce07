"""Intervals of a proportion: k successes among n independent trials.

Clopper-Pearson (1934) is exact: it covers the truth with at least the stated confidence, whatever the truth
is, and is wider for it. Wilson (1927) covers it on average and is narrower; it is for figures that nothing
is claimed from. A bound that a claim rests on is Clopper-Pearson's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeAlias, TypeVar, overload

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv, ndtri

from secagg_attacks.statistics.errors import StatisticsError

__all__ = ["Interval", "Side", "clopper_pearson", "wilson"]

Floats: TypeAlias = npt.NDArray[np.float64]
Counts: TypeAlias = npt.NDArray[np.integer[Any]]
Side: TypeAlias = Literal["two-sided", "lower", "upper"]
"""Which end is bounded: with "lower" the high end is 1, with "upper" the low end is 0."""

_Value = TypeVar("_Value", float, Floats)


@dataclass(frozen=True, eq=False)
class Interval(Generic[_Value]):
    """From low to high, both included: numbers, or float64 arrays of one shape."""

    low: _Value
    high: _Value


@overload
def clopper_pearson(
    successes: int | np.integer[Any],
    trials: int | np.integer[Any],
    confidence: float = 0.95,
    side: Side = "two-sided",
) -> Interval[float]: ...
@overload
def clopper_pearson(
    successes: Counts, trials: int | Counts, confidence: float = 0.95, side: Side = "two-sided"
) -> Interval[Floats]: ...
def clopper_pearson(
    successes: int | np.integer[Any] | Counts,
    trials: int | np.integer[Any] | Counts,
    confidence: float = 0.95,
    side: Side = "two-sided",
) -> Interval[float] | Interval[Floats]:
    """The exact interval of Clopper and Pearson; of arrays, one for each pair of counts (they broadcast).

    confidence: that the interval holds the true proportion; one-sided intervals spend all of the error at
    one end. Raises StatisticsError `counts-invalid`, `confidence-invalid`, `side-invalid`.
    """
    k, n = _counted(successes, trials)
    error = _error(confidence)
    if side not in ("two-sided", "lower", "upper"):
        raise StatisticsError(
            "side-invalid", f"no side is called {side!r}", 'one of "two-sided", "lower", "upper"'
        )
    each = error / 2 if side == "two-sided" else error
    # betaincinv wants positive parameters: the ends at 0 and 1 are computed with 1 in their place.
    low = np.where(k == 0, 0.0, betaincinv(np.maximum(k, 1), n - k + 1, each))
    high = np.where(k == n, 1.0, betaincinv(k + 1, np.maximum(n - k, 1), 1 - each))
    if side == "lower":
        high = np.ones_like(low)
    elif side == "upper":
        low = np.zeros_like(high)
    return _interval(low, high)


@overload
def wilson(
    successes: int | np.integer[Any], trials: int | np.integer[Any], confidence: float = 0.95
) -> Interval[float]: ...
@overload
def wilson(successes: Counts, trials: int | Counts, confidence: float = 0.95) -> Interval[Floats]: ...
def wilson(
    successes: int | np.integer[Any] | Counts,
    trials: int | np.integer[Any] | Counts,
    confidence: float = 0.95,
) -> Interval[float] | Interval[Floats]:
    """Wilson's score interval, without continuity correction. Two-sided; errors as in clopper_pearson."""
    k, n = _counted(successes, trials)
    z = float(ndtri(1 - _error(confidence) / 2))
    share = k / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    # At k = 0 and k = n the ends are 0 and 1, but for rounding.
    low = np.where(k == 0, 0.0, np.maximum(middle - half, 0.0))
    high = np.where(k == n, 1.0, np.minimum(middle + half, 1.0))
    return _interval(low, high)


def _counted(successes: npt.ArrayLike, trials: npt.ArrayLike) -> tuple[Floats, Floats]:
    k, n = np.asarray(successes), np.asarray(trials)
    whole = all(counts.dtype.kind in "iu" for counts in (k, n))
    if not whole or bool(np.any(n < 1)) or bool(np.any(k < 0)) or bool(np.any(k > n)):
        raise StatisticsError(
            "counts-invalid",
            f"{_shown(k)} successes of {_shown(n)} trials",
            "integers: 1 trial or more, and from 0 to as many successes",
        )
    return k.astype(np.float64), n.astype(np.float64)


def _shown(counts: npt.NDArray[Any]) -> str:
    if counts.ndim == 0:
        return str(counts[()])
    if counts.size == 0:
        return "no"
    return f"{counts.min()} to {counts.max()} ({counts.dtype})"


def _error(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise StatisticsError(
            "confidence-invalid", f"a confidence of {confidence}", "between 0 and 1; 0.95, say"
        )
    return 1 - confidence


def _interval(low: Floats, high: Floats) -> Interval[float] | Interval[Floats]:
    low, high = np.broadcast_arrays(low, high)
    if low.ndim == 0:
        return Interval(float(low), float(high))
    return Interval(np.array(low), np.array(high))
