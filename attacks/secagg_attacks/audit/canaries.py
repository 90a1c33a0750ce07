"""Canary clients in a real run: does the sum that is opened keep to the epsilon it is accounted with?

A canary's update is a random direction as long as the clip norm, or, by its own fair coin, nothing: the two
neighbours of client-level privacy (zero-out). Its score is the cosine of its direction with what the server
was given, added up over the rounds (Andrew et al. 2023, One-shot empirical privacy estimation for federated
learning, arXiv 2302.03098). The directions are orthogonal where the model is large enough, so that canaries
of one run do not touch one another; `one_run_bound` holds however they do. The other auditors take the scores
for independent, which they nearly are.

It needs nothing but the sums, so it audits masks and homomorphic summation alike, clipping, encoding, noise
and decoding included. Without noise it finds every canary, and shows that it would.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

import secagg
from secagg.weights import Layout, Weights
from secagg_attacks.audit.bound import AuditError, Booleans, Floats
from secagg_attacks.audit.canary_run import CanaryRun, Unit, played
from secagg_attacks.audit.directions import directions
from secagg_attacks.defences import Defence, Terms
from secagg_attacks.views import View

__all__ = ["PREFIX", "Canaries", "canary_run"]

PREFIX: Final = "canary-"
_LEAST: Final = 2


@dataclass(frozen=True, eq=False)
class Canaries:
    """Which directions of a model are looked for, (canaries, size), and which of them are there, (canaries,).

    weights: the model that the run begins with. layout: of the arrays that clients send.
    """

    weights: Weights
    layout: Layout
    directions: Floats
    included: Booleans
    unit: Unit = "client"

    @classmethod
    def of(cls, plan: secagg.Plan, weights: Weights, count: int, seed: int) -> Canaries:
        """seed: of coins and directions. Raises AuditError `canary-count`, and as Layout.of."""
        if count < _LEAST:
            raise AuditError(
                "canary-count", f"{count} canaries", "2 or more; hundreds, for a bound worth reading"
            )
        layout = Layout.of(weights, plan.training.local)
        included = np.random.default_rng((seed, 0)).random(count) < 0.5
        return cls(weights, layout, directions(layout.size, count, seed), included)

    def clients(self, plan: secagg.Plan) -> dict[str, secagg.Train]:
        """A train function for each: its direction times the plan's clip norm, or zeros."""
        width = len(str(len(self.included) - 1))
        return {
            f"{PREFIX}{index:0{width}d}": _Canary(
                self.layout, self.directions[index], plan.encoding.clip_norm * inside
            )
            for index, inside in enumerate(self.included.tolist())
        }

    def scores(self, view: View) -> Floats:
        """Each one's cosine with the opened means, added up over the rounds: float64 (canaries,).

        Raises AuditError `canary-sums`: no sum was opened.
        """
        means = [each.mean for each in view.rounds if each.mean is not None]
        if not means:
            raise AuditError("canary-sums", "no sum was opened", "look at the run's history for why")
        opened = np.stack(
            [np.concatenate([mean[part.name].reshape(-1) for part in self.layout.parts]) for mean in means]
        ).astype(np.float64)
        lengths = np.linalg.norm(opened, axis=1, keepdims=True)
        whole = np.divide(opened, lengths, out=np.zeros_like(opened), where=lengths > 0).sum(axis=0)
        return np.asarray(self.directions @ whole)


def canary_run(
    defence: Defence,
    terms: Terms,
    weights: Weights,
    honest: Mapping[str, secagg.Train],
    *,
    canaries: int,
    seed: int,
) -> CanaryRun:
    """Plays the run of a defence with canaries beside the honest clients (which there need not be).

    terms: `clients` is set to all of them. weights: the model it begins with. seed: of coins,
    directions, rounding and noise. Raises AuditError `canary-names`, `canary-count`, PlanError, and what
    `secagg.simulate` raises: a canary does not train, and DP-SGD within the clients refuses it.
    """
    taken = sorted(name for name in honest if name.startswith(PREFIX))
    if taken:
        raise AuditError(
            "canary-names", f"a client is called '{taken[0]}'", f"no name may begin with '{PREFIX}'"
        )
    plan = defence.plan(replace(terms, clients=max(_LEAST, len(honest) + canaries)))
    planted = Canaries.of(plan, weights, canaries, seed)
    return played(plan, planted, {**honest, **planted.clients(plan)}, seed)


@dataclass(frozen=True, eq=False)
class _Canary:
    layout: Layout
    direction: Floats
    norm: float

    def __call__(self, _: secagg.Task) -> secagg.Update:
        update = self.norm * self.direction
        return secagg.Update(
            delta={
                part.name: update[part.start : part.stop].reshape(part.shape) for part in self.layout.parts
            }
        )
