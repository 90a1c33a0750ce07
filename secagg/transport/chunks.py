"""Bodies of any size in chunks: cut into messages on one side, put together on the other.

`messages` and `body_messages` cut, from memory or from a file of which one chunk is held at a time.
`Assembly` puts together: it allocates a body once, when its length has been announced and found within the
limit, and fills it in place. Without a socket; every refusal has a code: `chunk-misplaced` (out of order,
overlapping, a gap), `chunk-length` (too long, or short before the end), `frame-unexpected` (a chunk nobody
announced, another frame between chunks), `frame-oversized` (a length above the limit, before a byte is held).

What this is not: a decision about who may upload when (`secagg.transport.slots`).
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from secagg.errors import TransportError
from secagg.frames import Finished, Rejected, Reply, Request, TaskFrame
from secagg.transport.envelopes import CHUNK, INLINE, Announced, Chunk, Offer, Question, Sender, Unit
from secagg.transport.frames import decode, encode, encode_chunk

__all__ = ["Assembly", "Body", "body_messages", "check", "messages"]

Body = bytes | bytearray | memoryview | Path


def messages(unit: Unit) -> Generator[bytes]:
    """All messages of one frame: itself, and its body's chunks if it has a long one.

    Raises TransportError `weights-unreadable` when a body is a file that cannot be read or that changes.
    """
    if not isinstance(unit, TaskFrame | Request | Finished):
        yield encode(unit)
        return
    body: Body = unit.body if isinstance(unit, Request) else unit.weights
    with _opened(body) as (length, pieces):
        if length > INLINE:
            yield encode(Announced(unit, length))
            yield from pieces
        elif isinstance(body, Path) and not isinstance(unit, Request):
            yield encode(replace(unit, weights=body.read_bytes()))
        else:
            yield encode(unit)


def check(unit: Unit) -> None:
    """Raises what `messages` would raise for anything but the body: known before it is queued."""
    match unit:
        case TaskFrame() | Request() | Finished():
            encode(Announced(unit, 0))
        case Reply():
            encode(replace(unit, body=b""))
        case _:
            encode(unit)


def body_messages(body: bytes | bytearray | memoryview) -> Iterator[bytes]:
    """The chunks of a body whose offer was granted."""
    view = memoryview(body).cast("B")
    for offset in range(0, len(view), CHUNK):
        yield encode_chunk(offset, view[offset : offset + CHUNK])


@contextmanager
def _opened(body: Body) -> Iterator[tuple[int, Iterator[bytes]]]:
    if not isinstance(body, Path):
        yield memoryview(body).nbytes, body_messages(body)
        return
    try:
        with body.open("rb") as file:
            length = os.fstat(file.fileno()).st_size
            yield length, _file_messages(file.fileno(), length)
    except OSError as error:
        raise TransportError(
            "weights-unreadable", f"the weights to be sent cannot be read: {error.strerror}"
        ) from error


def _file_messages(descriptor: int, length: int) -> Iterator[bytes]:
    for offset in range(0, length, CHUNK):
        wanted = min(CHUNK, length - offset)
        data = os.pread(descriptor, wanted, offset)
        if len(data) != wanted:
            raise TransportError("weights-unreadable", "the file of the weights to be sent became shorter")
        yield encode_chunk(offset, data)


@dataclass
class _Filling:
    """A body on its way in. `buffer` is None when nobody wants it any more: it is counted and dropped."""

    unit: Announced | Question
    length: int
    buffer: memoryview | None
    filled: int = 0


class Assembly:
    """One direction of one stream: messages in, whole frames out.

    `sender` is who sends them; `limit` the largest body in bytes that a server's frame may announce.
    """

    def __init__(self, sender: Sender, limit: int) -> None:
        self._sender: Sender = sender
        self._limit = limit
        self._filling: _Filling | None = None
        self._offered: Question | None = None

    @property
    def busy(self) -> bool:
        """Whether the other side owes chunks."""
        return self._filling is not None

    def feed(self, raw: bytes) -> Unit | None:
        """The frame that `raw` completes, or None. An `Offer` waits for `grant` or `decline`.

        Raises TransportError with the codes of this module and of `decode`.
        """
        unit = decode(raw, self._sender)
        if isinstance(unit, Chunk):
            return self._fill(unit)
        if isinstance(unit, Rejected):
            return unit
        if self._filling is not None or self._offered is not None:
            raise TransportError("frame-unexpected", f"a {type(unit).__name__} came in the middle of a body")
        if isinstance(unit, Announced):
            self._filling = _Filling(unit, unit.length, allocate(unit.length, self._limit))
            return None
        if isinstance(unit, Offer):
            self._offered = unit.question
        return unit

    def grant(self, offer: Offer, limit: int) -> None:
        """Make room for the offered body: its chunks come next. Raises TransportError `frame-oversized`."""
        self._filling = _Filling(offer.question, offer.length, allocate(offer.length, limit))
        self._offered = None

    def decline(self) -> None:
        """The offered body is not wanted; the next frame may come."""
        self._offered = None

    def abandon(self) -> None:
        """Let go of the body that is on its way; the rest of it is read and dropped."""
        if self._filling is not None:
            self._filling.buffer = None

    def _fill(self, chunk: Chunk) -> Unit | None:
        filling = self._filling
        if filling is None:
            raise TransportError("frame-unexpected", "a chunk came that nothing announced")
        if chunk.offset != filling.filled:
            raise TransportError(
                "chunk-misplaced", f"the chunk at byte {filling.filled} was next, and {chunk.offset} came"
            )
        expected = min(CHUNK, filling.length - filling.filled)
        if len(chunk.data) != expected:
            raise TransportError(
                "chunk-length", f"a chunk of {expected} bytes was next, and {len(chunk.data)} came"
            )
        if filling.buffer is not None:
            filling.buffer[chunk.offset : chunk.offset + expected] = chunk.data
        filling.filled += expected
        if filling.filled < filling.length:
            return None
        self._filling = None
        return None if filling.buffer is None else _whole(filling.unit, filling.buffer)


def allocate(length: int, limit: int) -> memoryview:
    """Room for a body, not touched: a length that is only claimed costs no memory.

    Raises TransportError `frame-oversized`.
    """
    if length > limit:
        raise TransportError(
            "frame-oversized",
            f"a body of {length} bytes was announced, and at most {limit} are accepted here",
            "both sides must work on the same model and plan",
        )
    try:
        return np.empty(length, dtype=np.uint8).data
    except MemoryError:
        raise TransportError(
            "frame-oversized", f"there is no memory for the {length} bytes that were announced"
        ) from None


def _whole(unit: Announced | Question, buffer: memoryview) -> Unit:
    if isinstance(unit, Question):
        return Reply(unit.round, unit.attempt, unit.stage, buffer)
    if isinstance(unit.frame, Request):
        return replace(unit.frame, body=bytes(buffer))
    return replace(unit.frame, weights=buffer)
