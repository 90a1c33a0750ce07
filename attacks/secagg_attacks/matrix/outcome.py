"""What playing a table came to."""

from __future__ import annotations

from dataclasses import dataclass

from secagg_attacks.matrix.case import Arrays
from secagg_attacks.matrix.config import Config
from secagg_attacks.results import Finding, Row

__all__ = ["Outcome"]


@dataclass(frozen=True, eq=False)
class Outcome:
    """A table: findings, column by column; rows; arrays of each cell by (defence, attack).

    seconds: of playing, those of earlier sessions among them: of all cells and rows that are there.
    """

    config: Config
    about: str
    findings: tuple[Finding, ...]
    rows: tuple[Row, ...]
    arrays: dict[tuple[str, str], Arrays]
    seconds: float

    def finding(self, defence: str, attack: str) -> Finding:
        """KeyError if there is no such cell."""
        for each in self.findings:
            if (each.measurement.defence, each.measurement.attack) == (defence, attack):
                return each
        raise KeyError((defence, attack))

    @property
    def failures(self) -> tuple[Finding, ...]:
        """Audits whose lower bound, at 99.9 % confidence, beats what the noise was accounted with."""
        return tuple(each for each in self.findings if each.measurement.beats_account)
