"""The trade-off function of the Gaussian mechanism, and the epsilon it means.

Dong, Roth, Su 2022, Gaussian Differential Privacy. mu is the sensitivity over the noise's standard deviation,
1 / noise multiplier: no test of whether a record was in has rates of error with
Phi^-1(1 - FPR) - Phi^-1(FNR) above it (section 2.2).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr, ndtri

__all__ = ["delta_of", "epsilon_of", "least_false_positives", "separation"]

Floats = npt.NDArray[np.float64]


def delta_of(mu: float, epsilon: float) -> float:
    """The least delta with which mu-Gaussian DP is (epsilon, delta)-DP (corollary 2.13); mu above 0."""
    shift = epsilon / mu
    return float(ndtr(mu / 2 - shift) - math.exp(epsilon + float(log_ndtr(-mu / 2 - shift))))


def epsilon_of(mu: float, delta: float) -> float:
    """The least epsilon with which mu-Gaussian DP is (epsilon, delta)-DP, delta above 0; 0 where mu <= 0."""
    if mu <= 0 or delta_of(mu, 0.0) <= delta:
        return 0.0
    # Where the first term alone has come down to delta.
    highest = mu * (mu / 2 - float(ndtri(delta)))
    return float(brentq(lambda epsilon: delta_of(mu, epsilon) - delta, 0.0, highest, xtol=1e-10))


def least_false_positives(true_positives: Floats, mu: Floats) -> Floats:
    """The least probability, when a record is out, of what has probability `true_positives` when it is in."""
    return np.asarray(ndtr(ndtri(true_positives) - mu), dtype=np.float64)


def separation(false_positives: Floats, false_negatives: Floats) -> Floats:
    """The mu that a test with these rates of error takes at least."""
    return np.asarray(-ndtri(false_positives) - ndtri(false_negatives), dtype=np.float64)
