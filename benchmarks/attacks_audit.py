"""How much of a known epsilon each auditor shows, and how often it shows too much: the Gaussian mechanism.

    python benchmarks/attacks_audit.py --json

At each true epsilon, `--runs` audits of 5 000 canaries at delta = 1e-5 and 95 % confidence. `over` is the
share of runs that report more than the truth; it may be 5 % and three standard errors of the experiment, and
the median must come within a tenth of `expected`, where there is one, or above. Exits with 1 otherwise.
`shown` is the share that report more than 0, `seconds` the CPU time of all.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any, Final

from secagg_attacks.audit import Coverage, coverage

DELTA: Final = 1e-5
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--epsilons", type=float, nargs="+", default=[0.0, 1.0, 4.0, 8.0])
    parser.add_argument("--canaries", type=int, default=5000)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.parse_args()
    begin = time.process_time()
    cases = [
        figures_of(of, epsilon)
        for epsilon in options.epsilons
        for of in coverage(epsilon, DELTA, canaries=options.canaries, runs=options.runs, seed=options.seed)
    ]
    figures = {
        "canaries": options.canaries,
        "runs": options.runs,
        "delta": DELTA,
        "seed": options.seed,
        "seconds": round(time.process_time() - begin, 1),
        "cases": cases,
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
    return 0 if all(case["holds"] for case in cases) else 1


if __name__ == "__main__":
    sys.exit(main())
