"""The one seam between a protocol and whatever carries it: a pair of sans-I/O sessions.

Bytes in, bytes out. A session knows nothing of sockets, clocks or threads. The server's side asks each
client for something in each stage, takes what comes, and closes the stage with whoever answered; the
client's side checks everything before it reveals anything. Masked, homomorphic and unprotected aggregation
all look like this, and the gRPC runtime, the simulation, the tests and the attack harness all drive the same
two objects.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from secagg.errors import ClientFault, SecaggError, ServerFault
from secagg.prg import Ring

__all__ = ["Answers", "ClientSession", "ServerSession", "SessionCache", "Sum"]


@dataclass(frozen=True, repr=False)
class Sum:
    """What a session ends with: the sum in the ring, and whose vectors are in it."""

    vector: Ring
    survivors: tuple[str, ...]


class ServerSession(Protocol):
    """The server's side of one attempt."""

    @property
    def stage(self) -> str:
        """The stage whose answers are awaited; "" after the last one."""

    @property
    def opens(self) -> bool:
        """Whether this stage's requests can open a sum; the ledger is written before they leave."""

    @property
    def members(self) -> tuple[str, ...]:
        """Whose vectors are in the sum that this stage can open; empty before that is known."""

    @property
    def key_holders(self) -> tuple[str, ...]:
        """Clients that hold a key to every vector of this attempt; empty where nobody does, or not yet."""

    @property
    def retryable(self) -> bool:
        """Whether a failure here may be followed by another attempt over the same vectors."""

    @property
    def reply_limit(self) -> int:
        """The largest reply of this stage, in bytes."""

    @property
    def faults(self) -> Mapping[str, str]:
        """Client -> code of what it provably did wrong."""

    @property
    def suspects(self) -> tuple[tuple[str, str], ...]:
        """Pairs of clients of whom one cheated, where nothing says which."""

    def requests(self) -> dict[str, bytes]:
        """What to ask of whom in this stage."""

    def receive(self, client: str, reply: bytes | bytearray | memoryview) -> None:
        """One client's answer, whole. Raises ClientFault, and goes on without that client."""

    def advance(self) -> None:
        """Closes the stage with whoever answered. Raises TooFewClients or another ProtocolError."""

    def sum(self) -> Sum:
        """After the last stage."""


class ClientSession(Protocol):
    """One client's side of one attempt."""

    @property
    def sent(self) -> bool:
        """Whether the vector has left, as the protocol sends it."""

    @property
    def spent(self) -> bool:
        """Whether a sum with this vector in it may have been opened; then it is never used again."""

    def answer(self, request: bytes) -> bytes | bytearray:
        """Checks a request and answers it. Raises ServerFault or FloorError, after erasing every secret."""

    def close(self) -> None:
        """Erases every secret and every cached reply."""


class SessionCache:
    """Same request, same bytes: the replies a client gave, by stage, with the digest of what was asked."""

    def __init__(self) -> None:
        self._replies: dict[str, tuple[bytes, bytes | bytearray]] = {}

    def repeated(self, stage: str, request: bytes) -> bytes | bytearray | None:
        """The reply given to this very request; None if the stage was not answered yet.

        Raises ServerFault `request-changed` when the stage was answered to another request.
        """
        if stage not in self._replies:
            return None
        digest, reply = self._replies[stage]
        if digest != hashlib.sha256(request).digest():
            raise ServerFault("request-changed", f"a second, different request for the stage '{stage}'")
        return reply

    def keep(self, stage: str, request: bytes, reply: bytes | bytearray) -> None:
        self._replies[stage] = (hashlib.sha256(request).digest(), reply)

    def forget(self) -> None:
        self._replies.clear()


class Answers:
    """A server's stage: one answer of each client, and the code of whoever broke the rules.

    mishaps: codes that keep a client out of the attempt and prove no lie.
    """

    def __init__(self, mishaps: frozenset[str] = frozenset()) -> None:
        self.faults: dict[str, str] = {}
        self._mishaps = mishaps
        self._digests: dict[str, bytes] = {}

    def __len__(self) -> int:
        return len(self._digests)

    def __iter__(self) -> Iterator[str]:
        """Who has answered."""
        return iter(self._digests)

    def take(
        self,
        client: str,
        reply: bytes | bytearray | memoryview,
        *,
        asked: Container[str],
        stage: str,
        receive: Callable[[str, bytes | bytearray | memoryview], None],
    ) -> None:
        """Hands `receive` the client's answer, once; the same answer again is the same answer.

        Raises ClientFault `reply-unexpected`, `two-answers`, or what `receive` found wrong.
        """
        if client not in asked:
            message = f"'{client}' was not asked in the stage '{stage}', or is late"
            raise ClientFault("reply-unexpected", message, client)
        digest = hashlib.sha256(reply).digest()
        if client in self._digests:
            if self._digests[client] != digest:
                self.faults[client] = "two-answers"
                raise ClientFault("two-answers", f"'{client}' answered '{stage}' twice, differently", client)
            return
        if client in self.faults:
            raise ClientFault(self.faults[client], f"'{client}' was left out of this attempt", client)
        try:
            receive(client, reply)
        except SecaggError as error:
            if error.code not in self._mishaps:
                self.faults[client] = error.code
            raise ClientFault(error.code, f"'{client}': {error.message}", client) from error
        self._digests[client] = digest

    def next_stage(self) -> None:
        """Faults stay; answers are the next stage's."""
        self._digests.clear()
