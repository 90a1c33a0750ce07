"""Canary clients in a real run: does the sum that is opened keep to the epsilon it is accounted with?

A canary's update is a random direction as long as the clip norm, or, by its own fair coin, nothing: the two
neighbours of client-level privacy (zero-out). Its score is the cosine of its direction with what the server
was given, added up over the rounds (Andrew et al. 2023, One-shot empirical privacy estimation for federated
learning, arXiv 2302.03098). Random directions in a space of many dimensions are close to orthogonal, so that
canaries of one run hardly touch one another; `one_run_bound` holds however they do. The other auditors take
the scores for independent, which they nearly are.

It needs nothing but the sums, so it audits masks and homomorphic summation alike, clipping, encoding, noise
and decoding included. Without noise it finds every canary, and shows that it would.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

import secagg
from secagg.weights import Layout, Weights
from secagg_attacks.audit.bound import AuditError, Booleans, Bound, Floats
from secagg_attacks.audit.coverage import Auditor
from secagg_attacks.defences import Defence, Terms
from secagg_attacks.views import Account, View, capture

__all__ = ["PREFIX", "CanaryRun", "canary_clients", "canary_run", "canary_scores"]

PREFIX: Final = "canary-"
_LEAST: Final = 2


@dataclass(frozen=True, eq=False)
class CanaryRun:
    """Scores and the truth, (canaries,) each; what the run was accounted with; its transcript's digest.

    account: None where nothing bounds what the sums tell of a client.
    """

    scores: Floats
    included: Booleans
    account: Account | None
    digest: str

    def bound(self, auditor: Auditor, *, delta: float | None = None, confidence: float = 0.95) -> Bound:
        """A lower bound on epsilon, at the account's delta if there is one.

        Raises AuditError `audit-delta` without an account and a delta, and what the auditor raises.
        """
        if delta is None:
            if self.account is None:
                raise AuditError(
                    "audit-delta", "the run has no account, and so no delta", "give one: 1e-5, say"
                )
            delta = self.account.delta
        return auditor(self.scores, self.included, delta, confidence=confidence)


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
    `secagg.simulate` raises.
    """
    if canaries < _LEAST:
        raise AuditError(
            "canary-count", f"{canaries} canaries", "2 or more; hundreds, for a bound worth reading"
        )
    taken = sorted(name for name in honest if name.startswith(PREFIX))
    if taken:
        raise AuditError(
            "canary-names", f"a client is called '{taken[0]}'", f"no name may begin with '{PREFIX}'"
        )
    plan = defence.plan(replace(terms, clients=len(honest) + canaries))
    included = np.random.default_rng((seed, 0)).random(canaries) < 0.5
    clients = {**honest, **canary_clients(plan, weights, included, seed)}
    view = capture(plan, weights, clients, seed=seed)
    account = next((each for each in view.accounts if each.unit == "client"), None)
    return CanaryRun(canary_scores(view, plan, weights, canaries, seed), included, account, view.digest)


def canary_clients(
    plan: secagg.Plan, weights: Weights, included: npt.NDArray[np.bool_], seed: int
) -> dict[str, secagg.Train]:
    """A train function for each canary: its direction times the plan's clip norm, or zeros."""
    layout = Layout.of(weights, plan.training.local)
    width = len(str(len(included) - 1))
    return {
        f"{PREFIX}{index:0{width}d}": _Canary(layout, plan.encoding.clip_norm * inside, (seed, 1 + index))
        for index, inside in enumerate(included.tolist())
    }


def canary_scores(view: View, plan: secagg.Plan, weights: Weights, canaries: int, seed: int) -> Floats:
    """Each canary's cosine with the opened means, added up over the rounds: float64 (canaries,).

    Raises AuditError `canary-sums`: no sum was opened.
    """
    layout = Layout.of(weights, plan.training.local)
    means = [each.mean for each in view.rounds if each.mean is not None]
    if not means:
        raise AuditError("canary-sums", "no sum was opened", "look at the run's history for why")
    opened = np.stack(
        [np.concatenate([mean[part.name].reshape(-1) for part in layout.parts]) for mean in means]
    )
    opened = opened.astype(np.float64)
    lengths = np.linalg.norm(opened, axis=1, keepdims=True)
    whole = np.divide(opened, lengths, out=np.zeros_like(opened), where=lengths > 0).sum(axis=0)
    return np.array([whole @ direction for direction in _directions(layout.size, canaries, seed)])


@dataclass(frozen=True)
class _Canary:
    layout: Layout
    norm: float
    seed: tuple[int, int]

    def __call__(self, _: secagg.Task) -> secagg.Update:
        update = self.norm * _direction(self.layout.size, self.seed)
        return secagg.Update(
            delta={
                part.name: update[part.start : part.stop].reshape(part.shape) for part in self.layout.parts
            }
        )


def _directions(size: int, canaries: int, seed: int) -> Iterator[Floats]:
    return (_direction(size, (seed, 1 + index)) for index in range(canaries))


def _direction(size: int, seed: tuple[int, int]) -> Floats:
    """Uniform on the unit sphere."""
    drawn = np.random.default_rng(seed).standard_normal(size)
    return np.asarray(drawn / np.linalg.norm(drawn))
