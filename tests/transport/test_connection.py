"""`secagg.transport.connection`: a client's side, which dials, dials again, and loses nothing on the way."""

from __future__ import annotations

import os
import socket
import threading
from concurrent import futures
from contextlib import suppress

import grpc
import pytest

from secagg.errors import TransportError
from secagg.frames import (
    WIRE_VERSION,
    Finished,
    Ready,
    Refusal,
    Rejected,
    Reply,
    Request,
    RoundClosed,
    TaskFrame,
    Welcome,
)
from secagg.transport.connection import Connection
from secagg.transport.envelopes import CHUNK, Chunk, Grant, Question
from secagg.transport.frames import encode
from secagg.transport.settings import JOIN, SERVICE
from tests.transport.world import SOON, WELCOME, Events, Wire, asking, enrol, in_background, serve, soon

ALICE = enrol("alice")
TASK = TaskFrame(1, 3, b"weights")
MASK = Request(1, 0, "mask", b"everyone")
LARGE = bytes(range(256)) * (3 * CHUNK // 256 + 1)


def dial(address, credentials=ALICE, **options) -> Connection:
    options.setdefault("pauses", (0.01, 0.05))
    return Connection(address, credentials, library_version="0.1.0", **options)


@pytest.fixture
def events():
    return Events()


@pytest.fixture
def link(events):
    with serve(events, grace=SOON) as link:
        yield link


@pytest.fixture
def wire(link):
    with Wire(link.address) as wire:
        yield wire


@pytest.fixture
def alice(wire):
    with dial(wire.address) as connection:
        assert connection.next(SOON) == WELCOME
        yield connection


def code_of(call) -> str:
    with pytest.raises(TransportError) as raised:
        call()
    return raised.value.code


# One stream


def test_a_round_goes_through(link, alice, tmp_path):
    model = tmp_path / "model.safetensors"
    model.write_bytes(LARGE)
    assert link.wait(1, SOON) == ("alice",)
    answers = asking(link, {"alice": TaskFrame(1, 3, model)})
    assert alice.next(SOON) == TaskFrame(1, 3, LARGE)
    alice.send(Ready(1))
    assert answers() == {"alice": Ready(1)}
    request = Request(1, 0, "mask", LARGE)
    answers = asking(link, {"alice": request})
    assert alice.next(SOON) == request
    alice.send(Reply(1, 0, "mask", LARGE))
    assert answers() == {"alice": Reply(1, 0, "mask", LARGE)}
    link.send({"alice": RoundClosed(1, True)})
    assert alice.next(SOON) == RoundClosed(1, True)
    link.send({"alice": Finished(3, LARGE)})
    assert alice.next(SOON) == Finished(3, LARGE)
    assert code_of(lambda: alice.next(SOON)) == "connection-ended"


def test_nothing_within_the_time_is_none(alice):
    assert alice.next(0.01) is None


def test_an_answer_no_server_would_accept_is_refused_to_the_caller(alice):
    assert code_of(lambda: alice.send(Refusal(1, 0, "", "Not a code"))) == "frame-malformed"


def test_a_declined_answer_does_not_stand_in_the_way_of_the_next(link, alice):
    link.wait(1, SOON)
    assert list(link.exchange({"alice": MASK}, seconds=0.01, limit=1)) == []
    assert alice.next(SOON) == MASK
    alice.send(Reply(1, 0, "mask", LARGE))
    answers = asking(link, {"alice": TASK})
    assert alice.next(SOON) == TASK
    alice.send(Ready(1))
    assert answers() == {"alice": Ready(1)}


@pytest.mark.parametrize(
    "frame", [RoundClosed(1, False), Request(2, 0, "mask", b""), TaskFrame(2, 3, b""), Finished(3, b"")]
)
def test_a_waiting_frame_that_ends_the_round_supersedes_it(link, alice, frame):
    assert not alice.superseded(1)
    link.wait(1, SOON)
    link.send({"alice": frame})
    link.send({"alice": RoundClosed(0, False)})
    soon(lambda: alice.superseded(1))
    assert alice.next(SOON) == frame
    assert not isinstance(frame, RoundClosed) or not alice.superseded(1)


def test_frames_of_an_earlier_round_supersede_nothing(link, alice):
    link.wait(1, SOON)
    link.send({"alice": RoundClosed(1, False)})
    link.send({"alice": TaskFrame(2, 3, b"")})
    soon(lambda: alice.superseded(1))
    assert not alice.superseded(2)


def test_a_dismissed_client_gets_the_reason_and_does_not_return(link, alice, events):
    link.wait(1, SOON)
    link.dismiss("alice", TransportError("share-forged", "a share did not match"))
    assert alice.next(SOON) == Rejected("share-forged", "a share did not match")
    soon(lambda: alice.superseded(99))
    assert code_of(lambda: alice.next(SOON)) == "connection-ended"
    events.wait("client-left", client="alice")
    assert link.wait(1, 0.1) == ()


def test_the_client_that_was_replaced_does_not_fight_back(link, alice):
    link.wait(1, SOON)
    with dial(link.address) as again:
        assert again.next(SOON) == WELCOME
        assert alice.next(SOON).code == "replaced"
        assert code_of(lambda: alice.next(SOON)) == "connection-ended"
        answers = asking(link, {"alice": TASK})
        assert again.next(SOON) == TASK
        again.send(Ready(1))
        assert answers() == {"alice": Ready(1)}


def test_closing_sends_what_was_to_be_sent(link, alice):
    answers = asking(link, {"alice": MASK})
    assert alice.next(SOON) == MASK
    alice.send(Reply(1, 0, "mask", LARGE))
    alice.close(SOON)
    assert answers() == {"alice": Reply(1, 0, "mask", LARGE)}
    assert code_of(lambda: alice.next(0)) == "connection-ended"


# Streams that break


def test_a_cut_wire_during_training_loses_neither_the_task_nor_the_answer(link, wire, alice, events):
    answers = asking(link, {"alice": TASK})
    assert alice.next(SOON) == TASK
    wire.cut(shut=True)
    events.wait("client-left", client="alice")
    alice.send(Ready(1))  # trained while the network was down
    wire.mend()
    assert answers() == {"alice": Ready(1)}
    assert alice.next(0.05) is None  # neither a second welcome nor the task again


def test_a_client_that_returns_while_it_trains_is_not_handed_another_task(link, wire, alice, events):
    link.wait(1, SOON)
    assert list(link.exchange({"alice": TASK}, seconds=0.05, limit=0)) == []
    assert alice.next(SOON) == TASK
    wire.cut()
    events.wait("client-left", client="alice")
    soon(lambda: [name for name, _ in events.seen].count("client-joined") == 2)
    assert link.wait(1, 0.05) == ()
    alice.send(Ready(1))
    assert link.wait(1, SOON) == ("alice",)


def test_an_answer_lost_on_the_way_is_sent_again(link, wire, alice, events):
    """The server hears the question's answer once, whenever the wire is cut."""
    for number in range(1, 6):
        request = Request(number, 0, "mask", b"")
        answers = asking(link, {"alice": request})
        assert alice.next(SOON) == request
        alice.send(Reply(number, 0, "mask", LARGE))
        wire.cut()
        assert answers() == {"alice": Reply(number, 0, "mask", LARGE)}


def test_a_task_cut_in_the_middle_is_sent_again_whole(link, wire, alice):
    for number in range(1, 6):
        task = TaskFrame(number, 9, LARGE)
        answers = asking(link, {"alice": task})
        wire.cut()
        assert alice.next(SOON) == task
        alice.send(Ready(number))
        assert answers() == {"alice": Ready(number)}


def test_a_client_survives_its_server(events):
    first = serve(events)
    with Wire(first.address) as wire, dial(wire.address) as alice:
        assert alice.next(SOON) == WELCOME
        first.wait(1, SOON)
        first.close(0.5)
        with serve(events) as second:
            wire.target = second.address
            assert second.wait(1, SOON) == ("alice",)
            second.send({"alice": RoundClosed(1, True)})
            assert alice.next(SOON) == RoundClosed(1, True)  # the same run: no second welcome


def test_another_run_is_welcomed_anew(events):
    first = serve(events)
    another = Welcome(WIRE_VERSION, b"another run", "{}")
    with Wire(first.address) as wire, dial(wire.address) as alice:
        assert alice.next(SOON) == WELCOME
        first.close(0.5)
        with serve(events, welcome=another) as second:
            wire.target = second.address
            assert alice.next(SOON) == another


def test_a_client_that_is_through_with_one_run_waits_for_the_next_on_the_same_port(events):
    first, log = serve(events), Events()
    another = Welcome(WIRE_VERSION, b"another run", "{}")
    with Wire(first.address) as wire:
        with dial(wire.address) as alice:
            first.wait(1, SOON)
            first.finish(Finished(3, b"model"))
            assert (alice.next(SOON), alice.next(SOON)) == (WELCOME, Finished(3, b"model"))
        events.wait("client-left")
        with dial(wire.address, log=log) as alice:
            log.wait("connection-lost", code="run-over")
            first.close()
            with serve(events, welcome=another) as second:
                wire.target = second.address
                assert alice.next(SOON) == another


def test_a_client_that_is_told_to_wait_gives_up_when_it_was_told_to(events):
    with serve(events) as link:
        link._switchboard.closing = True
        with dial(link.address, give_up_after=0.1) as alice:
            assert code_of(lambda: alice.next(SOON)) == "run-over"


def test_a_task_that_another_run_overtakes_is_not_owed_to_it(events):
    first = serve(events)
    another = Welcome(WIRE_VERSION, b"another run", "{}")
    with Wire(first.address) as wire, dial(wire.address) as alice:
        assert alice.next(SOON) == WELCOME
        first.wait(1, SOON)
        list(first.exchange({"alice": TASK}, seconds=0.05, limit=1))
        soon(lambda: alice.superseded(0))  # it has come, and nobody has taken it
        first.close(0.5)
        with serve(events, welcome=another) as second:
            wire.target = second.address
            assert second.wait(1, SOON) == ("alice",)
            assert alice.next(SOON) == another


def test_a_client_may_be_there_before_its_server(events):
    log = Events()
    with Wire("127.0.0.1:1") as wire, dial(wire.address, log=log) as alice:
        log.wait("connection-lost")
        with serve(events) as link:
            wire.target = link.address
            assert alice.next(SOON) == WELCOME


def test_a_client_gives_up_when_it_was_told_to():
    log = Events()
    alice = dial("127.0.0.1:1", give_up_after=0.1, log=log)
    with pytest.raises(TransportError) as raised:
        alice.next(SOON)
    assert raised.value.code == "unreachable"
    assert "connection refused" in raised.value.message
    assert log.wait("connection-lost")["code"] == "unreachable"


def test_closing_while_nobody_answers_does_not_hang():
    alice = dial("127.0.0.1:1", pauses=(60.0, 60.0))
    alice.send(Ready(1))
    alice.close(0.05)
    assert code_of(lambda: alice.next(0)) == "connection-ended"


def test_the_final_model_arrives_over_a_wire_that_is_cut(link, wire, alice):
    link.wait(1, SOON)
    link.send({"alice": Finished(3, LARGE)})
    wire.cut()
    assert alice.next(SOON) == Finished(3, LARGE)
    closing = in_background(lambda: (link.close(), "closed")[1])
    assert closing() == "closed"


# A proxy


def test_a_proxy_is_asked_to_connect(link):
    with (
        Wire(link.address, connect=True) as proxy,
        dial(link.address, proxy=f"http://user:pass%20word@{proxy.address}") as alice,
    ):
        assert alice.next(SOON) == WELCOME
    assert proxy.asked[0].startswith(f"CONNECT {link.address} HTTP/1.1\r\n")
    assert "authorization: basic dxnlcjpwyxnzihdvcmq=" in proxy.asked[0].lower()


def test_a_proxy_that_refuses_is_named():
    def refuse(listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listening.accept()
                near.recv(1000)
                near.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
                near.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=refuse, args=(listening,), daemon=True).start()
        proxy = f"http://127.0.0.1:{listening.getsockname()[1]}"
        alice = dial("aggregator.example:8443", proxy=proxy, give_up_after=0.1)
        with pytest.raises(TransportError) as raised:
            alice.next(SOON)
        listening.shutdown(socket.SHUT_RDWR)
    assert raised.value.code == "proxy-refused"
    assert "403" in raised.value.message


# Servers that are none


class RawServer:
    """A gRPC server with good credentials that says what a test wants."""

    def __init__(self, *messages: bytes, service: str = SERVICE) -> None:
        credentials = enrol("aggregator", "server")

        def join(requests, context):
            next(requests)
            yield from messages
            list(requests)

        self._pool = futures.ThreadPoolExecutor(4)
        self._server = grpc.server(self._pool, options=[("grpc.so_reuseport", 0)])
        handlers = {JOIN: grpc.stream_stream_rpc_method_handler(join)}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        port = self._server.add_secure_port(
            "127.0.0.1:0",
            grpc.ssl_server_credentials(
                [(credentials.key_pem(), credentials.certificate_pem)], credentials.authority_pem, True
            ),
        )
        self.address = f"127.0.0.1:{port}"
        self._server.start()

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(0).wait()
        self._pool.shutdown()


def what_a_client_makes_of(server: RawServer) -> str:
    with server, dial(server.address, limit=10 * CHUNK) as alice:

        def read() -> None:
            while True:
                assert alice.next(SOON) is not None

        return code_of(read)


def test_a_grpc_server_of_another_kind_is_named():
    assert what_a_client_makes_of(RawServer(service="another.v1.Service")) == "not-secagg"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"\xff", "frame-malformed"),
        (encode(Welcome(WIRE_VERSION + 1, b"", "")), "wire-version"),
        (encode(RoundClosed(1, True)), "frame-unexpected"),
        (bytes(2 * CHUNK), "frame-oversized"),
    ],
)
def test_a_server_that_does_not_welcome_is_left(message, code):
    assert what_a_client_makes_of(RawServer(message)) == code


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"", "frame-malformed"),
        (encode(Ready(1)), "frame-unexpected"),
        (encode(WELCOME), "frame-unexpected"),
        (encode(Chunk(0, b"x")), "frame-unexpected"),
        (encode(Grant(Question(1, 0, "mask"), True)), "frame-unexpected"),
        (b"\x52\x08\x12\x06\x08\xff\xff\xff\xff\x0f", "frame-oversized"),
    ],
)
def test_a_server_that_says_what_it_may_not_is_left(message, code):
    assert what_a_client_makes_of(RawServer(encode(WELCOME), message)) == code


def test_a_forked_child_is_told_to_be_spawned(link):
    import secagg.transport.loop as module

    original = module._threads[0].process
    try:
        module._threads[0].process = original + 1  # what a fork leaves: a thread of another process
        assert code_of(lambda: dial(link.address)) == "forked"
    finally:
        module._threads[0].process = original
    assert os.getpid() == original
