"""How a budget of seconds is shared out among the cells that are left, and what each is expected to take."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Final

from secagg_attacks.matrix.column import Column

__all__ = ["Clock", "OutOfTime", "Paces", "Shares", "kept_back"]

_ENDS: Final = 1.5
_EACH_CELL: Final = 0.008
"""Seconds: twice what a process with torch takes to end, and what a cell of a page takes, without load."""


class OutOfTime(BaseException):
    """The share of a cell is over, and what it has is no figure.

    No Exception: raised between the trainings of a run, it is no failure of a client's training.
    """


def kept_back(cells: int) -> float:
    """Seconds of a budget for what comes after the last cell: verdicts, pages, and the end of a process."""
    return _ENDS + _EACH_CELL * cells


class Clock:
    """Seconds of a budget. budget: None for no limit. begun: when it began, by `now`; None: at the clock's
    making. back: seconds of it that nobody is to use. now: a monotonic clock, in seconds."""

    def __init__(
        self,
        budget: float | None,
        *,
        begun: float | None = None,
        back: float = 0.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now: Final = now
        start = now() if begun is None else begun
        self._end: Final = math.inf if budget is None else start + budget - back

    @property
    def left(self) -> float:
        return self._end - self._now()

    def stop_after(self, seconds: float) -> Callable[[int, int], None]:
        """A progress callback that raises OutOfTime once so many seconds are over."""
        end = self._now() + seconds

        def check(_done: int, _most: int) -> None:
            if self._now() > end:
                raise OutOfTime

        return check


class Shares:
    """Whose time is whose, of a table's cells in the order that they are played in.

    A share goes by weight. What cannot end early may take more of what is left, and could take all of it;
    searches, which come late for they make use of any time, are promised half of the share that they have
    at the beginning.
    """

    def __init__(self, clock: Clock, cells: Sequence[Column]) -> None:
        self._clock: Final = clock
        self._to_come = sum(each.weight for each in cells)
        self._searches = sum(each.weight for each in cells if each.stretches)
        limited = math.isfinite(clock.left) and clock.left > 0
        self._promised: Final = clock.left / self._to_come / 2 if limited else 0.0

    def of(self, column: Column) -> float:
        """Seconds: of what is left, the part of its weight among all cells that are to come, its own too."""
        return self._clock.left * column.weight / self._to_come

    def free(self, column: Column) -> float:
        """Seconds that it may take if it must."""
        return self._clock.left - (0.0 if column.stretches else self._promised * self._searches)

    def over(self, column: Column) -> None:
        """A cell of the column was played, or left."""
        self._to_come -= column.weight
        if column.stretches:
            self._searches -= column.weight


class Paces:
    """What earlier cells of a table took, in seconds, and so what a later one may be expected to take."""

    def __init__(self) -> None:
        self._longest: Final[dict[tuple[str, str], float]] = {}

    def expected(self, kind: str, name: str) -> float:
        """As long as it took at the longest; of what was not played yet, as long as others of its kind did,
        on average."""
        of_kind = [seconds for (each, _), seconds in self._longest.items() if each == kind]
        return self._longest.get((kind, name), fmean(of_kind) if of_kind else 0.0)

    def took(self, kind: str, name: str, seconds: float) -> None:
        self._longest[kind, name] = max(seconds, self._longest.get((kind, name), 0.0))
