"""A target's training data in the hands of n clients, and the run they play.

The data are dealt once, by the seed: the same federation under every defence has the same clients with the
same examples, so that what an attack finds differs by the defence and by nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

import secagg
import secagg.torch
from secagg.simulation import named_clients
from secagg.weights import Weights
from secagg_attacks.defences import Defence, Terms
from secagg_attacks.local_training import BUFFERS, FEDSGD, LocalClient, LocalTraining
from secagg_attacks.target import Examples, Target, TargetError
from secagg_attacks.views import ThreatModel, View, capture

__all__ = ["Federation", "client_names"]


@dataclass(frozen=True, eq=False, repr=False)
class Federation:
    """n clients and a target's members among them.

    per_client: examples of each; None: all members, as evenly as they go. seed: of the deal, and of local
    training. Raises TargetError `federation-clients`, `federation-examples`, `target-fit`.
    """

    target: Target
    clients: int
    rounds: int = 1
    local: LocalTraining = FEDSGD
    per_client: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.clients < 2 or self.rounds < 1:
            raise TargetError(
                "federation-clients",
                f"{self.clients} clients and {self.rounds} rounds",
                "2 clients and 1 round at the least",
            )
        needed = self.clients * (1 if self.per_client is None else self.per_client)
        if needed < self.clients or needed > len(self.target.members[0]):
            raise TargetError(
                "federation-examples",
                f"{self.clients} clients with {self.per_client or 'at least 1'} examples each, and the "
                f"target has {len(self.target.members[0])} members",
                "fewer clients, fewer examples each, or more training data; 1 example each at the least",
            )
        if self.local.own_fit and self.target.fit is None:
            raise TargetError(
                "target-fit", "the target has no fit to train with", "Target(fit=...), or plain SGD"
            )

    @cached_property
    def shares(self) -> Mapping[str, npt.NDArray[np.int64]]:
        """Client -> which of the target's members it has, as indices of shape (examples,)."""
        order = np.random.default_rng(self.seed).permutation(len(self.target.members[0]))
        if self.per_client is not None:
            order = order[: self.clients * self.per_client]
        return dict(zip(self.names, np.array_split(order, self.clients), strict=True))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """As `secagg.simulate` calls the clients of a sequence."""
        return client_names(self.clients)

    @property
    def initial(self) -> Weights:
        """The model that the run begins with."""
        return dict(secagg.torch.arrays(self.target.model))

    def examples_of(self, client: str | None = None) -> Examples:
        """What a client has; None: what all of them have."""
        chosen = np.concatenate(list(self.shares.values())) if client is None else self.shares[client]
        at = torch.from_numpy(chosen)
        x, y = self.target.members
        return x[at], y[at]

    def terms(self) -> Terms:
        """What a plan for this federation must say. `dataclasses.replace` changes norms and precision."""
        return Terms(
            clients=self.clients,
            rounds=self.rounds,
            local_steps=self.rounds * self.local.steps,
            local=BUFFERS if self.target.buffers == "unknown" else (),
            seed=self.seed,
        )

    def trains(self) -> dict[str, secagg.Train]:
        """A train function for each client; new ones for every run."""
        return {
            name: LocalClient(
                self.target, self.examples_of(name), self.local, self.seed * self.clients + index
            )
            for index, name in enumerate(self.names)
        }

    def observe(self, defence: Defence, terms: Terms | None = None) -> View:
        """Plays the run under a defence, and gives what the server saw; seeded as far as `capture` can.

        Raises PlanError and what `secagg.simulate` raises: DP-SGD refuses BatchNorm, say.
        """
        plan = defence.plan(self.terms() if terms is None else terms)
        threat = replace(ThreatModel(), buffers=self.target.buffers)
        return capture(plan, self.initial, self.trains(), threat, seed=self.seed)

    def __repr__(self) -> str:
        return f"Federation({self.target!r}, {self.clients} clients, {self.rounds} rounds)"


def client_names(count: int) -> tuple[str, ...]:
    """What `secagg.simulate` calls so many clients of a sequence, in its order."""
    return tuple(named_clients([_nobody] * count))


def _nobody(task: secagg.Task) -> secagg.Update:
    return secagg.Update(delta=task.weights)
