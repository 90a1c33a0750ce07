"""Many tests at once: Holm's step-down correction (Holm 1979, Scandinavian Journal of Statistics 6, 65-70).

With probability 1 - alpha no true null hypothesis is rejected, however the tests depend on each other.
It rejects all that Bonferroni's correction does, and more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from secagg_attacks.statistics.errors import StatisticsError

__all__ = ["ALPHA", "Holm", "holm"]

ALPHA: Final = 1e-3
"""The chance, over all tests of a table, that any true null hypothesis is rejected."""


@dataclass(frozen=True, eq=False)
class Holm:
    """adjusted: p-values, to be held against alpha as if each were the only one. rejected: adjusted <= alpha.

    Both in the order and shape of the p-values: float64 and bool.
    """

    adjusted: npt.NDArray[np.float64]
    rejected: npt.NDArray[np.bool_]
    alpha: float


def holm(p_values: npt.ArrayLike, alpha: float = ALPHA) -> Holm:
    """Corrects p-values of any shape together.

    Raises StatisticsError `p-values-invalid` (outside of 0 to 1, or NaN), `alpha-invalid`.
    """
    given = np.asarray(p_values, dtype=np.float64)
    if not 0 < alpha < 1:
        raise StatisticsError("alpha-invalid", f"an alpha of {alpha}", "between 0 and 1; 0.001, say")
    if not bool(np.all((given >= 0) & (given <= 1))):
        raise StatisticsError(
            "p-values-invalid",
            f"{int((~((given >= 0) & (given <= 1))).sum())} of {given.size} p-values are not from 0 to 1",
            "NaN among them is a test that could not be made",
        )
    flat = given.reshape(-1)
    order = np.argsort(flat, kind="stable")
    steps = np.minimum(flat[order] * np.arange(len(flat), 0, -1), 1.0)
    adjusted = np.empty(given.shape)
    adjusted.reshape(-1)[order] = np.maximum.accumulate(steps)
    return Holm(adjusted, adjusted <= alpha, alpha)
