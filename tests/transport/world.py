"""What the transport's tests are made of: credentials good and bad, a log to wait on, a wire to cut."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import grpc

from secagg.certificates import Authority
from secagg.credentials import Credentials
from secagg.enrolment import issue_credentials, new_authority
from secagg.frames import WIRE_VERSION, Hello, Request, TaskFrame, Welcome
from secagg.transport.chunks import Assembly, messages
from secagg.transport.envelopes import CHUNK, Greeting, Unit
from secagg.transport.link import GrpcLink
from secagg.transport.settings import METHOD

LONG_AGO = datetime.now(UTC) - timedelta(days=100)
AUTHORITY = new_authority("authority", now=LONG_AGO)
OTHER = new_authority("another", now=LONG_AGO)
WELCOME = Welcome(WIRE_VERSION, b"0123456789abcdef", '{"run": {"name": "digits"}}')
SOON = 10.0
"""Seconds after which a test has failed; nothing here takes as long."""


def enrol(name: str, role: str = "client", *, authority=AUTHORITY, trust=AUTHORITY, expired: bool = False):
    """Credentials, with `trust` as the authority they believe in. `expired`: since 90 days."""
    made = issue_credentials(
        name,
        role,
        authority,
        hosts=("localhost", "127.0.0.1") if role == "server" else (),
        now=LONG_AGO if expired else None,
        days=10 if expired else 365,
    )
    return Credentials(made.identity, Authority.from_pem(trust[1]), made.certificate, made._key)


ALICE, BOB, CAROL = enrol("alice"), enrol("bob"), enrol("carol")
TASK = TaskFrame(1, 3, b"weights")
MASK = Request(1, 0, "mask", b"everyone")
LARGE = 3 * CHUNK + 5


class Events:
    """A log that a test can wait on."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict]] = []
        self._changed = threading.Condition()

    def __call__(self, event: str, **fields: object) -> None:
        with self._changed:
            self.seen.append((event, fields))
            self._changed.notify_all()

    def wait(self, event: str, **fields: object) -> dict:
        """The first entry of that name with those fields."""

        def found() -> dict | None:
            for name, entry in self.seen:
                if name == event and all(entry.get(key) == value for key, value in fields.items()):
                    return entry
            return None

        with self._changed:
            entry = self._changed.wait_for(found, SOON)
        assert entry is not None, f"no {event} {fields} in {self.seen}"
        return entry


def serve(events: Events | None = None, **options) -> GrpcLink:
    """A link on a free port of this machine."""
    options.setdefault("welcome", WELCOME)
    options.setdefault("admit", lambda identity: None)
    return GrpcLink(enrol("aggregator", "server"), "127.0.0.1:0", log=events or Events(), **options)


class RawClient:
    """A client that says whatever a test wants: gRPC with good credentials, and nothing of ours above it."""

    def __init__(self, address: str, credentials: Credentials, greeting: Unit | None = None) -> None:
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._channel = grpc.secure_channel(
            address,
            grpc.ssl_channel_credentials(
                credentials.authority_pem, credentials.key_pem(), credentials.certificate_pem
            ),
            options=[("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)],
        )
        self._call = self._channel.stream_stream(METHOD)(iter(self._outgoing.get, None), timeout=SOON)
        self._assembly = Assembly("server", 1 << 30)
        self.send(greeting or Greeting(Hello(WIRE_VERSION, "raw")))

    def send(self, unit: Unit) -> None:
        for message in messages(unit):
            self._outgoing.put(message)

    def send_bytes(self, message: bytes) -> None:
        self._outgoing.put(message)

    def read(self) -> Unit | None:
        """The next frame; None at the end of the stream."""
        with suppress(StopIteration):
            while True:
                unit = self._assembly.feed(next(self._call))
                if unit is not None:
                    return unit
        return None

    def hang_up(self) -> None:
        """Close this side, and read until the server has closed its own."""
        self._outgoing.put(None)
        while self.read() is not None:
            pass

    def close(self) -> None:
        self._outgoing.put(None)
        self._call.cancel()
        self._channel.close()

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Wire:
    """A TCP relay to `target` that a test can cut, or hold shut. With `connect`, an HTTP proxy."""

    def __init__(self, target: str, *, connect: bool = False) -> None:
        self.target = target
        self.asked: list[str] = []
        self._connect = connect
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._shut = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, *, shut: bool = False) -> None:
        """Break all connections; `shut`: and let no new one through."""
        with self._lock:
            self._shut = shut
            for end in self._open:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            self._open.clear()

    def mend(self) -> None:
        """Let new connections through again."""
        with self._lock:
            self._shut = False

    def close(self) -> None:
        self.cut(shut=True)
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with suppress(OSError), near:
            if self._connect:
                self._answer_connect(near)
            host, port = self.target.rsplit(":", 1)
            with socket.create_connection((host, int(port)), SOON) as far:
                with self._lock:
                    if self._shut:
                        return
                    self._open |= {near, far}
                back = threading.Thread(target=_pump, args=(far, near), daemon=True)
                back.start()
                _pump(near, far)
                back.join()

    def _answer_connect(self, near: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += near.recv(1)
        self.asked.append(head.decode())
        near.sendall(b"HTTP/1.1 200 OK\r\n\r\n")


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def read_all(frames: Iterator[tuple[str, object]]) -> dict[str, object]:
    """An exchange's answers by client."""
    return dict(frames)


def ask(link, frames, *, seconds=SOON, limit=10 * CHUNK):
    return link.exchange(frames, seconds=seconds, limit=limit)


def soon(condition) -> None:
    """Wait for what happens in another thread and tells nobody: there is no way but to look again."""
    waiting = threading.Event()
    for _ in range(1000):
        if condition():
            return
        waiting.wait(0.005)
    raise AssertionError("it did not come")


def in_background(function, *arguments):
    """Run an exchange while the test plays the client."""
    answers: list = []
    thread = threading.Thread(target=lambda: answers.append(function(*arguments)))
    thread.start()

    def result():
        thread.join(SOON)
        assert answers
        return answers[0]

    return result


def asking(link, frames, **options):
    return in_background(lambda: read_all(ask(link, frames, **options)))
