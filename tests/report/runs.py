"""Run directories written as a server writes them, one for each kind of report."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from secagg.plan import Plan
from secagg.protections import Assignment
from secagg.runs import Run

MODEL = {"w": np.zeros((3, 4), dtype=np.float32), "b": np.zeros(3)}
COHORT = {"max_clients": 10, "min_survivors": 6, "colluders": 0.1, "dropouts": 0.2}
CLIENT = {"unit": "client", "placement": "distributed", "noise_multiplier": 4.0, "delta": 1e-5}
LOCAL = {"epsilon": 8.0, "delta": 1e-5, "local_steps": 100}
POISSON = {"sampling": "poisson", "rate": 0.08, "population": 100}
LOSS = {"loss": {"min": 0.0, "max": 4.0, "noise_multiplier": 20.0}}

HOMOMORPHIC = {**COHORT, "colluders": 0.0, "adversary": "semi-honest"}

KINDS: dict[str, dict[str, Any]] = {
    "none": {},
    "example": {"privacy": {"unit": "example", **LOCAL}},
    "example and metrics": {"privacy": {"unit": "example", **LOCAL}, "metrics": LOSS},
    "client": {"privacy": CLIENT},
    "skellam": {"privacy": {**CLIENT, "mechanism": "skellam"}},
    "small ring": {"privacy": {**CLIENT, "ring_bits": 16}},
    "central": {"privacy": {**CLIENT, "placement": "central"}},
    "both": {"privacy": {**CLIENT, "example": LOCAL}},
    "adaptive": {"privacy": {**CLIENT, "noise_multiplier": 0.5, "adaptive_clipping": {}}},
    "poisson": {"privacy": CLIENT, "cohort": {**COHORT, **POISSON}},
    "client and metrics": {"privacy": CLIENT, "metrics": LOSS},
    "central, both and metrics": {
        "privacy": {**CLIENT, "placement": "central", "example": LOCAL},
        "metrics": LOSS,
    },
    "groups": {"privacy": CLIENT, "encoding": {"group": [{"match": "b", "clip_norm": 0.5}]}},
    "public weights": {
        "privacy": CLIENT,
        "aggregation": {"weighting": "public", "weights": {"client-0": 3, "*": 1}},
    },
    "budget": {"privacy": {**CLIENT, "epsilon": 2.0}},
    "bfv": {"privacy": CLIENT, "cohort": HOMOMORPHIC, "protection": {"kind": "bfv"}},
    "ckks with recompute": {
        "privacy": CLIENT,
        "cohort": {**HOMOMORPHIC, "adversary": "malicious"},
        "protection": {"kind": "ckks", "recompute": True},
    },
    "bfv and example": {
        "privacy": {"unit": "example", **LOCAL},
        "cohort": HOMOMORPHIC,
        "protection": {"kind": "bfv"},
    },
    "bfv and poisson": {
        "privacy": CLIENT,
        "cohort": {**HOMOMORPHIC, **POISSON},
        "protection": {"kind": "bfv"},
    },
}


def plan_of(kind: str, rounds: int = 5) -> Plan:
    tables = {"cohort": COHORT, **KINDS[kind]}
    return Plan(run={"name": "report", "rounds": rounds}, **tables)


def ticking() -> Callable[[], datetime]:
    """A clock that goes on by a second with every look at it."""
    seconds = count()
    return lambda: datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC) + timedelta(seconds=next(seconds))


def holders(number: int) -> list[str]:
    """Who holds the key in round `number` of a homomorphic run, its maker first."""
    return [f"client-{(number + place) % 5}" for place in (2, 0, 1)]


def played(
    root: Path,
    plan: Plan,
    *,
    rounds: int | None = None,
    finished: bool = True,
    survivors: Sequence[int] = (10, 9, 8, 10, 6),
    lost: int | None = None,
    failed: int | None = None,
    simulated: Mapping[str, bool] | None = None,
) -> Path:
    """A run of `plan` in which every round opens a sum.

    failed: this round reserves two attempts and opens none; lost: this one is opened, and nothing more. Where
    sums are homomorphic, and not simulated without that, there is a key for every attempt but a round's first
    that failed.
    """
    encrypted = plan.protection.homomorphic and (simulated or {}).get("masked", True)
    names = [f"client-{index}" for index in range(10)]
    norm = plan.encoding.clip_norm if plan.privacy.adaptive_clipping is not None else 0.0
    with Run.create(root, plan, MODEL, clock=ticking(), run_id=bytes(range(16))) as run:
        if simulated is not None:
            run.log("simulated", **simulated)
        for number in range(1, (rounds or plan.run.rounds) + 1):
            run.log("round-started", round=number, clients=names)
            task = Assignment.of(plan, MODEL, run.id, number, clip_norm=norm)
            first = run.next_attempt(number)
            run.reserve(number, first, names, task.uses(first), task.clip_norm)
            if number == failed:
                run.log("attempt-failed", round=number, attempt=first, code="too-few-clients")
                run.abandoned(number, first)
                run.reserve(number, first + 1, names[:8], task.uses(first + 1), task.clip_norm)
                if encrypted:
                    run.log("keys-held", round=number, attempt=first + 1, clients=holders(number))
                run.fail_round(number, "too-few-clients", {"cohort": 8, "survivors": 0})
                continue
            present = names[: survivors[(number - 1) % len(survivors)]]
            if encrypted:
                run.log("keys-held", round=number, attempt=first, clients=holders(number))
            run.opened(number, first, present)
            if number == lost:
                break
            record: dict[str, Any] = {"cohort": 10, "survivors": len(present), "clients": {}}
            if plan.privacy.adaptive_clipping is not None:
                record |= {"clip_norm": norm, "unclipped": 0.25}
                norm *= math.exp(-0.2 * (0.25 - 0.5))
            run.close_round(number, MODEL, {}, record)
        if finished and lost is None:
            run.finish()
    if lost is not None:
        Run.open(run.path, plan, clock=ticking()).close()
    return run.path
