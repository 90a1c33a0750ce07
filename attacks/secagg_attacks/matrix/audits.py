"""Audits as cells: canaries in a real run, and the lower bound on epsilon that their scores show.

There is one for each unit of privacy: canary clients, in a run of the table's own model beside honest clients
who train it, for the noise that hides whole clients; and canary examples, in a model made for them, for
DP-SGD within each client. Where a defence has both kinds of noise, each is audited without the other. Either
is made on the unprotected run as well, where it must find every canary. What has no noise of a unit has no
epsilon of it to hold a bound against, and its sum is that of the row without protection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from glob import escape
from typing import Final

import numpy as np

from secagg.weights import Layout
from secagg_attacks.audit import AUDITORS, AuditError, one_run_bound
from secagg_attacks.audit.canaries import canary_run
from secagg_attacks.audit.canary_run import CanaryRun, played
from secagg_attacks.audit.example_canaries import ExampleCanaries
from secagg_attacks.audit.extent import left_out
from secagg_attacks.defences import NONE, Terms
from secagg_attacks.federation import Federation
from secagg_attacks.matrix.case import Case, Played
from secagg_attacks.matrix.column import Column
from secagg_attacks.matrix.errors import note_of
from secagg_attacks.results import ACCOUNTED, SURE_BOUND, Measurement, Row
from secagg_attacks.statistics.roc import roc
from secagg_attacks.views import ThreatModel

__all__ = ["ALARM", "COLUMNS", "audit_clients", "audit_examples", "bound_of", "measured"]

ALARM: Final = 0.999
"""Confidence of the bound that a failure is declared by: of 95 %, one audit in twenty may report too much."""
_DELTA: Final = 1e-5
_HONEST: Final = 4
"""Clients who train beside the canaries, where there are examples enough."""
_OWNERS: Final = 2
"""Clients of canary examples: through a sum, each one's noise hides the other's."""
_EXAMPLES: Final = 25
"""Canary examples for each canary client: they cost a row of a matrix, and no client."""
_ROUNDS, _STEPS = 2, 10
_CLIENTS_COLUMN: Final = "audit"
_EXAMPLES_COLUMN: Final = "audit-examples"


def audit_clients(case: Case) -> Played:
    """Canary clients in a run of the world's own model, for the noise on whole clients."""
    defence = case.defence
    if defence.client_epsilon is None and defence != NONE:
        if defence.example_epsilon is not None:
            return case.not_applicable("the noise hides examples, and canaries here are whole clients")
        return case.not_applicable("no noise, so no epsilon: the sum is that of the row without protection")
    target = case.world.target
    members = len(target.members[0])
    clients = min(_HONEST, members)
    federation = Federation(
        target, clients, per_client=min(case.scale.per_client, members // clients), seed=case.seed
    )
    weights, buffers = federation.initial, federation.terms().local
    local = (*buffers, *map(escape, left_out(weights, buffers, clients + case.scale.canaries)))
    whole, sent = Layout.of(weights, buffers).size, Layout.of(weights, local).size
    # In more directions than there are coordinates, canaries would hide one another.
    count = min(case.scale.canaries, sent)
    run = canary_run(
        replace(defence, example_epsilon=None),
        Terms(0, delta=_DELTA, local=local, seed=case.seed),
        weights,
        federation.trains(),
        canaries=count,
        seed=case.seed,
    )
    notes = [f"{count} canary clients beside {clients} honest ones, in {sent} of {whole} coordinates"]
    if defence.example_epsilon is not None:
        notes.append("without the noise on examples: a canary client does not train")
    return measured(case, run, ThreatModel(labels="known", buffers=target.buffers), notes)


def audit_examples(case: Case) -> Played:
    """Canary examples in DP-SGD, for the noise on examples. Their model is not the target's."""
    defence = case.defence
    if defence.example_epsilon is None and defence != NONE:
        if defence.client_epsilon is not None:
            return case.not_applicable("the noise hides whole clients, and canaries here are examples")
        return case.not_applicable("no noise, so no epsilon: the sum is that of the row without protection")
    plan = replace(defence, client_epsilon=None).plan(
        Terms(_OWNERS, rounds=_ROUNDS, local_steps=_ROUNDS * _STEPS, delta=_DELTA, seed=case.seed)
    )
    planted = ExampleCanaries.of(plan, _EXAMPLES * case.scale.canaries, _STEPS, case.seed)
    run = played(plan, planted, planted.clients(plan), case.seed)
    notes = [f"canary examples of {_OWNERS} clients, in a linear model of their own"]
    if defence.client_epsilon is not None:
        notes.append("without the noise on whole clients, which would hide them beside")
    return measured(case, run, ThreatModel(labels="known"), notes)


def measured(case: Case, run: CanaryRun, threat: ThreatModel, notes: Sequence[str]) -> Played:
    """The one-run bound, at 95 % confidence, beside what the run's own ledger says."""
    count = len(run.scores)
    bound = run.bound(one_run_bound, delta=_DELTA)
    curve = roc(run.scores, run.included)
    accounted = None if run.account is None else run.account.server
    said = [*notes, f"at delta = {_DELTA:g}, 95 % confidence"]
    more = {"AUC": curve.auc}
    for name, auditor in AUDITORS.items():
        try:
            more[f"epsilon at least, {name}"] = run.bound(auditor, delta=_DELTA).epsilon
        except AuditError as refused:
            said.append(f"no bound by {name}: {note_of(refused)}")
    if accounted is not None:
        more[ACCOUNTED] = accounted
        sure = one_run_bound(run.scores, run.included, _DELTA, confidence=ALARM).epsilon
        more[SURE_BOUND] = sure
        if sure > accounted:
            said.append("FAILURE: the lower bound beats the accounted epsilon")
        elif bound.epsilon > accounted:
            said.append("above the account at 95 % but not at 99.9 %: repeat it with other seeds")
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
        n=count,
        chance=0.0,
        ceiling=ceiling,
        p_value=curve.chance_p_value,
        must_reach=0.9 * ceiling,
        leaks_at=0.9 * ceiling,
        view=run.digest,
        threat=threat,
        notes=tuple(said),
        more=more,
    )
    return measurement, {"scores": run.scores, "is_member": run.included}


def bound_of(row: Row, measurements: Sequence[Measurement]) -> float | None:
    """The lower bound of a row: by the audit of the unit that its epsilon is of; None where none was made."""
    column = _EXAMPLES_COLUMN if row.unit == "example" else _CLIENTS_COLUMN
    found = [each.value for each in measurements if (each.attack, each.defence) == (column, row.defence)]
    return found[0] if found else None


_SAYS: Final = (
    "epsilon is at least this much, at 95 % confidence for this row alone: the verdict is of the test that "
    "is corrected for the table"
)

COLUMNS: Final = (
    Column(_CLIENTS_COLUMN, "Audit, canary clients", "audit", "run", "audit", audit_clients, 2.0, False, True,
           "Andrew et al. 2023; Steinke et al. 2023", _SAYS),
    Column(_EXAMPLES_COLUMN, "Audit, canary examples", "audit", "run", "audit-examples", audit_examples, 1.0,
           False, True, "Nasr et al. 2023; Steinke et al. 2023", _SAYS),
)  # fmt: skip
