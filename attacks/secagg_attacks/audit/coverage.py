"""Whether an auditor keeps its word: how often it reports more than the truth where the truth is known.

Scores are those of the Gaussian mechanism: normal of standard deviation 1, with mean 1 / noise multiplier for
members, each canary a member by its own fair coin. Nothing tells members apart better, so what an auditor
reports is also the most that it can. The noise is calibrated as a plan's is (`secagg.calibrate_noise`); the
truth is the exact epsilon of the noise multiplier that it gives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final, Protocol

import numpy as np

import secagg
from secagg_attacks.audit.bound import AuditError, Booleans, Bound, Floats, check_levels
from secagg_attacks.audit.clopper_pearson import clopper_pearson_bound
from secagg_attacks.audit.f_dp import f_dp_bound
from secagg_attacks.audit.gaussian import gaussian_bound
from secagg_attacks.audit.one_run import one_run_bound
from secagg_attacks.audit.trade_off import epsilon_of

__all__ = ["AUDITORS", "Auditor", "Coverage", "coverage", "gaussian_trial"]


class Auditor(Protocol):
    """What the auditors of this package have in common."""

    def __call__(self, scores: Floats, included: Booleans, delta: float, *, confidence: float) -> Bound: ...


AUDITORS: Final[Mapping[str, Auditor]] = MappingProxyType(
    {
        "clopper-pearson": clopper_pearson_bound,
        "one-run": one_run_bound,
        "f-dp": f_dp_bound,
        "gaussian": gaussian_bound,
        "gaussian-moments": partial(gaussian_bound, of="moments"),
    }
)


@dataclass(frozen=True)
class Coverage:
    """One auditor over many runs at one truth.

    truth: the exact epsilon at `delta`. over: runs that reported more; allowed: the most of them that is no
    contradiction to `confidence`, three standard errors above its expectation. shown: runs that reported more
    than 0. median, largest: of the epsilons reported.
    """

    method: str
    truth: float
    delta: float
    confidence: float
    canaries: int
    runs: int
    over: int
    allowed: float
    shown: int
    median: float
    largest: float

    @property
    def holds(self) -> bool:
        """Whether no more runs than allowed reported more than the truth."""
        return self.over <= self.allowed


def gaussian_trial(noise_multiplier: float, canaries: int, seed: int) -> tuple[Floats, Booleans]:
    """Scores, and which canaries were included, both of shape (canaries,). noise_multiplier: may be inf."""
    rng = np.random.default_rng(seed)
    included = rng.random(canaries) < 0.5
    return rng.standard_normal(canaries) + included / noise_multiplier, included


def coverage(
    epsilon: float,
    delta: float,
    *,
    auditors: Mapping[str, Auditor] = AUDITORS,
    canaries: int = 5000,
    runs: int = 200,
    confidence: float = 0.95,
    seed: int = 0,
    on_step: Callable[[int, int], None] | None = None,
) -> tuple[Coverage, ...]:
    """Every auditor on the same `runs` trials at the noise that epsilon takes; at 0, scores carry nothing.

    on_step: called with the runs done and all of them. Raises AuditError `audit-delta`, `audit-confidence`,
    `audit-runs`, and what the auditors and `secagg.calibrate_noise` raise.
    """
    check_levels(delta, confidence, pure=False)
    if runs < 1:
        raise AuditError("audit-runs", f"runs must be at least 1, not {runs}", "200, for a limit of 9.6 %")
    noise_multiplier = secagg.calibrate_noise(epsilon, delta, 1) if epsilon else math.inf
    truth = epsilon_of(1 / noise_multiplier, delta)
    reported = {name: np.empty(runs) for name in auditors}
    for run, child in enumerate(np.random.SeedSequence(seed).generate_state(runs, np.uint64)):
        scores, included = gaussian_trial(noise_multiplier, canaries, int(child))
        for name, audit in auditors.items():
            reported[name][run] = audit(scores, included, delta, confidence=confidence).epsilon
        if on_step is not None:
            on_step(run + 1, runs)
    miss = 1 - confidence
    allowed = runs * miss + 3 * math.sqrt(runs * miss * confidence)
    return tuple(
        Coverage(
            method=name,
            truth=truth,
            delta=delta,
            confidence=confidence,
            canaries=canaries,
            runs=runs,
            over=int(np.count_nonzero(values > truth)),
            allowed=allowed,
            shown=int(np.count_nonzero(values)),
            median=float(np.median(values)),
            largest=float(values.max()),
        )
        for name, values in reported.items()
    )
