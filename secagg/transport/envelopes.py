"""What only the transport says, beside the frames of `secagg.frames`; and the sizes of messages.

Plain values: who may upload, what a returning client still holds, bodies that come in pieces. The coordinator
and the participant never see one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from secagg.frames import Finished, Frame, Hello, Ready, Refusal, Reply, Request, TaskFrame

__all__ = [
    "CHUNK",
    "INLINE",
    "MESSAGE_LIMIT",
    "Announced",
    "Chunk",
    "Grant",
    "Greeting",
    "Offer",
    "Question",
    "Sender",
    "Unit",
    "question_of",
]

INLINE: Final = 1 << 16
"""Bytes of a body that still lie in their frame."""
CHUNK: Final = 1 << 20
"""Bytes of every chunk but a body's last."""
MESSAGE_LIMIT: Final = CHUNK + INLINE
"""Bytes of the largest message either side reads."""

Sender = Literal["client", "server"]


@dataclass(frozen=True)
class Question:
    """What an answer belongs to: a task (attempt 0, no stage) or one stage of an attempt."""

    round: int
    attempt: int = 0
    stage: str = ""


@dataclass(frozen=True)
class Greeting:
    """client -> server: hello, the last question that arrived whole, and whether it has been answered."""

    hello: Hello
    holding: Question | None = None
    answered: bool = False


@dataclass(frozen=True)
class Offer:
    """client -> server: the reply to `question` is `length` bytes; may it come?"""

    question: Question
    length: int


@dataclass(frozen=True)
class Grant:
    """server -> client: the answer to the offer for `question`."""

    question: Question
    accepted: bool


@dataclass(frozen=True)
class Chunk:
    """A piece of the body that was announced or granted last."""

    offset: int
    data: bytes


@dataclass(frozen=True)
class Announced:
    """server -> client: `frame` without its body, of which `length` bytes follow in chunks."""

    frame: TaskFrame | Request | Finished
    length: int


Unit = Frame | Greeting | Offer | Grant | Chunk | Announced
"""What one message holds."""


def question_of(frame: TaskFrame | Ready | Request | Reply | Refusal) -> Question:
    """The question that a frame asks or answers."""
    if isinstance(frame, TaskFrame | Ready):
        return Question(frame.round)
    return Question(frame.round, frame.attempt, frame.stage)
