"""results.json: every fact of the page as one document of plain values."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from secagg_attacks.matrix.attacks import COLUMNS
from secagg_attacks.matrix.outcome import Outcome
from secagg_attacks.statistics.holm import ALPHA

__all__ = ["FORMAT", "document"]

FORMAT: Final = "secagg-attacks/1"


def document(outcome: Outcome) -> dict[str, Any]:
    """Strict JSON can hold it: no number in it is infinite or NaN; what is not known is null."""
    return {
        "format": FORMAT,
        "config": {"digest": outcome.config.digest, **asdict(outcome.config)},
        "about": outcome.about,
        "alpha": ALPHA,
        "seconds": outcome.seconds,
        "attacks": [
            {
                "name": each.name,
                "title": each.title,
                "family": each.family,
                "seen": each.seen,
                "method": each.method,
                "source": each.source,
                "says": each.says,
            }
            for each in (COLUMNS[name] for name in outcome.config.attacks)
        ],
        "findings": [
            {**asdict(each.measurement), "verdict": each.verdict, "adjusted": each.adjusted}
            for each in outcome.findings
        ],
        "rows": [asdict(row) for row in outcome.rows],
        "failures": [[each.measurement.defence, each.measurement.attack] for each in outcome.failures],
    }
