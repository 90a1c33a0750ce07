"""The ROC curve of a score: how many members it finds at each rate of false alarms.

A score is higher where it takes an example for a member. Equal scores are one threshold: they are called
members all together or not at all, so a constant score has the two points (0, 0) and (1, 1) and an AUC of
one half. On a logarithmic axis a curve shows what an attack is sure of; see Carlini et al. 2022 (Membership
inference attacks from first principles, section III). What is called refused in a table is in
membership/figures.py: this module computes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from secagg_attacks.statistics.errors import StatisticsError
from secagg_attacks.statistics.intervals import Floats, Interval, clopper_pearson

__all__ = ["Curve", "Roc", "checked_scores", "log_log_curve", "roc"]

Bools = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Roc:
    """Every threshold of a score, from the strictest (calls nobody a member) to the loosest (everybody).

    thresholds: float64 of shape (k,), falling, the first of them infinite; an example is called a member if
    its score is at least the threshold. true_positives, false_positives: int64 of shape (k,), counts.
    """

    thresholds: Floats
    true_positives: Integers
    false_positives: Integers

    @property
    def members(self) -> int:
        return int(self.true_positives[-1])

    @property
    def nonmembers(self) -> int:
        return int(self.false_positives[-1])

    @cached_property
    def tpr(self) -> Floats:
        """Share of the members found, at each threshold."""
        return self.true_positives / self.members

    @cached_property
    def fpr(self) -> Floats:
        """Share of the non-members taken for members, at each threshold."""
        return self.false_positives / self.nonmembers

    @cached_property
    def auc(self) -> float:
        """Area under the curve: how often a member scores above a non-member, a tie counting one half."""
        doubled = np.diff(self.false_positives) * (self.true_positives[1:] + self.true_positives[:-1])
        return int(doubled.sum()) / (2 * self.members * self.nonmembers)

    @cached_property
    def chance_p_value(self) -> float:
        """Two-sided p-value of "the score knows nothing": Mann and Whitney's test, normal, with ties.

        It takes the scores for independent of each other. A constant score has 1.
        """
        members, nonmembers = self.members, self.nonmembers
        every = members + nonmembers
        tied = np.diff(self.true_positives + self.false_positives).astype(np.float64)
        ties = float((tied**3 - tied).sum()) / (every * (every - 1))
        spread = np.sqrt((every + 1 - ties) / (12.0 * members * nonmembers))
        if spread == 0:
            return 1.0
        return float(2 * ndtr(-abs(self.auc - 0.5) / spread))

    @cached_property
    def balanced_accuracy(self) -> float:
        """Mean of TPR and 1 - FPR at the best threshold; chosen with hindsight, so never below one half."""
        return float((1 + (self.tpr - self.fpr).max()) / 2)

    def at_fpr(self, fpr: npt.ArrayLike) -> npt.NDArray[np.intp]:
        """Index of the loosest threshold whose false-positive rate is at most `fpr`; none is interpolated."""
        return np.searchsorted(self.fpr, np.asarray(fpr, dtype=np.float64), side="right") - 1


@dataclass(frozen=True, eq=False)
class Curve:
    """A ROC curve to be drawn on logarithmic axes: float64 of shape (points,) each, fpr rising.

    band: Clopper-Pearson's of tpr, point by point, given the threshold.
    """

    fpr: Floats
    tpr: Floats
    band: Interval[Floats]


def roc(scores: npt.ArrayLike, is_member: npt.ArrayLike) -> Roc:
    """The curve of scores and memberships of any one shape; n log n in their number.

    Raises StatisticsError `scores-invalid`.
    """
    flat, member = checked_scores(scores, is_member)
    order = np.argsort(-flat, kind="stable")
    falling = flat[order]
    last = np.append(np.flatnonzero(falling[1:] != falling[:-1]), len(falling) - 1)
    found = np.cumsum(member[order])[last]
    return Roc(
        thresholds=np.append(np.inf, falling[last]),
        true_positives=np.append(0, found),
        false_positives=np.append(0, last + 1 - found),
    )


def checked_scores(scores: npt.ArrayLike, is_member: npt.ArrayLike) -> tuple[Floats, Bools]:
    """Scores and memberships as flat float64 and bool arrays.

    Raises StatisticsError `scores-invalid`: other shapes, NaN, memberships that are no booleans, or not
    one member and one non-member among them.
    """
    score, member = np.asarray(scores, dtype=np.float64), np.asarray(is_member)
    if member.dtype != np.bool_ or score.shape != member.shape:
        raise StatisticsError(
            "scores-invalid",
            f"scores of shape {score.shape}, memberships of shape {member.shape} and type {member.dtype}",
            "one boolean for each score, true where it was trained on",
        )
    if bool(np.isnan(score).any()):
        raise StatisticsError(
            "scores-invalid",
            f"{int(np.isnan(score).sum())} of {score.size} scores are not numbers",
            "infinite ones are fine; NaN has no rank",
        )
    if not member.any() or member.all():
        raise StatisticsError(
            "scores-invalid",
            f"{int(member.sum())} members among {member.size} examples",
            "members and non-members, one of each at the least",
        )
    return score.reshape(-1), member.reshape(-1)


def log_log_curve(of: Roc, points: int = 200, confidence: float = 0.95) -> Curve:
    """The curve at false-positive rates spaced evenly in their logarithm, from one non-member to all.

    Raises StatisticsError `points-invalid` (fewer than 2), `confidence-invalid`.
    """
    if points < 2:
        raise StatisticsError("points-invalid", f"a curve of {points} points", "2 or more")
    fpr = np.geomspace(1 / of.nonmembers, 1.0, points)
    found = of.true_positives[of.at_fpr(fpr)]
    return Curve(fpr, found / of.members, clopper_pearson(found, of.members, confidence))
