"""Upload slots: how many large bodies a server holds at once.

First come, first served, except that who lost a slot for being too slow comes last. A slot is taken from the
grant until the body has been used, so the memory a server spends on uploads is `count` bodies, however many
clients there are.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from secagg.transport.envelopes import Offer

__all__ = ["Ticket", "Upload", "UploadSlots"]


class Ticket:
    """A place in the queue, then a slot. `granted` is called when the turn comes. `last`: behind others."""

    def __init__(self, granted: Callable[[], None], *, last: bool = False) -> None:
        self.granted: Final = granted
        self.last: Final = last


@dataclass(eq=False)
class Upload:
    """A large reply, from its offer until it has been used."""

    client: str
    offer: Offer
    ticket: Ticket
    arriving: bool = False
    timer: asyncio.TimerHandle | None = None

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class UploadSlots:
    """`count` slots and those who wait for one. Not thread-safe: it lives on one event loop."""

    def __init__(self, count: int) -> None:
        if count < 1:
            raise ValueError("at least one upload slot is needed")
        self._free = count
        self._waiting: deque[Ticket] = deque()
        self._last: deque[Ticket] = deque()
        self._held: set[Ticket] = set()

    @property
    def waiting(self) -> int:
        """How many wait for a slot."""
        return len(self._waiting) + len(self._last)

    def ask(self, ticket: Ticket) -> None:
        """Queue up; granted at once if a slot is free."""
        self._queue(ticket).append(ticket)
        self._fill()

    def give_back(self, ticket: Ticket) -> None:
        """Leave: the slot if it was granted, else the place in the queue. Twice does nothing."""
        if ticket in self._held:
            self._held.remove(ticket)
            self._free += 1
            self._fill()
        elif ticket in self._queue(ticket):
            self._queue(ticket).remove(ticket)

    def _queue(self, ticket: Ticket) -> deque[Ticket]:
        return self._last if ticket.last else self._waiting

    def _fill(self) -> None:
        while self._free and (queue := self._waiting or self._last):
            ticket = queue.popleft()
            self._held.add(ticket)
            self._free -= 1
            ticket.granted()
