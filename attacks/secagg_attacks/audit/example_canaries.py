"""Canary examples in real DP-SGD: does a client's training keep to the epsilon it is accounted with?

Of a linear model without bias, the gradient of an example that is a multiple of the i-th unit vector touches
column i alone: canaries that nobody and nothing else moves (the Dirac canaries of Nasr et al. 2023, Tight
auditing of differentially private machine learning, arXiv 2302.07956, section 4; made here of inputs). The
loss is linear in the logits, so that the gradient is the same wherever the weights are, and longer than
`max_grad_norm`, to which it is clipped. A canary's score is the inner product of its gradient's direction
with what the server was given, added up over the rounds: the client's own upload where nothing protects it,
else the mean.

By its own fair coin a canary is what it is, or an example of zeros, whose gradient is zero. That is one
example added or removed, with the size of the data, which counts as public, left as it was: had the excluded
ones been left out, the expected batch would be smaller, and every score would tell of it, outside of the
account. Batches are half of a client's data, so that the account of sampling is held to its word as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

import secagg
from secagg.plan_settings import training_target
from secagg.weights import Weights
from secagg_attacks.audit.bound import AuditError, Booleans, Floats
from secagg_attacks.audit.canary_run import Unit
from secagg_attacks.federation import client_names
from secagg_attacks.local_training import LocalClient, LocalTraining
from secagg_attacks.target import Target
from secagg_attacks.views import RoundView, View

__all__ = ["ExampleCanaries"]

_LOUDNESS: Final = 2.0
"""Length of a canary over `max_grad_norm`; its gradient is longer by the square root of 2."""
_PASSES: Final = 2
_LEAST: Final = 2
_ARRAY: Final = "weight"


@dataclass(frozen=True, eq=False)
class ExampleCanaries:
    """shares: canaries of each client, by name. included: which are there, (canaries,). steps: of DP-SGD, or
    of SGD under a plan without it, of each client in a round. seed: of coins, and of SGD's batches."""

    shares: Mapping[str, npt.NDArray[np.int64]]
    included: Booleans
    steps: int
    seed: int
    unit: Unit = "example"

    @classmethod
    def of(cls, plan: secagg.Plan, count: int, steps: int, seed: int) -> ExampleCanaries:
        """Dealt out to as many clients as the plan has. Raises AuditError `canary-count`."""
        clients = plan.cohort.max_clients
        if count < _LEAST * clients:
            raise AuditError(
                "canary-count",
                f"{count} canary examples for {clients} clients",
                f"{_LEAST} for each or more; hundreds, for a bound worth reading",
            )
        names = client_names(clients)
        included = np.random.default_rng((seed, 0)).random(count) < 0.5
        shares = dict(zip(names, np.array_split(np.arange(count), clients), strict=True))
        return cls(shares, included, steps, seed)

    @property
    def weights(self) -> Weights:
        """Zeros, (2, canaries)."""
        return {_ARRAY: np.zeros((2, len(self.included)), dtype=np.float32)}

    def clients(self, plan: secagg.Plan) -> dict[str, secagg.Train]:
        """A train function for each, new for every run. Raises what calibration raises."""
        local = training_target(plan)
        norm = 1.0 if local is None else local.max_grad_norm
        target = _target(len(self.included))
        rate = self._learning_rate(plan)
        trains: dict[str, secagg.Train] = {}
        for index, (name, share) in enumerate(self.shares.items()):
            inputs = torch.zeros(len(share), len(self.included))
            inputs[torch.arange(len(share)), torch.from_numpy(share)] = torch.from_numpy(
                _LOUDNESS * norm * self.included[share]
            ).to(inputs)
            batch = -(-len(share) // _PASSES)
            how = LocalTraining(self.steps, batch, rate * len(share) / _PASSES)
            labels = torch.zeros(len(share), dtype=torch.int64)
            trains[name] = LocalClient(target, (inputs, labels), how, self.seed * len(self.shares) + index)
        return trains

    def scores(self, view: View) -> Floats:
        """float64 (canaries,). Raises AuditError `canary-sums`: no round gave the server anything."""
        given = [each for each in view.rounds if each.mean is not None]
        if not given:
            raise AuditError("canary-sums", "no sum was opened", "look at the run's history for why")
        single = view.protection == "none"
        return np.asarray(np.sum([self._scores_of(each, single=single) for each in given], axis=0))

    def _scores_of(self, given: RoundView, *, single: bool) -> Floats:
        found = np.empty(len(self.included))
        for client, share in self.shares.items():
            update = given.uploads[client] if single else given.mean or {}
            columns = update[_ARRAY][:, share].astype(np.float64)
            found[share] = (columns[0] - columns[1]) / np.sqrt(2)
        return found

    def _learning_rate(self, plan: secagg.Plan) -> float:
        """For a step that adds up its examples, such that a whole update is half as long as the clip norm.

        A longer one would be clipped, canaries, noise and all, and a short one drown in rounding.
        """
        norm, noise = 1.0, 0.0
        if (local := training_target(plan)) is not None:
            norm = local.max_grad_norm
            # More than is added at the rate of half: an upper bound that is had at once.
            noise = secagg.calibrate_noise(local.epsilon, local.delta, local.local_steps)
        longest = max(len(share) for share in self.shares.values())
        canaries = (_LOUDNESS * np.sqrt(2) * self.steps) ** 2 * longest
        noises = 2 * len(self.included) * self.steps * noise**2
        return float(plan.encoding.clip_norm / 2 / (norm * np.sqrt(canaries + noises)))


def _target(inputs: int) -> Target:
    """Two logits, linear in the inputs, all weights zero."""
    with torch.random.fork_rng(devices=[]):
        model = nn.Linear(inputs, 2, bias=False)
    nn.init.zeros_(model.weight)
    nothing = torch.zeros(1, inputs), torch.zeros(1, dtype=torch.int64)
    return Target(model, nothing, nothing, _margin, domain="tabular", name="canaries")


def _margin(logits: Tensor, labels: Tensor) -> Tensor:
    """The other logit less the label's own, on average."""
    own = logits.gather(1, labels[:, None])
    return (logits.sum(dim=1, keepdim=True) - 2 * own).mean()
