"""The audit of a plan as somebody runs it: every client a canary, every round played, nothing else changed.

What `canaries` measures of a defence, measured of a plan: its own noise, rounds, clipping, encoding and
sampling, and as many canaries as it has clients. With few clients there is little to show, and with fewer
than some twenty nothing.
"""

from __future__ import annotations

import numpy as np

import secagg
from secagg.weights import Weights
from secagg_attacks.audit.bound import AuditError
from secagg_attacks.audit.canaries import CanaryRun, canary_clients, canary_scores
from secagg_attacks.views import capture

__all__ = ["audit_plan"]


def audit_plan(plan: secagg.Plan, weights: Weights, seed: int) -> CanaryRun:
    """Plays the whole plan from these weights, in one process, cryptography and all.

    seed: of coins, directions, rounding and noise. Raises AuditError `audit-unaccounted` where no noise hides
    whole clients, and what `capture` and `canary_scores` raise.
    """
    if plan.privacy.unit != "client":
        raise AuditError(
            "audit-unaccounted",
            "the plan has no noise on whole clients, and so no epsilon of theirs to hold a bound against",
            '[privacy] unit = "client"; membership figures are what there is for examples',
        )
    drawn = plan.cohort.population if plan.cohort.sampling == "poisson" else None
    canaries = drawn or plan.cohort.max_clients
    included = np.random.default_rng((seed, 0)).random(canaries) < 0.5
    view = capture(plan, weights, canary_clients(plan, weights, included, seed), seed=seed)
    account = next((each for each in view.accounts if each.unit == "client"), None)
    return CanaryRun(canary_scores(view, plan, weights, canaries, seed), included, account, view.digest)
