"""Whose membership is asked about in a table: the clients of several runs, and the target's non-members.

Each run, a cohort, has clients of its own with examples of their own, so that no example is a member twice.
All cohorts play the same run under the same defence; of each there are as many uploads as clients and one
sum, and each upload, or sum, is asked about every example of the table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

import secagg
import secagg.torch
from secagg_attacks.federation import Federation
from secagg_attacks.local_training import BUFFERS, LocalTraining
from secagg_attacks.matrix.case import NEXT_COHORT, Case
from secagg_attacks.membership.chance import chance_p_value
from secagg_attacks.membership.confidence import bounded, phi
from secagg_attacks.membership.errors import MembershipError
from secagg_attacks.statistics.roc import roc
from secagg_attacks.target import Target
from secagg_attacks.views import Arrays, ThreatModel, View, capture

__all__ = ["FEWEST", "Asked", "From", "asked_about", "local_of", "logits_of", "view_of", "views_of"]

From: TypeAlias = Literal["upload", "sum"]

_AT_ONCE: Final = 256
_KNOWN: Final = 1e-4
"""Significance of the note that a model knows members before any round."""
FEWEST: Final = 20
"""Members, and non-members: of fewer, a bootstrap's resample may have none."""


@dataclass(frozen=True, eq=False)
class Asked:
    """cohorts: the runs. wanted: examples of each client if the target has enough. others: non-members."""

    cohorts: tuple[Federation, ...]
    wanted: int
    others: int

    @cached_property
    def examples(self) -> tuple[Tensor, Tensor]:
        """Members, cohort by cohort and client by client, then non-members."""
        x, y = self.cohorts[0].target.nonmembers
        dealt = [cohort.examples_of() for cohort in self.cohorts]
        return (
            torch.cat([*(own for own, _ in dealt), x[: self.others]]),
            torch.cat([*(labels for _, labels in dealt), y[: self.others]]),
        )

    @property
    def each(self) -> int:
        """Examples of a client."""
        return len(next(iter(self.cohorts[0].shares.values())))

    @property
    def clients(self) -> int:
        """Of a cohort."""
        return self.cohorts[0].clients

    def owners(self, source: From) -> npt.NDArray[np.int64]:
        """(examples,): which upload, or sum, each is in, counted cohort by cohort; -1 for none."""
        size = self.each * (self.clients if source == "sum" else 1)
        members = np.arange(len(self.cohorts) * self.clients * self.each) // size
        return np.concatenate([members, np.full(self.others, -1)])

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What is smaller than the table's scale has it, and what is known before anybody uploads."""
        found = []
        if self.each < self.wanted:
            found.append(
                f"{self.each} examples of each client, not {self.wanted}: the target has no more members"
            )
        target, (x, y) = self.cohorts[0].target, self.examples
        said = phi(logits_of(target, self.cohorts[0].initial, x), y.cpu().numpy())
        is_member = np.minimum(self.owners("sum"), 0)
        if chance_p_value(said[None], is_member) < _KNOWN:
            auc = roc(said, is_member == 0).auc
            found.append(
                f"the model as given ranks members apart by their loss, AUC {auc:.2f}: it has seen them, or "
                "they are of another kind than the non-members; no upload is the cause of that"
            )
        return tuple(found)


def asked_about(
    case: Case,
    local: LocalTraining | None = None,
    per_client: int | None = None,
    clients: int | None = None,
) -> Asked:
    """The runs of a case. local, per_client, clients: None as membership's are; with fewer clients there are
    more runs, for as many clients in all.

    Raises MembershipError `too-few-members`, `too-few-nonmembers`.
    """
    target, scale = case.world.target, case.scale
    members, others = len(target.members[0]), len(target.nonmembers[0])
    wanted, size = per_client or scale.per_client, clients or scale.clients
    enough = max(scale.cohorts * scale.clients // size, -(-FEWEST // (size * wanted)))
    cohorts = min(enough, members // size)
    each = min(wanted, members // (cohorts * size)) if cohorts else 0
    dealt = cohorts * size * each
    if dealt < FEWEST:
        raise MembershipError(
            "too-few-members",
            f"{members} members make {dealt} of {size} clients each time, and {FEWEST} are the least to tell "
            "from chance with",
            "more training data: a target's train_xy of some hundred examples",
        )
    if others < FEWEST:
        raise MembershipError(
            "too-few-nonmembers",
            f"the target has {others} non-members, and {FEWEST} are the least to tell from chance with",
            "hold more data back from training; 1 000 for a false-positive rate of 0.1 %",
        )
    x, y = target.members
    order = torch.from_numpy(np.random.default_rng(case.seed).permutation(members)[:dealt])
    blocks = torch.chunk(order, cohorts)
    return Asked(
        tuple(
            Federation(
                replace(target, train_xy=(x[block], y[block])),
                size,
                local=local_of(case, scale.local_steps) if local is None else local,
                per_client=each,
                seed=case.seed + cohort * NEXT_COHORT,
            )
            for cohort, block in enumerate(blocks)
        ),
        wanted,
        min(scale.candidates, others),
    )


def logits_of(target: Target, weights: Arrays, x: Tensor) -> npt.NDArray[np.float64]:
    """Of a model of these weights, whatever they are: (examples, classes), finite."""
    model = target.fresh().eval()
    secagg.torch.load(model, weights, local=BUFFERS if target.buffers == "unknown" else ())
    with torch.no_grad():
        return bounded(torch.cat([model(part) for part in torch.split(x, _AT_ONCE)]).double().cpu().numpy())


def views_of(case: Case, asked: Asked, run: str) -> tuple[View, ...]:
    """What the server saw of each cohort, played once for a table. run: what tells these runs from others."""
    return tuple(view_of(case, (run, cohort.seed), cohort) for cohort in asked.cohorts)


def view_of(case: Case, key: tuple[Any, ...], federation: Federation) -> View:
    """What `Memory.view` gives, with `case.on_step` called before each client trains: where that raises what
    is no Exception, as OutOfTime is not, the run ends there."""
    whole, on_step = (case.defence.name, *key), case.on_step
    if on_step is not None and whole not in case.memory.views:
        most, begun = federation.clients * federation.rounds, count()
        trains = {
            name: _Stepping(train, lambda: on_step(next(begun), most))
            for name, train in federation.trains().items()
        }
        plan = case.defence.plan(federation.terms())
        threat = replace(ThreatModel(), buffers=federation.target.buffers)
        case.memory.views[whole] = capture(plan, federation.initial, trains, threat, seed=federation.seed)
    return case.memory.view(case.defence, key, federation)


@dataclass(frozen=True, eq=False)
class _Stepping:
    train: secagg.Train
    on_begin: Callable[[], None]

    def __call__(self, task: secagg.Task) -> secagg.Update:
        self.on_begin()
        return self.train(task)


def local_of(case: Case, steps: int) -> LocalTraining:
    """By the target's own fit where it has one, else so many plain steps; DP-SGD has a loop of its own."""
    target = case.world.target
    fits = target.fit is not None and case.defence.example_epsilon is None
    return LocalTraining(steps, None, target.learning_rate, fits, case.seed)
