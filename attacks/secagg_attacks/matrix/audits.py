"""The audit as a cell: canary clients in the real run, and the lower bound on epsilon that their scores show.

It is made where noise hides whole clients, and on the unprotected run, where it must find every canary. A sum
without noise has no epsilon to hold a bound against, and is the same whatever protected it on the way.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from secagg_attacks.audit import AUDITORS, one_run_bound
from secagg_attacks.audit.canaries import canary_run
from secagg_attacks.defences import NONE, Terms
from secagg_attacks.matrix.case import Case, Played
from secagg_attacks.matrix.column import Column
from secagg_attacks.results import ACCOUNTED, SURE_BOUND, Measurement
from secagg_attacks.statistics.roc import roc
from secagg_attacks.views import ThreatModel

__all__ = ["ALARM", "COLUMNS", "audit"]

ALARM: Final = 0.999
"""Confidence of the bound that a failure is declared by: of 95 %, one audit in twenty may report too much."""
_PARAMETERS: Final = 2000
_DELTA: Final = 1e-5


def audit(case: Case) -> Played:
    """The one-run bound, at 95 % confidence, beside what the run's own ledger says."""
    if case.defence.example_epsilon is not None and case.defence.client_epsilon is None:
        return case.not_applicable("the noise hides examples, and canaries here are whole clients")
    if case.defence.client_epsilon is None and case.defence != NONE:
        return case.not_applicable("no noise, so no epsilon: the sum is that of the row without protection")
    count = case.scale.canaries
    run = canary_run(
        case.defence,
        Terms(count, delta=_DELTA, seed=case.seed),
        {"canaries": np.zeros(_PARAMETERS, dtype=np.float32)},
        {},
        canaries=count,
        seed=case.seed,
    )
    bound = run.bound(one_run_bound, delta=_DELTA)
    curve = roc(run.scores, run.included)
    accounted = None if run.account is None else run.account.server
    more = {
        f"epsilon at least, {name}": run.bound(auditor, delta=_DELTA).epsilon
        for name, auditor in AUDITORS.items()
    }
    more["AUC"] = curve.auc
    notes = [f"at delta = {_DELTA:g}, 95 % confidence"]
    if accounted is not None:
        more[ACCOUNTED] = accounted
        sure = one_run_bound(run.scores, run.included, _DELTA, confidence=ALARM).epsilon
        more[SURE_BOUND] = sure
        if sure > accounted:
            notes.append("FAILURE: the lower bound beats the accounted epsilon")
        elif bound.epsilon > accounted:
            notes.append("above the account at 95 % but not at 99.9 %: repeat it with other seeds")
    # The most that as many canaries can show, if every one of them is guessed right.
    ceiling = one_run_bound(np.where(run.included, 1.0, 0.0), run.included, _DELTA).epsilon
    measurement = Measurement(
        attack=case.attack,
        defence=case.defence.name,
        status="measured",
        seed=case.seed,
        figure="epsilon, at least",
        value=bound.epsilon,
        low=bound.epsilon,
        high=accounted,
        n=count,
        chance=0.0,
        ceiling=ceiling,
        p_value=curve.chance_p_value,
        must_reach=0.9 * ceiling,
        leaks_at=0.9 * ceiling,
        view=run.digest,
        threat=ThreatModel(labels="known"),
        notes=tuple(notes),
        more=more,
    )
    return measurement, {"scores": run.scores, "is_member": run.included}


COLUMNS: Final = (
    Column("audit", "Audit", "audit", "run", "audit", audit, 4.0, False, True,
           "Andrew et al. 2023; Steinke et al. 2023",
           "epsilon is at least this much, at 95 % confidence for this row alone: the verdict is of the "
           "test that is corrected for the table"),
)  # fmt: skip
