"""Listening in: a link that shows a function every frame of every round, as the server sends or receives it.

What an honest-but-curious server sees is what goes through here, captured from the real pipeline: the attack
harness and the demo work on it. The frames themselves pass unchanged. What is not shown: `Welcome`, which
comes before any round, and `Finished`, which comes after the last; neither has an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from secagg.coordinator import Link
from secagg.errors import SecaggError
from secagg.frames import Answer, Finished, Frame, Question

__all__ = ["SERVER", "Tap", "TappedLink"]

SERVER: Final = "server"
"""The server's name in a tap; a client's is its certificate's."""

Tap = Callable[[str, str, Frame], None]
"""`tap(sender, receiver, frame)`: called before a frame is sent on, or after it was received.

A task's weights are the path of a checkpoint that later rounds may remove: read it at once.
"""


class TappedLink:
    """Another link, with a tap on it."""

    def __init__(self, link: Link, tap: Tap) -> None:
        self._link = link
        self._tap = tap

    def wait(self, count: int, seconds: float) -> tuple[str, ...]:
        return self._link.wait(count, seconds)

    def exchange(
        self, frames: Mapping[str, Question], *, seconds: float, limit: int
    ) -> Iterator[tuple[str, Answer]]:
        self._show(frames)
        for client, answer in self._link.exchange(frames, seconds=seconds, limit=limit):
            self._tap(client, SERVER, answer)
            yield client, answer

    def send(self, frames: Mapping[str, Frame]) -> None:
        self._show(frames)
        self._link.send(frames)

    def finish(self, frame: Finished) -> None:
        self._link.finish(frame)

    def fail(self, error: SecaggError) -> None:
        self._link.fail(error)

    def dismiss(self, client: str, error: SecaggError) -> None:
        self._link.dismiss(client, error)

    def _show(self, frames: Mapping[str, Frame] | Mapping[str, Question]) -> None:
        for client, frame in frames.items():
            self._tap(SERVER, client, frame)
