"""The server's door: ends TLS with the standard library and passes the bytes on to gRPC behind it.

gRPC verifies certificates too, but tells Python neither that it turned somebody away nor why: its reason goes
to standard error, without the peer's address. A hospital whose certificate expired would meet a silent door.
So the door is ours. Each connection's handshake is done here (`secagg.transport.tls`); whoever fails is named
to `turned_away` with the reason and is sent the alert, and whoever passes is connected to gRPC's own socket,
in a directory that only this user can enter. Which certificate a connection showed is known by the name that
its inner end is bound to: gRPC reports it as the peer, and `caller` looks it up.

Whoever is at the door is nobody yet. So at most `Room.handshakes` stand there, for five seconds each, and
when one more comes the one that has stood there longest is sent away: silence cannot keep others out. Of
those inside there are at most `Room.connections`, and of one certificate the eight that came last.

What this is not: a check beyond TLS. Who may join is decided in `secagg.transport.server_stream`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from secagg.errors import TransportError
from secagg.transport.gate import Gate, Room, raise_limit, room
from secagg.transport.tls import words

__all__ = ["Caller", "Doorman"]

_READ: Final = 1 << 18
_BACKLOG: Final = 1 << 20
"""Bytes held for a slow reader, each way, before the fast writer is paused."""
_OF_ONE: Final = 8
"""Connections with one certificate: the one in use, and those whose end nobody has noticed yet."""


@dataclass(frozen=True)
class Caller:
    """Who is at the door: where from, and the certificate (DER) that TLS has verified."""

    address: str
    certificate: bytes


class Doorman:
    """Listens on `outer` and connects those who pass to the Unix socket `inner`, where gRPC listens.

    All of it runs on one event loop. `turned_away(address, error)` is told of everyone who failed.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        outer: socket.socket,
        turned_away: Callable[[str, TransportError], None],
        handshake_seconds: float = 5.0,
        most: Room | None = None,
    ) -> None:
        raise_limit()
        self.room: Final = most or room()
        self.context: Final = context
        self.turned_away: Final = turned_away
        self.handshake_seconds: Final = handshake_seconds
        self.buffer: Final = memoryview(bytearray(_READ))
        self._gate = Gate(outer, self._accepted)
        self._folder = Path(tempfile.mkdtemp(prefix="secagg-", dir=_short_folder()))
        self._callers: dict[str, Caller] = {}
        self._open: set[_Outside] = set()
        self._at_the_door: dict[_Outside, None] = {}
        self._inside: dict[bytes, dict[_Outside, None]] = {}
        self._count = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def inner(self) -> Path:
        """Where gRPC is to listen."""
        return self._folder / "grpc"

    def caller(self, peer: str) -> Caller | None:
        """Who stands behind gRPC's name for a peer; None for one that did not come through the door."""
        return self._callers.get(peer.rpartition("/")[2])

    async def start(self) -> None:
        """Open the door. gRPC listens already."""
        self._gate.open()

    async def close(self, seconds: float) -> None:
        """Let nobody in; wait until those inside have been sent all that was written, then shut."""
        self._gate.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), seconds)
        for outside in tuple(self._open):
            outside.abort()
        for task in tuple(self._tasks):
            task.cancel()
        shutil.rmtree(self._folder, ignore_errors=True)

    def came(self, outside: _Outside) -> None:
        self._open.add(outside)
        self._empty.clear()
        if len(self._at_the_door) >= self.room.handshakes:
            longest = next(iter(self._at_the_door))
            del self._at_the_door[longest]
            longest.fail(_crowded("too many others came to the door"))
        self._at_the_door[outside] = None

    def left(self, outside: _Outside) -> None:
        self._open.discard(outside)
        self._at_the_door.pop(outside, None)
        self._uncount(outside)
        if not self._open:
            self._empty.set()

    def _uncount(self, outside: _Outside) -> None:
        same = self._inside.get(outside.certificate, {})
        if outside in same:
            del same[outside]
            self._count -= 1
            if not same:
                del self._inside[outside.certificate]

    def let_in(self, outside: _Outside) -> None:
        """TLS has verified who it is."""
        self._at_the_door.pop(outside, None)
        same = self._inside.get(outside.certificate, {})
        if len(same) >= _OF_ONE:
            oldest = next(iter(same))
            self._uncount(oldest)
            oldest.abort()
        elif self._count >= self.room.connections:
            outside.abort()
            self.turned_away(outside.address, _crowded("the server has as many connections as it can hold"))
            return
        self._inside.setdefault(outside.certificate, {})[outside] = None
        self._count += 1
        self._start(self._connect(outside, Caller(outside.address, outside.certificate)))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _accepted(self, connection: socket.socket) -> None:
        self._start(self._meet(connection))

    async def _meet(self, connection: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: _Outside(self), connection)
        except OSError:
            connection.close()

    def forget(self, name: str) -> None:
        self._callers.pop(name, None)
        with suppress(FileNotFoundError):
            (self._folder / name).unlink()

    async def _connect(self, outside: _Outside, caller: Caller) -> None:
        loop = asyncio.get_running_loop()
        name = os.urandom(12).hex()
        connected = False
        try:
            inner = socket.socket(socket.AF_UNIX)
        except OSError:
            outside.abort()
            return
        try:
            self._callers[name] = caller
            inner.setblocking(False)
            inner.bind(str(self._folder / name))
            await loop.sock_connect(inner, str(self.inner))
            await loop.create_connection(lambda: _Inside(self, outside, name), sock=inner)
            connected = True
        except OSError:
            outside.abort()
        finally:
            if not connected:
                self.forget(name)
                inner.close()


class _Outside(asyncio.BufferedProtocol):
    """One TLS connection: ciphertext outside, plain bytes to and from its `_Inside`."""

    def __init__(self, doorman: Doorman) -> None:
        self._doorman = doorman
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = doorman.context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._verified = False
        self._inside: _Inside | None = None
        self.address = ""
        self.certificate = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=_BACKLOG)
        self.address = _printed(self.transport.get_extra_info("peername"))
        self._timer = asyncio.get_running_loop().call_later(
            self._doorman.handshake_seconds, self._failed, TimeoutError()
        )
        self._doorman.came(self)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        return self._doorman.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._incoming.write(self._doorman.buffer[:nbytes])
        self._advance()

    def eof_received(self) -> bool:
        self._incoming.write_eof()
        self._advance()
        return False

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        self._timer.cancel()
        if self._inside is not None:
            self._inside.transport.close()
        self._doorman.left(self)

    def pause_writing(self) -> None:
        if self._inside is not None:
            self._inside.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._inside is not None:
            self._inside.transport.resume_reading()

    def joined(self, inside: _Inside) -> None:
        """The inner connection stands: what came meanwhile goes in."""
        self._inside = inside
        if self.transport.is_closing():
            inside.transport.close()
            return
        self.transport.resume_reading()
        self._advance()

    def send(self, data: bytes) -> None:
        """Plain bytes from within, to be encrypted and sent."""
        view = memoryview(data)
        try:
            while view:
                view = view[self._tls.write(view) :]
        except ssl.SSLError:
            self.abort()
            return
        self._flush()

    def finish(self) -> None:
        """The inner connection ended: say so in TLS, send what is left, close."""
        with suppress(ssl.SSLError):
            self._tls.unwrap()
        self._flush()
        self.transport.close()

    def abort(self) -> None:
        self.transport.abort()

    def _advance(self) -> None:
        try:
            if not self._verified:
                self._tls.do_handshake()
                self._verified = True
                self._timer.cancel()
                self.transport.pause_reading()
                self.certificate = self._tls.getpeercert(binary_form=True) or b""
                self._doorman.let_in(self)
            elif self._inside is not None:
                self._pass_on(self._inside)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._failed(error)
            return
        self._flush()

    def _pass_on(self, inside: _Inside) -> None:
        plain = []
        try:
            while data := self._tls.read(_READ):
                plain.append(data)
            inside.transport.close()  # the other side said goodbye
        finally:
            inside.transport.writelines(plain)

    def fail(self, error: TransportError) -> None:
        """Let go of somebody who has not passed, and say why."""
        try:
            if not self._verified and not self.transport.is_closing():
                self._doorman.turned_away(self.address, error)
        finally:
            self._flush()  # the alert that tells the other side why
            self.transport.close()

    def _failed(self, error: ssl.SSLError | OSError) -> None:
        self.fail(words(error, here="server", peer=self.address))

    def _flush(self) -> None:
        if self._outgoing.pending:
            self.transport.write(self._outgoing.read())


class _Inside(asyncio.Protocol):
    """The other end of the same connection: plain bytes to and from gRPC."""

    def __init__(self, doorman: Doorman, outside: _Outside, name: str) -> None:
        self._doorman, self._outside, self._name = doorman, outside, name

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=_BACKLOG)
        self._outside.joined(self)

    def data_received(self, data: bytes) -> None:
        self._outside.send(data)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        self._doorman.forget(self._name)
        self._outside.finish()

    def pause_writing(self) -> None:
        self._outside.transport.pause_reading()

    def resume_writing(self) -> None:
        self._outside.transport.resume_reading()


def _crowded(what: str) -> TransportError:
    return TransportError(
        "door-crowded", what, "if these are no clients of yours, let a firewall keep them out"
    )


def _short_folder() -> str | None:
    """Where the socket goes: the name of a Unix socket is at most about 100 bytes long."""
    return None if len(os.fsencode(tempfile.gettempdir())) < 60 else "/tmp"  # noqa: S108 - mkdtemp makes it 0700


def _printed(name: object) -> str:
    """A peer's address as logs print it: host:port."""
    if not isinstance(name, tuple) or len(name) < 2:
        return "an unknown address"
    host, port = str(name[0]).removeprefix("::ffff:"), name[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
