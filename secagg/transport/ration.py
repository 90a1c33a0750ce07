"""A log that outsiders cannot fill: so many entries a minute, and of the rest the count.

Anybody who reaches the port can be refused as often as they like, and each refusal is worth a line only as
long as somebody could read them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

__all__ = ["Ration"]


class Ration:
    """In `seconds`, `most` entries go to `log(event, **fields)`, then one `more` with the count of the rest.

    Runs on one event loop.
    """

    def __init__(
        self, log: Callable[..., None], event: str, more: str, *, most: int = 20, seconds: float = 60.0
    ) -> None:
        self._log: Final = log
        self._event, self._more = event, more
        self._most, self._seconds = most, seconds
        self._passed = 0
        self._rest = 0
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self, **fields: object) -> None:
        """One entry."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self.flush)
        if self._passed < self._most:
            self._passed += 1
            self._log(self._event, **fields)
        else:
            self._rest += 1

    def flush(self) -> None:
        """Say how many were left out, and begin anew."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        rest, self._rest, self._passed = self._rest, 0, 0
        if rest:
            self._log(self._more, count=rest)
