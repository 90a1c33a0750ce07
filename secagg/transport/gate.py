"""Accepts connections, and never runs out of file descriptors over it.

asyncio's own accept loop goes on accepting when descriptors are short, says so on standard error up to a
hundred times a second, and the first to notice is whoever opens a file next: the run. So accepting is ours: a
few at a time, and a pause when the system has none to give. `raise_limit` and `room` say how many connections
this process can afford.

What this is not: a judge of who may come in, which is the doorman (`secagg.transport.doorman`).
"""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

__all__ = ["Gate", "Room", "raise_limit", "room"]

_AT_ONCE: Final = 32
_PAUSE: Final = 1.0
_ENOUGH: Final = 1 << 16
_HANDSHAKES: Final = 256
_PER_CONNECTION: Final = 3
"""Descriptors of one that is inside: its socket, and both ends of the one to gRPC."""


@dataclass(frozen=True)
class Room:
    """How many may stand at the door, and how many be inside."""

    handshakes: int
    connections: int


def raise_limit() -> None:
    """Let this process open as many files as it may, up to 65 536."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def room() -> Room:
    """For three quarters of the descriptors that this process may have; the rest is the run's."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    ours = 3 * (_ENOUGH if soft == resource.RLIM_INFINITY else min(soft, _ENOUGH)) // 4
    handshakes = min(_HANDSHAKES, ours // 4)
    return Room(handshakes, max(1, (ours - handshakes) // _PER_CONNECTION))


class Gate:
    """Hands every connection that comes to `accepted`. Runs on one event loop; `listening` does not block."""

    def __init__(self, listening: socket.socket, accepted: Callable[[socket.socket], None]) -> None:
        self._listening: Final = listening
        self._accepted: Final = accepted
        self._pause: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Begin to accept."""
        asyncio.get_running_loop().add_reader(self._listening, self._accept)

    def close(self) -> None:
        """Accept no more, and close the listening socket."""
        if self._pause is not None:
            self._pause.cancel()
        if self._listening.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, _address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # no descriptors, or no memory: they come back when others leave
                loop = asyncio.get_running_loop()
                loop.remove_reader(self._listening)
                self._pause = loop.call_later(_PAUSE, self.open)
                return
            connection.setblocking(False)
            self._accepted(connection)
