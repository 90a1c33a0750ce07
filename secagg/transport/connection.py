"""A client's connection to its server, over gRPC.

Dials out, and goes on dialling: a stream that breaks is made anew after a pause that grows from 0.2 to 10
seconds, for as long as it takes. What would never pass by itself ends the connection, in words
(`secagg.transport.diagnosis`): a certificate that one side will not accept, a server that is none of ours.

gRPC runs on the process's own loop (`secagg.transport.loop`); the caller trains, and takes and gives frames,
in its own thread. What this is not: the client's side of the protocol, which is the participant's.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Final, Self

import grpc

from secagg.credentials import Credentials
from secagg.errors import SecaggError, TransportError
from secagg.frames import WIRE_VERSION, Frame, Hello, Welcome
from secagg.transport import loop
from secagg.transport.chunks import check
from secagg.transport.client_stream import ClientStream
from secagg.transport.diagnosis import PASSING, diagnose
from secagg.transport.envelopes import Greeting
from secagg.transport.mailbox import Answer, Mailbox
from secagg.transport.settings import METHOD, OPTIONS
from secagg.transport.target import Target

__all__ = ["Connection"]

_BODY_LIMIT: Final = 1 << 34
_GOODBYE_SECONDS: Final = 2.0


class Connection:
    """To one server, from now on until `close`. Thread-safe.

    `target`: `host:port`. `give_up_after`: seconds without a server after which the last reason is raised;
    None for never. `proxy`: its URL, "" for none, None for what the environment says. `limit`: the largest
    body the server may send, in bytes. `pauses`: the shortest and the longest between two attempts, in
    seconds. `log(event, **fields)` is called on the gRPC thread.

    Raises TransportError `target-malformed`, `proxy-malformed`.
    """

    def __init__(
        self,
        target: str,
        credentials: Credentials,
        *,
        library_version: str,
        give_up_after: float | None = None,
        proxy: str | None = None,
        limit: int = _BODY_LIMIT,
        pauses: tuple[float, float] = (0.2, 10.0),
        log: Callable[..., None] = lambda _event, **_fields: None,
    ) -> None:
        self._target: Final = Target.parse(target, proxy)
        self._credentials: Final = credentials
        self._version: Final = library_version
        self._give_up_after: Final = give_up_after
        self._limit: Final = limit
        self._pauses: Final = pauses
        self._log: Final = log
        self._mailbox: Final = Mailbox()
        self._welcome: Welcome | None = None
        self._welcomed_at = 0.0
        self._send_more: Final = asyncio.Event()
        self._stream: ClientStream | None = None
        self._done: Final = threading.Event()
        self._living: Final[Future[None]] = loop.submit(self._live())
        self._living.add_done_callback(lambda _: self._mailbox.end(_ended()))

    def next(self, timeout: float | None = None) -> Frame | None:
        """The next frame from the server; None if none came within `timeout` seconds.

        A returning server's welcome is a frame only if it differs from the last. After `Finished` or
        `Rejected` nothing comes. Every TaskFrame and Request must be answered by `send`.

        Raises TransportError: what ended the connection (`connection-ended` after the last frame).
        """
        try:
            return self._mailbox.take(timeout)
        except TransportError:
            if self._living.done() and not self._living.cancelled():
                self._living.result()  # raises what nobody foresaw
            raise

    def send(self, frame: Answer) -> None:
        """Answer. Does not wait; an answer that is lost on the way is sent again.

        Raises TransportError `frame-malformed` for what no server would accept.
        """
        check(frame)
        self._mailbox.answer(frame)
        loop.post(self._send_more.set)

    def superseded(self, round: int) -> bool:
        """Whether a frame that ends this round is waiting to be read."""
        return self._mailbox.superseded(round)

    def close(self, linger: float = 2.0) -> None:
        """Send what is left to be sent, for `linger` seconds at most, and hang up."""
        self._mailbox.wait_until_sent(linger)
        self._mailbox.end(_ended())
        stream = self._stream
        if stream is not None:
            loop.post(stream.end)
            self._done.wait(_GOODBYE_SECONDS)
        self._living.cancel()
        self._done.wait(_GOODBYE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _live(self) -> None:
        try:
            await self._keep_dialling()
        finally:
            self._done.set()

    async def _keep_dialling(self) -> None:
        clock = asyncio.get_running_loop().time
        self._welcomed_at = clock()
        shortest, longest = self._pauses
        pause = shortest
        while True:
            began = clock()
            try:
                if await self._converse():
                    self._mailbox.end(_ended())
                    return
                error: SecaggError = await self._reason(began)
            except SecaggError as caught:
                if caught.code not in PASSING:
                    self._mailbox.end(caught)
                    return
                error = caught
            if self._welcomed_at >= began:
                pause = shortest
            away = clock() - self._welcomed_at
            if self._give_up_after is not None and away + pause > self._give_up_after:
                self._mailbox.end(error)
                return
            seconds = pause * random.uniform(0.5, 1.0)  # noqa: S311 - so that clients do not return in step
            self._log("connection-lost", code=error.code, message=error.message, seconds=round(seconds, 1))
            await asyncio.sleep(seconds)
            pause = min(longest, 2 * pause)

    async def _reason(self, began: float) -> TransportError:
        """Why the stream ended; raises it if it cannot pass by itself."""
        if self._welcomed_at < began:
            error = await asyncio.to_thread(diagnose, self._target, self._credentials)
            if error is not None and error.code not in PASSING:
                raise error
            if error is not None:
                return error
        return TransportError("connection-lost", f"the connection to {self._target} broke")

    async def _converse(self) -> bool:
        """One stream, from dialling to its end. Whether the conversation is over."""
        credentials = grpc.ssl_channel_credentials(
            self._credentials.authority_pem, self._credentials.key_pem(), self._credentials.certificate_pem
        )
        options = (
            *OPTIONS,
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", 0),
            ("grpc.enable_http_proxy", int(self._target.proxy is not None)),
            ("grpc.http_proxy", self._target.proxy_url),
        )
        async with grpc.aio.secure_channel(str(self._target), credentials, options=options) as channel:
            stream = ClientStream(channel.stream_stream(METHOD)(), self._mailbox, self._limit)
            holding, answered = self._mailbox.resume()
            greeting = Greeting(Hello(WIRE_VERSION, self._version), holding, answered)
            self._stream = stream
            try:
                return await stream.live(greeting, self._welcomed, self._send_more)
            finally:
                self._stream = None

    def _welcomed(self, welcome: Welcome) -> None:
        self._welcomed_at = asyncio.get_running_loop().time()
        if welcome != self._welcome:
            self._welcome = welcome
            self._mailbox.deliver(welcome)


def _ended() -> TransportError:
    return TransportError("connection-ended", "the connection has ended", "make a new one")
