"""When a command began, and how slow the machine has been since: it loads no torch, which takes seconds."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

__all__ = ["Begun"]

_TELLS: Final = 0.5
"""Seconds of computing; less says nothing of the machine."""
_SLOWEST: Final = 4.0


@dataclass(frozen=True)
class Begun:
    """wall: by `time.monotonic`. cpu: seconds that this process had computed by then."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> Begun:
        return cls(time.monotonic(), time.process_time())

    def slowness(self, now: Begun | None = None) -> float:
        """Seconds that go by while this process computes for one, since it began: from 1, where it has a core
        for itself, to 4. 1 where it has hardly begun."""
        at = now or Begun.now()
        computed = at.cpu - self.cpu
        return min(max((at.wall - self.wall) / computed, 1.0), _SLOWEST) if computed > _TELLS else 1.0
