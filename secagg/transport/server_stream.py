"""One client's stream on the server's side: gRPC on one hand, the switchboard on the other.

Reads in one task and writes in another. Frames leave in the order they were queued; a rejection does not
wait for its turn, and comes at the latest after the chunk that is being sent. Whoever sends what no client
may send is rejected with the code, and its stream ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import Any, Final

import grpc

from secagg.credentials import Authority, Identity
from secagg.errors import SecaggError, TransportError
from secagg.frames import WIRE_VERSION, Finished, Frame, Ready, Refusal, Rejected, Reply, Welcome
from secagg.transport.chunks import Assembly, messages
from secagg.transport.doorman import Caller
from secagg.transport.envelopes import Grant, Greeting, Offer, Unit
from secagg.transport.frames import encode
from secagg.transport.settings import BROKEN
from secagg.transport.switchboard import Log, Switchboard

__all__ = ["Reception", "ServerStream"]

_GREETING_SECONDS: Final = 10.0
_FAREWELL_SECONDS: Final = 2.0
"""For the last words to somebody who may not be listening."""


class Reception:
    """Where streams begin: checks who comes, and gives each its place at the switchboard.

    `admit` raises a SecaggError to turn an identity away. `stall`: seconds without a chunk after which a
    granted upload, and its stream, are given up.
    """

    def __init__(
        self,
        authority: Authority,
        welcome: Welcome,
        admit: Callable[[Identity], None],
        switchboard: Switchboard,
        stall: float,
        log: Log,
    ) -> None:
        self._authority, self._welcome, self._admit = authority, welcome, admit
        self._switchboard, self._stall, self._log = switchboard, stall, log
        self.streams: Final[set[ServerStream]] = set()
        self._ended: Final = asyncio.Event()

    async def receive(self, caller: Caller, context: Any) -> None:
        """One RPC, from hello to the end."""
        stream = ServerStream(context, self._stall)
        self.streams.add(stream)
        try:
            await self._receive(caller, stream)
        finally:
            self.streams.discard(stream)
            self._ended.set()

    async def one_ended(self, seconds: float) -> None:
        """Wait until a stream ends, or for `seconds`."""
        self._ended.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), seconds)

    async def _receive(self, caller: Caller, stream: ServerStream) -> None:
        name = ""
        try:
            identity = self._authority.identify(caller.certificate, role="client", now=datetime.now(UTC))
            name = identity.name
            greeting = await stream.greeting()
            self._admit(identity)
            if greeting is not None:
                self._switchboard.check_not_over(name, greeting)
        except SecaggError as error:
            await stream.turn_away(error)
            self._rejected(name, caller, error)
            return
        if greeting is None:
            return
        self._log("client-joined", client=name, peer=caller.address, version=greeting.hello.version)
        stream.enqueue(self._welcome)
        self._switchboard.join(name, stream, greeting)
        may_return = True
        try:
            await stream.live(lambda unit: self._switchboard.receive(name, stream, unit))
        except TransportError as error:
            may_return = False
            self._rejected(name, caller, error)
        finally:
            self._switchboard.leave(
                name, stream, may_return=may_return, has_farewell=stream.ended_after_the_model
            )
            self._log("client-left", client=name, peer=caller.address)

    def _rejected(self, name: str, caller: Caller, error: SecaggError) -> None:
        self._log("client-rejected", client=name, peer=caller.address, code=error.code, message=error.message)


class ServerStream:
    """One stream. Its methods are called on the event loop."""

    def __init__(self, context: Any, stall: float) -> None:
        self._context = context
        self._stall = stall
        self._loop = asyncio.get_running_loop()
        self._assembly = Assembly("client", 0)
        self._outbox: asyncio.Queue[Unit | None] = asyncio.Queue()
        self._last: Rejected | None = None
        self._over = asyncio.Event()
        self._model_sent = False
        self.ended_after_the_model = False
        self.progress = self._loop.time()

    def enqueue(self, unit: Frame | Grant) -> None:
        """Send `unit` after all that was queued before."""
        self._outbox.put_nowait(unit)

    def finish(self) -> None:
        """End the stream after all that is queued."""
        self._outbox.put_nowait(None)

    def make_room(self, offer: Offer, limit: int) -> None:
        """Grant an offer."""
        try:
            self._assembly.grant(offer, limit)
        except TransportError as error:
            self.reject(error)
            return
        self.progress = self._loop.time()
        self._loop.call_later(self._stall, self._watch_upload)
        self.enqueue(Grant(offer.question, True))

    def decline(self, offer: Offer) -> None:
        """Refuse an offer."""
        self._assembly.decline()
        self.enqueue(Grant(offer.question, False))

    def abandon(self) -> None:
        """Drop the body that is on its way."""
        self._assembly.abandon()

    def reject(self, error: SecaggError) -> None:
        """Say why, and end the stream."""
        self._last = Rejected(error.code, error.message, error.hint)
        self._outbox.put_nowait(None)
        self._loop.call_later(_FAREWELL_SECONDS, self._over.set)

    async def greeting(self) -> Greeting | None:
        """The first frame; None if nobody stayed to say hello."""
        try:
            unit = await asyncio.wait_for(self._read(), _GREETING_SECONDS)
        except TimeoutError:
            raise TransportError("hello-missing", "no hello came after the connection was made") from None
        if unit is None:
            return None
        if not isinstance(unit, Greeting):
            raise TransportError(
                "frame-unexpected", f"a hello was expected, and a {type(unit).__name__} came"
            )
        if unit.hello.wire != WIRE_VERSION:
            raise TransportError(
                "wire-version",
                f"the client speaks version {unit.hello.wire} of the wire protocol, "
                f"and this server version {WIRE_VERSION}",
                "install releases with the same wire version on both sides; the README has the table",
            )
        return unit

    async def turn_away(self, error: SecaggError) -> None:
        """Reject somebody who never had a place."""
        self.reject(error)
        with suppress(TimeoutError, *BROKEN):
            await asyncio.wait_for(self._write(), _FAREWELL_SECONDS)

    async def live(self, receive: Callable[[Ready | Reply | Refusal | Offer], None]) -> None:
        """Read and write until either side ends the stream.

        Raises TransportError when the client sent what it may not, after having told it.
        """
        writing = asyncio.ensure_future(self._write())
        reading = asyncio.ensure_future(self._listen(receive))
        over = asyncio.ensure_future(self._over.wait())
        tasks = {writing, reading, over}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if reading.done() and isinstance(error := reading.exception(), TransportError):
                self.reject(error)
                await asyncio.wait({writing, over}, return_when=asyncio.FIRST_COMPLETED)
                raise error
            if writing.done() and self._model_sent:
                # Who has the whole model hangs up first.
                await asyncio.wait({reading, over}, return_when=asyncio.FIRST_COMPLETED)
            self.ended_after_the_model = (
                self._model_sent and reading.done() and not reading.cancelled() and not reading.exception()
            )
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception) and not isinstance(outcome, BROKEN):
                raise outcome

    async def _listen(self, receive: Callable[[Ready | Reply | Refusal | Offer], None]) -> None:
        while (unit := await self._read()) is not None:
            if not isinstance(unit, Ready | Reply | Refusal | Offer):
                raise TransportError("frame-unexpected", f"a {type(unit).__name__} came after the greeting")
            receive(unit)
            del unit  # it may be large, and the next one may be hours away

    async def _read(self) -> Unit | None:
        """The next whole frame; None at the end."""
        while (raw := await self._context.read()) is not grpc.aio.EOF:
            self.progress = self._loop.time()
            unit = self._assembly.feed(raw)
            if unit is not None:
                return unit
        return None

    async def _write(self) -> None:
        while self._last is None and (unit := await self._outbox.get()) is not None:
            with closing(messages(unit)) as pieces:
                for message in pieces:
                    await self._context.write(message)
                    self.progress = self._loop.time()
                    if self._last is not None:
                        break
                else:
                    self._model_sent = isinstance(unit, Finished)
            del unit, pieces
        if self._last is not None:
            await self._context.write(encode(self._last))

    def _watch_upload(self) -> None:
        """Give up a stream whose granted upload does not come on."""
        left = self.progress + self._stall - self._loop.time()
        if self._assembly.busy and left <= 0:
            self._over.set()
        elif self._assembly.busy:
            self._loop.call_later(left, self._watch_upload)
