"""How much of a known epsilon each auditor shows, and how often it shows too much: the Gaussian mechanism.

    python benchmarks/attacks_audit.py --json

At each true epsilon, `--runs` audits of 5 000 canaries at delta = 1e-5 and 95 % confidence. `over` is the
share of runs that report more than the truth; it may be 5 % and three standard errors of the experiment, and
the median must come within a tenth of `expected`, where there is one, or above. Exits with 1 otherwise.
`shown` is the share that report more than 0, `seconds` the CPU time of all.

`trainings`: the same of real DP-SGD, in so many runs of two clients with 400 canary examples and no
protection, beside the epsilon that the run was accounted with. What is below it there is the accountant's
slack as well as the auditor's, so nothing is expected of the median.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from typing import Any, Final

import torch

from secagg_attacks.audit import AUDITORS, Coverage, coverage
from secagg_attacks.audit.canary_run import played
from secagg_attacks.audit.example_canaries import ExampleCanaries
from secagg_attacks.defences import Defence, Terms

DELTA: Final = 1e-5
TRAINED_EPSILON: Final = 1.0
TRAINED_CANARIES, TRAINED_STEPS = 400, 10
TOLERANCE: Final = 0.1
EXPECTED: Final = {
    ("clopper-pearson", 1.0): 0.20,
    ("clopper-pearson", 4.0): 1.42,
    ("clopper-pearson", 8.0): 2.80,
    ("one-run", 1.0): 0.27,
    ("one-run", 4.0): 1.20,
    ("one-run", 8.0): 1.94,
    ("gaussian", 1.0): 0.56,
    ("gaussian", 4.0): 3.41,
    ("gaussian", 8.0): 7.18,
}
"""Medians to reach."""


def figures_of(of: Coverage, epsilon: float) -> dict[str, Any]:
    expected = EXPECTED.get((of.method, epsilon))
    return {
        "method": of.method,
        "epsilon": epsilon,
        "median": round(of.median, 4),
        "expected": expected,
        "largest": round(of.largest, 4),
        "over": of.over / of.runs,
        "over_allowed": round(of.allowed / of.runs, 4),
        "shown": of.shown / of.runs,
        "holds": of.holds and (expected is None or of.median >= expected * (1 - TOLERANCE)),
    }


def of_trainings(epsilon: float, runs: int, seed: int) -> list[dict[str, Any]]:
    """Each auditor on the same real trainings; noise and batches are the operating system's."""
    plan = Defence("none", example_epsilon=epsilon).plan(
        Terms(2, rounds=2, local_steps=2 * TRAINED_STEPS, delta=DELTA)
    )
    found: dict[str, list[float]] = {name: [] for name in AUDITORS}
    for run in range(runs):
        planted = ExampleCanaries.of(plan, TRAINED_CANARIES, TRAINED_STEPS, seed + run)
        one = played(plan, planted, planted.clients(plan), seed + run)
        for name, auditor in AUDITORS.items():
            found[name].append(one.bound(auditor).epsilon)
    allowed = 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
    return [
        {
            "method": name,
            "epsilon": epsilon,
            "median": round(statistics.median(values), 4),
            "largest": round(max(values), 4),
            "over": sum(value > epsilon for value in values) / runs,
            "over_allowed": round(allowed, 4),
            "holds": sum(value > epsilon for value in values) <= allowed * runs,
        }
        for name, values in found.items()
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--epsilons", type=float, nargs="+", default=[0.0, 1.0, 4.0, 8.0])
    parser.add_argument("--canaries", type=int, default=5000)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--trainings", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.parse_args()
    begin = time.process_time()
    cases = [
        figures_of(of, epsilon)
        for epsilon in options.epsilons
        for of in coverage(epsilon, DELTA, canaries=options.canaries, runs=options.runs, seed=options.seed)
    ]
    torch.set_num_threads(1)
    trained = of_trainings(TRAINED_EPSILON, options.trainings, options.seed) if options.trainings else []
    figures = {
        "canaries": options.canaries,
        "runs": options.runs,
        "delta": DELTA,
        "seed": options.seed,
        "seconds": round(time.process_time() - begin, 1),
        "cases": cases,
        "trainings": options.trainings,
        "trained": trained,
    }
    if options.json:
        print(json.dumps(figures))
    else:
        for case in cases:
            expected = "" if case["expected"] is None else f" (expected {case['expected']:.2f})"
            print(
                f"epsilon {case['epsilon']:g}  {case['method']:17s} median {case['median']:.3f}{expected}, "
                f"largest {case['largest']:.3f}, above 0 {case['shown']:.0%}, "
                f"over {case['over']:.1%} (at most {case['over_allowed']:.1%})"
                f"{'' if case['holds'] else '  DOES NOT HOLD'}"
            )
        for case in trained:
            print(
                f"DP-SGD of epsilon {case['epsilon']:g}  {case['method']:17s} median {case['median']:.3f}, "
                f"largest {case['largest']:.3f}, over {case['over']:.1%} (at most {case['over_allowed']:.1%})"
                f"{'' if case['holds'] else '  DOES NOT HOLD'}"
            )
    return 0 if all(case["holds"] for case in (*cases, *trained)) else 1


if __name__ == "__main__":
    sys.exit(main())
