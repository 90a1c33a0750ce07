"""Is a ring vector uniform on the ring? Pearson's chi-squared test over equal bins.

The tail probability is the cube-root normal approximation of Wilson and Hilferty 1931 (PNAS 17(12)), off by
less than 0.001 everywhere at 63 degrees of freedom, and it needs no SciPy. A large p value proves nothing; a
tiny one disproves. This is an illustration of what a mask does, not a test of the generator behind it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Uniformity", "counts", "tail_probability", "uniformity"]

_DOUBT = 1e-4  # an honest mask falls below once in ten thousand demos


@dataclass(frozen=True)
class Uniformity:
    """Pearson's statistic, its degrees of freedom, and the chance that a uniform vector exceeds it."""

    statistic: float
    degrees: int
    p_value: float

    @property
    def plausible(self) -> bool:
        return self.p_value >= _DOUBT

    def __str__(self) -> str:
        p_value = f"p = {self.p_value:.2g}" if self.p_value > 1e-99 else "p < 1e-99"
        return f"χ² = {self.statistic:.0f} on {self.degrees} degrees of freedom, {p_value}"


def counts(
    vector: npt.NDArray[np.unsignedinteger[Any]], bits: int, bins_log2: int = 6
) -> npt.NDArray[np.int64]:
    """How many coordinates fall into each of 2^bins_log2 equal parts of the ring, from -2^(bits-1) upwards.

    Exactly equal: a part is all values that share their top bits.
    """
    top = (vector >> vector.dtype.type(bits - bins_log2)).astype(np.int64)
    found = np.bincount(top & ((1 << bins_log2) - 1), minlength=1 << bins_log2)
    return np.roll(found, 1 << (bins_log2 - 1))


def uniformity(vector: npt.NDArray[np.unsignedinteger[Any]], bits: int, bins_log2: int = 6) -> Uniformity:
    """Tests a vector over Z mod 2^bits, of several hundred coordinates or more."""
    found = counts(vector, bits, bins_log2)
    expected = len(vector) / len(found)
    statistic = float(np.square(found - expected).sum() / expected)
    degrees = len(found) - 1
    return Uniformity(statistic, degrees, tail_probability(statistic, degrees))


def tail_probability(statistic: float, degrees: int) -> float:
    """The chance that a chi-squared variable exceeds `statistic`."""
    spread = 2 / (9 * degrees)
    deviate = ((statistic / degrees) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)
    return math.erfc(deviate / math.sqrt(2)) / 2
