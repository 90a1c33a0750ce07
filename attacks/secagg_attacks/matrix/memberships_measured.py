"""From scores to a cell: the AUC of every upload's, or sum's, own members beside all non-members."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from secagg_attacks.matrix.case import Case, Played
from secagg_attacks.matrix.memberships_asked import Asked, From
from secagg_attacks.membership.chance import chance_p_value
from secagg_attacks.membership.confidence import Floats
from secagg_attacks.membership.figures import PRIORS, Figures, figures
from secagg_attacks.results import CLIENTS, Measurement
from secagg_attacks.views import ThreatModel, View

__all__ = ["WINS_AT", "measured"]

WINS_AT: Final = 0.9
"""AUC: a view on which an attack reaches it gives membership away."""
CLEAR_BELOW: Final = 0.75
"""What an interval must end below before a cell is called at chance."""
_RARE: Final = 0.01
_FEWEST_RARE: Final = 5
"""Scores that the highest hundredth must have, before it is asked who they are of."""


def measured(
    case: Case,
    asked: Asked,
    source: From,
    scores: Floats,
    view: View,
    *,
    finest_fpr: float = 0.0,
    notes: tuple[str, ...] = (),
    more: dict[str, float] | None = None,
) -> Played:
    """The cell of scores (uploads or sums, examples), higher for members, of every example of `asked`.

    view: the first cohort's. finest_fpr: as `figures` has it. more: further figures.
    """
    owner = asked.owners(source)
    rows = np.arange(len(scores))
    columns = np.stack([np.flatnonzero((owner == row) | (owner < 0)) for row in rows])
    whole = np.take_along_axis(scores, columns, axis=1)
    is_member: npt.NDArray[np.bool_] = owner[columns] >= 0
    found = figures(whole, is_member, case.seed, finest_fpr=finest_fpr, examples=columns)
    measurement = Measurement(
        attack=case.attack,
        defence=case.defence.name,
        status="measured",
        seed=case.seed,
        figure="AUC",
        value=found.auc,
        low=found.auc_interval.low,
        high=found.auc_interval.high,
        n=found.members,
        chance=0.5,
        ceiling=1.0,
        p_value=_p_value(scores, owner),
        must_reach=WINS_AT,
        leaks_at=WINS_AT,
        view=view.digest,
        threat=_told(view.threat),
        notes=(*asked.notes, *notes, *(f"{why.message} [{why.code}]" for _, why in found.refused)),
        more={CLIENTS: float(asked.clients), **_rates(found), **(more or {})},
        also=_of_the_highest(scores, owner),
        clear_below=CLEAR_BELOW,
    )
    return measurement, {"scores": whole, "is_member": is_member}


def _p_value(scores: Floats, owner: npt.NDArray[np.int64]) -> float:
    """The larger of two: members beside non-members, and, of several models, beside members of the others.

    The second holds whatever the model that the clients were given knows of members, and if they are of
    another kind than the non-members.
    """
    beside_others = chance_p_value(scores, owner)
    members = owner >= 0
    if len(scores) < 2:
        return beside_others
    return max(beside_others, chance_p_value(scores[:, members], owner[members]))


def _of_the_highest(scores: Floats, owner: npt.NDArray[np.int64]) -> tuple[float, ...]:
    """Whether members are among the highest hundredth more than chance has it: twice the p-value of that, for
    it is a second reading. An average over all may not show a few."""
    high = scores > np.quantile(scores, 1 - _RARE)
    if int(high.sum()) < _FEWEST_RARE:
        return ()
    return (min(1.0, 2 * _p_value(high.astype(np.float64), owner)),)


def _rates(found: Figures) -> dict[str, float]:
    more = {"balanced accuracy": found.balanced_accuracy}
    for rate in found.rates:
        more[f"TPR at {100 * rate.fpr:g} % FPR"] = rate.tpr
        more[f"TPR at {100 * rate.fpr:g} % FPR, low"] = rate.interval.low
        more[f"TPR at {100 * rate.fpr:g} % FPR, high"] = rate.interval.high
        for prior, share in zip(PRIORS, rate.precisions, strict=True):
            more[f"precision at {100 * rate.fpr:g} % FPR, prior {100 * prior:g} %"] = share
    return more


def _told(threat: ThreatModel) -> ThreatModel:
    """Membership is asked of labelled examples."""
    return ThreatModel(threat.holder, threat.adversary, "known", threat.buffers, threat.local_steps)
