"""One stream on the client's side: gRPC on one hand, the mailbox on the other.

Answers leave one after the other. A large one is offered, and leaves in chunks when the server grants it; if
the server declines, the question is over and the answer is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import grpc

from secagg.errors import TransportError
from secagg.frames import WIRE_VERSION, Finished, Rejected, Reply, RoundClosed, TaskFrame, Welcome
from secagg.frames import Request as StageRequest
from secagg.transport.chunks import Assembly, body_messages
from secagg.transport.diagnosis import PASSING
from secagg.transport.envelopes import INLINE, Grant, Greeting, Offer, Question, Unit, question_of
from secagg.transport.frames import encode
from secagg.transport.mailbox import Answer, Mailbox
from secagg.transport.settings import BROKEN

__all__ = ["ClientStream"]

_WELCOME_SECONDS: Final = 20.0
_GOODBYE_SECONDS: Final = 2.0


class ClientStream:
    """One stream of a connection. `limit`: the largest body the server may send, in bytes."""

    def __init__(self, call: Any, mailbox: Mailbox, limit: int) -> None:
        self._call = call
        self._ending = asyncio.Event()
        self._mailbox = mailbox
        self._assembly = Assembly("server", limit)
        self._offered: Question | None = None
        self._granted: asyncio.Future[bool] | None = None

    async def live(
        self, greeting: Greeting, welcomed: Callable[[Welcome], None], send_more: asyncio.Event
    ) -> bool:
        """From hello to the end of the stream. Whether the conversation has ended with it.

        Raises TransportError when the server said what it may not, or is none of ours; and what it said when
        it turned this client away for now.
        """
        tasks: list[asyncio.Task[Any]] = []
        try:
            await self._call.write(encode(greeting))
            first = await asyncio.wait_for(self._read(), _WELCOME_SECONDS)
            if isinstance(first, Rejected):
                if first.code in PASSING:
                    raise TransportError(first.code, first.message, first.hint)
                self._mailbox.deliver(first)
                return True
            if first is None:
                return await self._broken()
            welcomed(_checked(first))
            reading = asyncio.ensure_future(self._listen())
            writing = asyncio.ensure_future(self._write(send_more))
            tasks = [reading, writing, asyncio.ensure_future(self._ending.wait())]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._ending.is_set():
                await self._hang_up(reading, writing)
                return True
            for task in tasks:
                if task.done():
                    task.result()
            return await self._broken()
        except (TimeoutError, *BROKEN):
            return await self._broken()
        finally:
            for task in tasks:
                task.cancel()
            self._call.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def end(self) -> None:
        """Hang up: nothing more is to be said."""
        self._ending.set()

    async def _listen(self) -> None:
        """Deliver what comes, until the end of the stream or a frame that nothing follows."""
        while (unit := await self._read()) is not None:
            match unit:
                case Grant():
                    self._answered(unit)
                case TaskFrame() | StageRequest() | RoundClosed():
                    self._mailbox.deliver(unit)
                case Finished() | Rejected():
                    self._mailbox.deliver(unit)
                    self._ending.set()
                case _:
                    raise TransportError(
                        "frame-unexpected", f"a {type(unit).__name__} came after the welcome"
                    )
            del unit  # it may be large, and the next one may be hours away

    async def _read(self) -> Unit | None:
        """The next whole frame; None at the end."""
        while (raw := await self._call.read()) is not grpc.aio.EOF:
            unit = self._assembly.feed(raw)
            if unit is not None:
                return unit
        return None

    async def _write(self, send_more: asyncio.Event) -> None:
        while True:
            send_more.clear()
            while (answer := self._mailbox.to_send()) is not None:
                await self._send(answer)
                self._mailbox.sent()
            del answer
            await send_more.wait()

    async def _send(self, answer: Answer) -> None:
        if not isinstance(answer, Reply) or memoryview(answer.body).nbytes <= INLINE:
            await self._call.write(encode(answer))
            return
        self._offered = question_of(answer)
        self._granted = asyncio.get_running_loop().create_future()
        await self._call.write(encode(Offer(self._offered, memoryview(answer.body).nbytes)))
        if await self._granted:
            for message in body_messages(answer.body):
                await self._call.write(message)

    def _answered(self, grant: Grant) -> None:
        if self._granted is None or self._granted.done() or grant.question != self._offered:
            raise TransportError("frame-unexpected", "a grant came for what was not offered")
        self._granted.set_result(grant.accepted)

    async def _hang_up(self, reading: asyncio.Task[None], writing: asyncio.Task[None]) -> None:
        """Close this side, which tells the server that all has arrived, and wait for the server to follow."""
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        if not self._call.done():
            with suppress(*BROKEN):
                await self._call.done_writing()
            await asyncio.wait({reading}, timeout=_GOODBYE_SECONDS)

    async def _broken(self) -> bool:
        """False, for a stream that broke and may be made anew; raises if the server is none of ours."""
        code = await self._call.code() if self._call.done() else None
        if code is grpc.StatusCode.UNIMPLEMENTED:
            raise TransportError(
                "not-secagg", "a gRPC server answered that is no secagg server", "check the address"
            )
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise TransportError("frame-oversized", "a message came that is larger than any of this version")
        return False


def _checked(unit: Unit) -> Welcome:
    if not isinstance(unit, Welcome):
        raise TransportError("frame-unexpected", f"a welcome was expected, and a {type(unit).__name__} came")
    if unit.wire != WIRE_VERSION:
        raise TransportError(
            "wire-version",
            f"the server speaks version {unit.wire} of the wire protocol, "
            f"and this client version {WIRE_VERSION}",
            "install releases with the same wire version on both sides; the README has the table",
        )
    return unit
