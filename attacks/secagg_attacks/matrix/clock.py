"""How a budget of seconds is shared out among the cells that are left."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

__all__ = ["Clock", "OutOfTime"]


class OutOfTime(Exception):
    """The share of a cell is over, and what it has is no figure."""


class Clock:
    """Seconds from its making on. budget: None for no limit. now: a monotonic clock, in seconds."""

    def __init__(self, budget: float | None, now: Callable[[], float] = time.monotonic) -> None:
        self._now: Final = now
        self._begun: Final = now()
        self._end: Final = math.inf if budget is None else self._begun + budget

    @property
    def left(self) -> float:
        return self._end - self._now()

    @property
    def taken(self) -> float:
        return self._now() - self._begun

    def share(self, weight: float, weights_left: float) -> float:
        """Of what is left, the part that a weight has among all that are to come, itself among them."""
        return self.left * weight / weights_left if math.isfinite(self._end) else math.inf

    def stop_after(self, seconds: float) -> Callable[[int, int], None]:
        """A progress callback that raises OutOfTime once so many seconds are over."""
        end = self._now() + seconds

        def check(_done: int, _most: int) -> None:
            if self._now() > end:
                raise OutOfTime

        return check
