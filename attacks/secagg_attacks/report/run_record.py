"""attacks.json: what was measured on a plan, beside the run of that plan, for its privacy report.

`secagg report` reads the file as anybody's (`secagg.report.attack_record`, which has its form), shows it
beside what is proven, and says first of all if a bound here is above the account there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from secagg.durable import write_whole
from secagg.report import read
from secagg.report.attack_record import ATTACKS, FORMAT
from secagg_attacks.audit import AuditError, Auditor, Bound, clopper_pearson_bound, one_run_bound
from secagg_attacks.audit.bound import ENOUGH, LEAST
from secagg_attacks.audit.canary_run import Unit
from secagg_attacks.audit.of_plan import planned_audits, play_audit
from secagg_attacks.results import Finding, as_json

__all__ = ["Audited", "Measured", "audit_run", "write_attacks"]

_USUAL: Final = 0.95
_SURE: Final = 0.999
_BOUNDS: Final[tuple[tuple[Auditor, float], ...]] = (
    (one_run_bound, _USUAL),
    (one_run_bound, _SURE),
    (clopper_pearson_bound, _USUAL),
)


@dataclass(frozen=True)
class Measured:
    """A lower bound on epsilon. unit: of what. view: the digest of the transcript that it is of, in hex."""

    unit: Unit
    bound: Bound
    view: str


@dataclass(frozen=True)
class Audited:
    """Bounds, unit by unit, and in words what was played for each unit."""

    bounds: tuple[Measured, ...]
    about: tuple[str, ...]


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


def audit_run(
    run: str | Path, seed: int = 0, on_step: Callable[[str, int, int], None] | None = None
) -> Audited:
    """Audits the plan of a run with canaries, for each unit it has noise for, and writes its attacks.json.

    The run itself is read only, and may be over or not. Bounds of each unit: one-run at 95 % and at 99.9 %
    confidence, and Clopper-Pearson's at 95 %. What is played takes about a minute for each unit, or a single
    round if that takes longer. on_step: what is played, the updates made, and how many there are to be.

    A unit with too few canaries has no bound, and `about` says so. Raises what `secagg.report.read`,
    `planned_audits` and `play_audit` raise, and AuditError `audit-too-few` where no unit has one.
    """
    path = Path(run)
    record = read(path)
    weights = {part.name: np.zeros(part.shape, dtype=np.float64) for part in record.layout.parts}
    bounds: list[Measured] = []
    about: list[str] = []
    too_few: AuditError | None = None
    for audit in planned_audits(record.plan, weights, seed):
        played = play_audit(audit, seed, None if on_step is None else partial(on_step, audit.about))
        try:
            found = [
                played.bound(auditor, delta=audit.delta, confidence=confidence)
                for auditor, confidence in _BOUNDS
            ]
        except AuditError as refused:
            if refused.code != "audit-too-few":
                raise
            too_few = refused
            about.append(f"{audit.about}: too few to bound anything; a plan of {ENOUGH} clients has enough")
            continue
        bounds += [Measured(audit.planted.unit, each, played.digest) for each in found]
        about.append(audit.about)
    if too_few is not None and not bounds:
        raise AuditError(
            too_few.code,
            f"{too_few.message}: one for each client of the plan, by a coin",
            f"a plan of {ENOUGH} clients or more, of whom coins leave {LEAST} of each; of thirty, "
            "another --seed may do",
        ) from too_few
    write_attacks(path, record.plan.digest.hex(), bounds=bounds)
    return Audited(tuple(bounds), tuple(about))


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
