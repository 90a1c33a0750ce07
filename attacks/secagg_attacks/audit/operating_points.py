"""Upper bounds on the error rates of a few thresholds, all of which hold at once.

A threshold must not be the one that came out best: on scores that carry nothing, the best ratio of rates
always reports epsilon > 0, and the best of 95 % bounds does in one run of four. Here thresholds are order
statistics of one side whose ranks depend on the numbers of canaries alone, and Bonferroni's correction is
over those few. That is exact. The rate at which the others exceed their own k-th highest score is distributed
as Beta(k, n - k + 1), or below it with ties, whose quantile is the Clopper-Pearson bound of k - 1 in n; and
given that score, which the members had no part in, the members below it are binomial. To choose a threshold
on one half of the sample and judge it on the other is valid too, and costs more: at 5 000 canaries of the
Gaussian mechanism it shows a median epsilon of .05 where ranks show .20 (true epsilon 1), 1.26 where they
show 1.53 (4), and 2.73 where they show 3.02 (8).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from secagg_attacks.audit.bound import Floats, Scores
from secagg_attacks.statistics.intervals import clopper_pearson

__all__ = ["OperatingPoints", "by_ranks", "geometric_ranks"]

Ranks = npt.NDArray[np.int64]

_FIRST: Final = 3
_RATIO: Final = 5


@dataclass(frozen=True, eq=False)
class OperatingPoints:
    """Upper bounds on both rates of error, each of shape (thresholds,)."""

    false_positives: Floats
    false_negatives: Floats


def geometric_ranks(count: int) -> Ranks:
    """3, 15, 75, ... up to half of `count`: low error rates are where epsilon shows."""
    most = max(0.0, np.log(count / 2 / _FIRST) / np.log(_RATIO))
    return _FIRST * _RATIO ** np.arange(int(most) + 1, dtype=np.int64)


def by_ranks(scores: Scores, other_ranks: Ranks, member_ranks: Ranks, confidence: float) -> OperatingPoints:
    """Bounds that hold together with probability `confidence`.

    other_ranks: thresholds at the k-th highest score of the others. member_ranks: at the k-th lowest of the
    members. Both from 1 to the number there is, and chosen without a look at the scores.
    """
    members, others = np.sort(scores.members), np.sort(scores.others)
    each = 1 - (1 - confidence) / (2 * (len(other_ranks) + len(member_ranks)))
    high = others[len(others) - other_ranks]
    low = members[member_ranks - 1]
    return OperatingPoints(
        false_positives=np.concatenate(
            [
                _upper(other_ranks - 1, len(others), each),
                _upper(len(others) - np.searchsorted(others, low, side="left"), len(others), each),
            ]
        ),
        false_negatives=np.concatenate(
            [
                _upper(np.searchsorted(members, high, side="right"), len(members), each),
                _upper(member_ranks - 1, len(members), each),
            ]
        ),
    )


def _upper(errors: Ranks, trials: int, confidence: float) -> Floats:
    return clopper_pearson(errors, trials, confidence, "upper").high
