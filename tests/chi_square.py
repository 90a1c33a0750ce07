"""Pearson's test of uniformity with a bound that needs no table.

A chi-square variable with k degrees of freedom leaves [k - 2 sqrt(k x), k + 2 sqrt(k x) + 2 x] with
probability at most 2 exp(-x) (Laurent and Massart 2000, lemma 1).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

EXPONENT = 25.0
"""x: by chance, uniform values fail once in 3 * 10^10 tests."""


def looks_uniform(values: npt.ArrayLike, cells: int) -> bool:
    """Whether the integers `values`, each below `cells`, look drawn uniformly; 20 a cell or more."""
    flat = np.asarray(values).reshape(-1).astype(np.int64)
    counts = np.bincount(flat, minlength=cells)
    expected = len(flat) / cells
    if expected < 20 or len(counts) != cells:
        raise ValueError(f"{len(flat)} values for {cells} cells, or a value beyond them")
    statistic = float(((counts - expected) ** 2 / expected).sum())
    freedom = cells - 1
    spread = 2 * math.sqrt(freedom * EXPONENT)
    return freedom - spread <= statistic <= freedom + spread + 2 * EXPONENT
