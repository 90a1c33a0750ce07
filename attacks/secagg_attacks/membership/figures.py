"""What an attack's scores come to, as figures, and which figures they are too few for.

An average says little of privacy: an attack that is sure of one member in a hundred has done harm. The
headline is therefore the share of members found at a low rate of false alarms (Carlini et al. 2022, section
III). Scores of several targets are pooled: one threshold for all of them, as one attacker would set it.

Intervals of rates are Clopper-Pearson's, given the threshold; they leave out that the threshold was chosen
on the same scores, and that an example's scores under several targets are alike. The AUC's interval is a
bootstrap that draws examples, or targets, again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from secagg_attacks.membership.errors import MembershipError
from secagg_attacks.statistics.bootstrap import auc_interval
from secagg_attacks.statistics.intervals import Interval, clopper_pearson
from secagg_attacks.statistics.roc import Roc, roc

__all__ = ["LEVELS", "PRIORS", "Figures", "Rate", "figures", "precision", "tpr_at_fpr"]

LEVELS: Final = (0.1, 0.01, 0.001)
"""False-positive rates that figures are given at."""

PRIORS: Final = (0.01, 0.1, 0.5)
"""Shares of members among those an attacker may ask about."""


@dataclass(frozen=True)
class Rate:
    """The share `tpr` of members found where at most the share `fpr` of non-members is taken for members.

    interval: Clopper-Pearson's of tpr. precisions: the share of members among those called so, one for each
    of PRIORS, if the false-positive rate is `fpr` in full.
    """

    fpr: float
    tpr: float
    interval: Interval[float]
    precisions: tuple[float, ...]


@dataclass(frozen=True)
class Figures:
    """Everything a table says of an attack; rates and shares from 0 to 1.

    auc_interval: a bootstrap of `unit`s. chance_p_value: of an AUC this far from one half, if the attack knew
    nothing; it takes scores for independent, and where targets share non-members, `chance.chance_p_value` is
    the test. balanced_accuracy: at the best threshold, with hindsight. rates: one for each level that the
    scores are enough for; refused: the others, each with why.
    """

    auc: float
    auc_interval: Interval[float]
    unit: Literal["example", "target"]
    chance_p_value: float
    balanced_accuracy: float
    rates: tuple[Rate, ...]
    refused: tuple[tuple[float, MembershipError], ...]
    members: int
    nonmembers: int


def figures(
    scores: npt.ArrayLike,
    is_member: npt.ArrayLike,
    seed: int,
    levels: Sequence[float] = LEVELS,
    finest_fpr: float = 0.0,
    unit: Literal["example", "target"] = "example",
    confidence: float = 0.95,
    examples: npt.ArrayLike | None = None,
) -> Figures:
    """The figures of scores (targets, examples), pooled; the same column is the same example, unless
    `examples`, integers of the same shape, says which example each score is of.

    finest_fpr: the lowest false-positive rate that the score itself can tell, where it has one (RMIA's).
    unit: what the AUC's bootstrap draws; a single target's is always examples. seed: of the bootstrap.
    Raises StatisticsError `scores-invalid`, MembershipError `scores-shape`, `fpr-invalid`.
    """
    score, member = np.atleast_2d(np.asarray(scores, dtype=np.float64)), np.atleast_2d(is_member)
    if score.ndim != 2:
        raise MembershipError(
            "scores-shape",
            f"scores of shape {score.shape}",
            "(targets, examples), or (examples,) of one target",
        )
    curve = roc(score, member)
    if len(score) == 1:
        unit = "example"
    rows, columns = np.indices(score.shape)
    drawn = columns if examples is None else np.atleast_2d(examples)
    rates: list[Rate] = []
    refused: list[tuple[float, MembershipError]] = []
    for level in levels:
        try:
            rates.append(tpr_at_fpr(curve, level, finest_fpr, confidence))
        except MembershipError as why:
            if why.code == "fpr-invalid":
                raise
            refused.append((level, why))
    return Figures(
        auc=curve.auc,
        auc_interval=auc_interval(
            score, member, seed, drawn if unit == "example" else rows, confidence=confidence
        ),
        unit=unit,
        chance_p_value=curve.chance_p_value,
        balanced_accuracy=curve.balanced_accuracy,
        rates=tuple(rates),
        refused=tuple(refused),
        members=curve.members,
        nonmembers=curve.nonmembers,
    )


def tpr_at_fpr(of: Roc, fpr: float, finest_fpr: float = 0.0, confidence: float = 0.95) -> Rate:
    """The share of members found at a false-positive rate of at most `fpr`; nothing is interpolated.

    Raises MembershipError `fpr-invalid`, `too-few-nonmembers` (fewer than 1 / fpr: not one of them may be
    taken for a member, and the figure is an accident of the highest score), `population-too-coarse` (fpr is
    below `finest_fpr`).
    """
    if not 0 < fpr < 1:
        raise MembershipError("fpr-invalid", f"a false-positive rate of {fpr}", "between 0 and 1; 0.001, say")
    needed = math.ceil(round(1 / fpr, 6))
    if of.nonmembers < needed:
        raise MembershipError(
            "too-few-nonmembers",
            f"a false-positive rate of {fpr:g} needs {needed} non-members and there are {of.nonmembers}",
            "pool the scores of more targets, bring more non-members, or ask for a higher rate",
        )
    if fpr < finest_fpr:
        raise MembershipError(
            "population-too-coarse",
            f"these scores tell false-positive rates of {finest_fpr:g} and above, and {fpr:g} is below",
            "a population of 10 / fpr examples, or a higher rate",
        )
    found = int(of.true_positives[of.at_fpr(fpr)])
    tpr = found / of.members
    return Rate(
        fpr,
        tpr,
        clopper_pearson(found, of.members, confidence),
        tuple(precision(tpr, fpr, prior) for prior in PRIORS),
    )


def precision(tpr: float, fpr: float, prior: float) -> float:
    """The share of members among those called members, where `prior` of all examples are (Bayes' rule).

    Raises MembershipError `prior-invalid`.
    """
    if not 0 < prior < 1:
        raise MembershipError("prior-invalid", f"a prior of {prior}", "between 0 and 1; 0.1, say")
    called = prior * tpr + (1 - prior) * fpr
    return prior * tpr / called if called else 0.0
