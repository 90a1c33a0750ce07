"""Canaries whose truth is known: scores, and which were included."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

Canaries = tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]


def normal(shift: float, count: int, seed: int) -> Canaries:
    """Members `shift` standard deviations above the others."""
    rng = np.random.default_rng(seed)
    included = rng.random(count) < 0.5
    return rng.standard_normal(count) + shift * included, included


def randomised_response(epsilon: float, count: int, seed: int) -> Canaries:
    """Each coin is told, truly with probability e^epsilon / (1 + e^epsilon): epsilon-DP, exactly."""
    rng = np.random.default_rng(seed)
    included = rng.random(count) < 0.5
    true = rng.random(count) < 1 / (1 + np.exp(-epsilon))
    return np.where(included == true, 1.0, -1.0), included


def betrayed(rate: float, count: int, seed: int) -> Canaries:
    """Each coin is told with probability `rate`, otherwise nothing: (0, rate)-DP, exactly."""
    rng = np.random.default_rng(seed)
    included = rng.random(count) < 0.5
    told = rng.random(count) < rate
    return np.where(told, np.where(included, 1.0, -1.0), 0.0), included


@st.composite
def any_canaries(draw: st.DrawFn) -> Canaries:
    """Whole scores, with many ties, around half of the canaries included."""
    count = draw(st.integers(40, 120))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    included = rng.permutation(count) < count // 2 + draw(st.integers(-5, 5))
    spread = draw(st.integers(1, 60))
    shift = draw(st.integers(-40, 40))
    scores = rng.integers(-spread, spread, count, endpoint=True) + shift * included
    return scores.astype(np.float64), included
