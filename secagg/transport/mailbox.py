"""A client's side of one run's conversation: what has come, what is to go. Without a socket.

Two threads meet here. The caller's takes frames out of the inbox and puts answers into the outbox; gRPC's
does the reverse. A conversation outlives its streams: what was not sent whole is sent again on the next one,
and so is the answer to the last question, which may have been lost on the way; the server drops what it has.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Final

from secagg.errors import SecaggError, TransportError
from secagg.frames import (
    Answer,
    Finished,
    Frame,
    Rejected,
    Reply,
    Request,
    RoundClosed,
    TaskFrame,
)
from secagg.transport.envelopes import Question, question_of

__all__ = ["Answer", "Mailbox"]


_FRAMES: Final = 1000
"""Frames that may wait for the caller: an honest server never comes near."""


class Mailbox:
    """Thread-safe. Made for one `Connection`."""

    def __init__(self) -> None:
        self._lock: Final = threading.Condition()
        self._inbox: deque[Frame] = deque()
        self._outbox: deque[Answer] = deque()
        self._error: SecaggError | None = None
        self._ended = False
        self._held: Question | None = None
        self._answer: Answer | None = None

    # The caller's thread

    def take(self, timeout: float | None) -> Frame | None:
        """The next frame; None if none came in time. Raises what ended the conversation, once all is read."""
        with self._lock:
            self._lock.wait_for(lambda: self._inbox or self._error is not None, timeout)
            if self._inbox:
                return self._inbox.popleft()
            if self._error is not None:
                raise self._error
            return None

    def superseded(self, round_number: int) -> bool:
        """Whether a frame is waiting that ends this round."""
        with self._lock:
            return self._error is not None or any(_ends(frame, round_number) for frame in self._inbox)

    def answer(self, answer: Answer) -> None:
        """Put an answer into the outbox."""
        with self._lock:
            if self._held is not None and self._is_answer(answer, self._held):
                self._answer = answer
            self._outbox.append(answer)

    def wait_until_sent(self, seconds: float) -> None:
        """Wait until the outbox is empty, the conversation over, or `seconds` have passed."""
        with self._lock:
            self._lock.wait_for(lambda: not self._outbox or self._ended, seconds)

    # gRPC's thread

    def deliver(self, frame: Frame) -> None:
        """A whole frame has come. Raises TransportError `frame-unexpected` if nobody could read so many."""
        with self._lock:
            if len(self._inbox) >= _FRAMES:
                raise TransportError("frame-unexpected", f"more than {_FRAMES} frames wait to be read")
            if isinstance(frame, TaskFrame | Request):
                self._held, self._answer = question_of(frame), None
            self._inbox.append(frame)
            self._lock.notify_all()

    def end(self, error: SecaggError) -> None:
        """The conversation is over; the first reason counts."""
        with self._lock:
            self._error = self._error or error
            self._ended = True
            self._lock.notify_all()

    def resume(self) -> tuple[Question | None, bool]:
        """A new stream begins: what is held, and whether it is answered. Queues what may have been lost."""
        with self._lock:
            answer = self._answer
            if answer is not None and not any(queued is answer for queued in self._outbox):
                self._outbox.append(answer)
            return self._held, answer is not None

    def to_send(self) -> Answer | None:
        """The first answer in the outbox, which stays there until it is `sent`."""
        with self._lock:
            return self._outbox[0] if self._outbox else None

    def sent(self) -> None:
        """The first answer has left, or is not wanted."""
        with self._lock:
            self._outbox.popleft()
            self._lock.notify_all()

    @staticmethod
    def _is_answer(answer: Answer, held: Question) -> bool:
        if not held.stage:
            return answer.round == held.round and not isinstance(answer, Reply)
        return question_of(answer) == held


def _ends(frame: Frame, round_number: int) -> bool:
    match frame:
        case RoundClosed(closed):
            return closed >= round_number
        case TaskFrame(later):
            return later > round_number
        case Finished() | Rejected():
            return True
    return False
