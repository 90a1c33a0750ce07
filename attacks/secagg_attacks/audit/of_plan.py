"""The audit of a plan as somebody runs it, with canaries in place of its clients or of their examples.

What `canaries` and `example_canaries` measure of a defence, measured of a plan: its own noise, clipping,
encoding and sampling, for each unit that it has noise for. Where a plan has both, each is audited without the
other, beside which it would hardly show. Metrics are left out, and a long run is played in part (`extent`):
either way the noise of each round, and of each step, is what it is in the whole run.

Of client-level noise there are as many canaries as the plan has clients: with few there is little to show,
and with fewer than some twenty nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from glob import escape
from itertools import count
from typing import Any, Final

import secagg
from secagg.plan import ExamplePrivacy
from secagg.plan_settings import deltas_of, noise_multiplier_of, training_target
from secagg.weights import Layout, Weights
from secagg_attacks.audit.bound import AuditError
from secagg_attacks.audit.canaries import Canaries
from secagg_attacks.audit.canary_run import CanaryRun, played
from secagg_attacks.audit.example_canaries import ExampleCanaries
from secagg_attacks.audit.extent import left_out, rounds_within

__all__ = ["PlannedAudit", "planned_audits", "play_audit"]

_EXAMPLES: Final = 1000
_STEPS: Final = 4000
"""Of DP-SGD, by all clients in all rounds: some milliseconds each."""
_ROUNDS: Final = 4
"""Of DP-SGD: steps are what adds to what can be found, in however few rounds they are taken."""
_WHOLE: Final = 16
"""Rounds that are made room for before the arrays of a large model are: each adds to what can be found."""


@dataclass(frozen=True, eq=False)
class PlannedAudit:
    """plan: what is played. delta: at which the audited plan accounts for the unit of these canaries. about:
    what is played of it, in words."""

    plan: secagg.Plan
    planted: Canaries | ExampleCanaries
    delta: float
    about: str


def planned_audits(plan: secagg.Plan, weights: Weights, seed: int) -> tuple[PlannedAudit, ...]:
    """One for each unit that the plan has noise for. weights: a model of the run's shape.

    seed: of coins and directions. Raises AuditError `audit-unaccounted` where there is none,
    `audit-too-large`, and PrivacyError where no noise keeps the plan's epsilon.
    """
    deltas = deltas_of(plan)
    if not deltas:
        raise AuditError(
            "audit-unaccounted",
            "the plan has no noise, and so no epsilon to hold a bound against",
            '[privacy] unit = "client" or "example"',
        )
    found = [_of_clients(plan, weights, deltas["client"], seed)] if "client" in deltas else []
    if (local := training_target(plan)) is not None:
        found.append(_of_examples(plan, local, deltas["example"], seed))
    return tuple(found)


def play_audit(
    audit: PlannedAudit, seed: int, on_step: Callable[[int, int], None] | None = None
) -> CanaryRun:
    """Plays it in one process, cryptography and all. seed: of rounding, and of the noise on whole updates.

    on_step: the updates made so far, and how many there are to be. Raises what `capture` raises.
    """
    clients = audit.planted.clients(audit.plan)
    if on_step is not None:
        most, made = audit.plan.run.rounds * audit.plan.cohort.max_clients, count(1)
        clients = {
            name: _Counted(train, lambda: on_step(next(made), most)) for name, train in clients.items()
        }
    return played(audit.plan, audit.planted, clients, seed)


def _of_clients(plan: secagg.Plan, weights: Weights, delta: float, seed: int) -> PlannedAudit:
    whole = Layout.of(weights, plan.training.local).size
    canaries = plan.cohort.population or plan.cohort.max_clients
    absent = left_out(weights, plan.training.local, canaries, min(plan.run.rounds, _WHOLE))
    local = (*plan.training.local, *map(escape, absent))
    size = Layout.of(weights, local).size
    tables = _tables(plan, rounds_within(plan.run.rounds, plan.cohort.max_clients, size))
    tables["training"]["local"] = local
    # Calibrated for all rounds, all arrays and the metrics.
    tables["privacy"]["noise_multiplier"] = noise_multiplier_of(plan, whole)
    tables["privacy"].pop("example", None)
    audited = secagg.Plan(**tables)
    about = f"{canaries} canary clients, {audited.run.rounds} of {plan.run.rounds} rounds"
    if absent:
        about += f", {size} of {whole} coordinates"
    return PlannedAudit(audited, Canaries.of(audited, weights, canaries, seed), delta, about)


def _of_examples(plan: secagg.Plan, local: ExamplePrivacy, delta: float, seed: int) -> PlannedAudit:
    """local: less what metrics cost."""
    clients = plan.cohort.max_clients
    canaries = max(_EXAMPLES, 2 * clients)
    most = max(1, min(local.local_steps, _STEPS // clients))
    rounds = min(_ROUNDS, most, rounds_within(plan.run.rounds, clients, 2 * canaries))
    steps = most // rounds
    tables = _tables(plan, rounds)
    tables["training"]["local"] = ()
    tables["encoding"].pop("group")
    for sampled in ("sampling", "rate", "population"):
        tables["cohort"].pop(sampled, None)
    tables["privacy"] = {"unit": "example", **local.model_dump()}
    audited = secagg.Plan(**tables)
    about = (
        f"{canaries} canary examples of {clients} clients, {rounds} of {plan.run.rounds} rounds, "
        f"{rounds * steps} of {local.local_steps} steps"
    )
    return PlannedAudit(audited, ExampleCanaries.of(audited, canaries, steps, seed), delta, about)


def _tables(plan: secagg.Plan, rounds: int) -> dict[str, Any]:
    """The plan's own with fewer rounds, for clients of any name."""
    tables = plan.model_dump(exclude_none=True)
    tables["run"]["rounds"] = rounds
    tables["cohort"]["clients"] = ("*",)
    del tables["metrics"]
    return tables


@dataclass(frozen=True, eq=False)
class _Counted:
    train: secagg.Train
    on_update: Callable[[], None]

    def __call__(self, task: secagg.Task) -> secagg.Update:
        update = self.train(task)
        self.on_update()
        return update
