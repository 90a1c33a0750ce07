"""What an audit reports: a lower bound on epsilon, with what it rests on; and what it refuses to start from.

An audit plants canaries: records, each in the training data or not, whose membership an attack then scores.
If whoever attacks tells the two kinds apart better than (epsilon, delta)-DP allows, epsilon is larger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from secagg.errors import SecaggError

__all__ = ["ENOUGH", "LEAST", "Assumption", "AuditError", "Bound", "Scores", "check_levels", "checked"]

Assumption: TypeAlias = Literal["fair-coins", "independence", "gaussian", "gaussian-scores"]
"""What a bound needs to be one, the weakest first.

fair-coins: every canary was included by its own fair coin; nothing is assumed of the scores.
independence: scores are independent, and of one law for members and one for the others.
gaussian: the mechanism's trade-off function is that of a Gaussian mechanism, on top of what the method needs.
gaussian-scores: that the scores themselves are normal, of one variance, as well.
"""

Floats: TypeAlias = npt.NDArray[np.float64]
Booleans: TypeAlias = npt.NDArray[np.bool_]

LEAST: Final = 10
"""Canaries of a side, below which nothing is bounded."""
ENOUGH: Final = 40
"""Canaries of which fair coins leave too few on a side but once in 1 470 draws; of 30, once in 23."""


class AuditError(SecaggError):
    """Scores or settings from which no bound follows."""

    exit_code = 2


@dataclass(frozen=True)
class Bound:
    """With probability `confidence` over the audit, the mechanism is not (e, delta)-DP for any e < epsilon.

    epsilon: never negative; 0 says that nothing was shown. trials: canaries, members and others together.
    """

    method: str
    epsilon: float
    delta: float
    confidence: float
    trials: int
    assumes: Assumption


@dataclass(frozen=True, eq=False)
class Scores:
    """Checked: values, float64 of shape (canaries,), higher for members; included, which of them were."""

    values: Floats
    included: Booleans

    @property
    def members(self) -> Floats:
        """Scores of the canaries that were included."""
        return self.values[self.included]

    @property
    def others(self) -> Floats:
        """Scores of the canaries that were not."""
        return self.values[~self.included]


def check_levels(delta: float, confidence: float, *, pure: bool) -> None:
    """pure: whether delta = 0 can be asked for.

    Raises AuditError `audit-delta`, `audit-confidence`.
    """
    if not (0 < delta < 1 or (pure and delta == 0)):
        raise AuditError(
            "audit-delta",
            f"delta must be {'at least' if pure else 'above'} 0 and below 1, not {delta}",
            "the delta at which the epsilon to compare with was accounted",
        )
    if not 0.5 <= confidence < 1:
        raise AuditError(
            "audit-confidence",
            f"confidence must be at least 0.5 and below 1, not {confidence}",
            "0.95, so that one audit in twenty may report too much",
        )


def checked(scores: npt.ArrayLike, included: npt.ArrayLike) -> Scores:
    """The scores of canaries and whether each was included, both of shape (canaries,).

    Raises AuditError `audit-scores`, `audit-included`, `audit-shapes`, `audit-too-few`.
    """
    values, members = np.asarray(scores), np.asarray(included)
    if values.ndim != 1 or values.dtype.kind not in "fiu":
        raise AuditError(
            "audit-scores",
            f"scores must be numbers of shape (canaries,), not {values.dtype} of shape {values.shape}",
            "one number for each canary, higher for members",
        )
    if not np.isfinite(values).all():
        raise AuditError(
            "audit-scores",
            f"scores must be finite, and {np.count_nonzero(~np.isfinite(values))} of {len(values)} are not",
            "look for a loss that overflowed",
        )
    if members.dtype != np.bool_:
        raise AuditError(
            "audit-included",
            f"included must be of type bool, not {members.dtype}",
            "True for the canaries that were in the training data; labels == 1, say",
        )
    if members.shape != values.shape:
        raise AuditError(
            "audit-shapes",
            f"scores are of shape {values.shape} and included is of shape {members.shape}",
            "one of each for every canary, in the same order",
        )
    inside = int(members.sum())
    if min(inside, members.size - inside) < LEAST:
        raise AuditError(
            "audit-too-few",
            f"{inside} canaries were included and {members.size - inside} were not",
            f"at least {LEAST} of each, as fair coins leave of {ENOUGH}; hundreds for a bound worth reading",
        )
    return Scores(values.astype(np.float64), members)
