"""What a table knows of an attack before it plays it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from secagg_attacks.matrix.case import Attack

__all__ = ["Column", "Family", "Seen"]

Family = Literal["inversion", "membership", "audit"]
Seen = Literal["upload", "sum", "run"]
"""What an attack is given: what one client uploaded, whatever protects it; the opened sum; or a run of its
own."""


@dataclass(frozen=True)
class Column:
    """weight: its part of the time, beside the others'; what weighs least is played first. stretches: it ends
    early, with the best so far, when its time is over; another attack would be without a figure. quick: in
    tables of a minute too. method: what it does, by the name that it shares with the same attack on something
    else that the server saw: one that wins on single unprotected uploads is known to work."""

    name: str
    title: str
    family: Family
    seen: Seen
    method: str
    play: Attack
    weight: float
    stretches: bool
    quick: bool
    source: str
    says: str
