"""Aggregation without protection: the server sees every vector. `kind = "none"`, and simulations.

The same interface as the protected sessions, so that nothing above can tell the difference, and the same ring
arithmetic, so that the sum is the same to the bit. A client's floor refuses it unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from secagg.canonical import Reader
from secagg.encoding.packing import add_packed, pack, packed_size
from secagg.encoding.ring import word
from secagg.errors import ProtocolError, ServerFault, TooFewClients
from secagg.prg import Ring
from secagg.session import Answers, SessionCache, Sum

__all__ = ["UnprotectedClient", "UnprotectedServer"]

_VERSION: Final = b"\x01"
_STAGE: Final = "upload"


class UnprotectedClient:
    """Sends its vector as it is, packed."""

    def __init__(self, *, context: bytes, bits: int, vector: Ring) -> None:
        self._context = context
        self._bits = bits
        self._vector: Ring | None = vector
        self._cache = SessionCache()

    @property
    def sent(self) -> bool:
        return self._vector is None

    @property
    def spent(self) -> bool:
        return self._vector is None

    def answer(self, request: bytes) -> bytes | bytearray:
        try:
            if (reply := self._cache.repeated(_STAGE, request)) is not None:
                return reply
        except ServerFault:
            self.close()
            raise
        if self._vector is None:
            raise ServerFault("session-closed", "this attempt is over at this client")
        try:
            reader = Reader(request, "upload request")
            version, context = reader.take(1), reader.take(32)
            reader.finish()
        except ProtocolError as error:
            self.close()
            raise ServerFault(error.code, error.message) from error
        if version != _VERSION or context != self._context:
            self.close()
            raise ServerFault("context-mismatch", "the server's task is not the one given to this client")
        reply = pack(self._vector, self._bits)
        self._vector = None
        self._cache.keep(_STAGE, request, reply)
        return reply

    def close(self) -> None:
        self._vector = None
        self._cache.forget()


class UnprotectedServer:
    """Adds the vectors of `clients`; refuses to end with fewer than `min_survivors`."""

    def __init__(
        self, *, context: bytes, bits: int, length: int, clients: Sequence[str], min_survivors: int
    ) -> None:
        self._bits = bits
        self._request = _VERSION + context
        self._clients = tuple(sorted(clients))
        self._min_survivors = min_survivors
        self._total = np.zeros(length, dtype=word(bits))
        self._answers = Answers()
        self._asked = frozenset(clients)
        self.stage = _STAGE

    @property
    def opens(self) -> bool:
        return self.stage == _STAGE

    @property
    def members(self) -> tuple[str, ...]:
        """Who was asked: what comes is seen as it comes."""
        return tuple(self.requests()) or tuple(sorted(self._answers))

    @property
    def key_holders(self) -> tuple[str, ...]:
        return ()

    @property
    def retryable(self) -> bool:
        """Never: the vectors have been seen."""
        return False

    @property
    def reply_limit(self) -> int:
        return packed_size(len(self._total), self._bits) if self.stage else 0

    @property
    def faults(self) -> Mapping[str, str]:
        return dict(self._answers.faults)

    @property
    def suspects(self) -> tuple[tuple[str, str], ...]:
        return ()

    def requests(self) -> dict[str, bytes]:
        return dict.fromkeys(self._clients, self._request) if self.stage else {}

    def receive(self, client: str, reply: bytes | bytearray | memoryview) -> None:
        self._answers.take(
            client, reply, asked=self._asked if self.stage else (), stage=_STAGE, receive=self._add
        )

    def _add(self, _client: str, reply: bytes | bytearray | memoryview) -> None:
        add_packed(reply, self._bits, self._total)

    def advance(self) -> None:
        if len(self._answers) < self._min_survivors:
            raise TooFewClients(_STAGE, self._min_survivors, len(self._answers))
        if self._bits < 8 * self._total.itemsize:
            self._total &= self._total.dtype.type((1 << self._bits) - 1)
        self.stage = ""

    def sum(self) -> Sum:
        if self.stage:
            raise ProtocolError("sum-not-open", "the stage 'upload' is not closed yet")
        return Sum(self._total, self.members)
