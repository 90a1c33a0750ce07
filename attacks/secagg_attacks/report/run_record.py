"""attacks.json: what was measured on a plan, beside the run of that plan, for its privacy report.

`secagg report` reads the file as anybody's (`secagg.report.attack_record`, which has its form), shows it
beside what is proven, and says first of all if a bound here is above the account there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from secagg.durable import write_whole
from secagg.report import read
from secagg.report.attack_record import ATTACKS, FORMAT
from secagg_attacks.audit import Bound, clopper_pearson_bound, one_run_bound
from secagg_attacks.audit.of_plan import audit_plan
from secagg_attacks.results import Finding, as_json

__all__ = ["Measured", "audit_run", "write_attacks"]

_USUAL: Final = 0.95
_SURE: Final = 0.999


@dataclass(frozen=True)
class Measured:
    """A lower bound on epsilon. unit: of what. view: the digest of the transcript that it is of, in hex."""

    unit: Literal["client", "example"]
    bound: Bound
    view: str


def write_attacks(
    run: Path, plan: str, findings: Sequence[Finding] = (), bounds: Sequence[Measured] = ()
) -> Path:
    """Writes RUN/attacks.json whole, in place of one that is there, and gives its path.

    plan: the digest, in hex, of the plan that was attacked; the report shows nothing of another plan than the
    run's. findings: those that were not applicable or not run have no view, and are left out.
    """
    document = {
        "format": FORMAT,
        "plan": plan,
        "findings": [_entry(each) for each in findings if each.measurement.status == "measured"],
        "bounds": [
            {
                "unit": each.unit,
                "method": each.bound.method,
                "view": each.view,
                "epsilon": each.bound.epsilon,
                "delta": each.bound.delta,
                "confidence": each.bound.confidence,
                "trials": each.bound.trials,
                "assumes": each.bound.assumes,
            }
            for each in bounds
        ],
    }
    path = run / ATTACKS
    write_whole(path, as_json(document).encode())
    return path


def audit_run(run: str | Path, seed: int = 0) -> tuple[Measured, ...]:
    """Audits the plan of a run with canaries, on a model of the run's shape, and writes its attacks.json.

    The run itself is read only, and may be over or not. Bounds: one-run at 95 % and at 99.9 % confidence, and
    Clopper-Pearson's at 95 %. Raises what `secagg.report.read` and `audit_plan` raise, and AuditError
    `audit-too-few` for a plan of few clients.
    """
    path = Path(run)
    record = read(path)
    weights = {part.name: np.zeros(part.shape, dtype=np.float64) for part in record.layout.parts}
    played = audit_plan(record.plan, weights, seed)
    bounds = tuple(
        Measured("client", played.bound(auditor, confidence=confidence), played.digest)
        for auditor, confidence in (
            (one_run_bound, _USUAL),
            (one_run_bound, _SURE),
            (clopper_pearson_bound, _USUAL),
        )
    )
    write_attacks(path, record.plan.digest.hex(), bounds=bounds)
    return bounds


def _entry(of: Finding) -> dict[str, Any]:
    measurement = of.measurement
    return {
        "attack": measurement.attack,
        "view": measurement.view,
        "figure": measurement.figure,
        "value": measurement.value,
        "low": measurement.low,
        "high": measurement.high,
        "n": measurement.n,
        "chance": measurement.chance,
        "verdict": of.verdict,
    }
