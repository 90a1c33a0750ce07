"""`secagg.transport.doorman`: who stands at the door, who is let in, and who is let go."""

from __future__ import annotations

import socket
import ssl
from contextlib import ExitStack, suppress

from secagg.errors import RunError
from secagg.transport.gate import Room
from secagg.transport.tls import client_context
from tests.transport.world import SOON, WELCOME, Events, RawClient, enrol, serve, soon


def knock(link) -> socket.socket:
    host, port = link.address.split(":")
    return socket.create_connection((host, int(port)), SOON)


def pass_the_door(link, name: str) -> ssl.SSLSocket:
    return client_context(enrol(name)).wrap_socket(knock(link), server_hostname="localhost")


def test_who_knocks_and_says_nothing_is_let_go():
    events = Events()
    with serve(events) as link:
        link._doorman.handshake_seconds = 0.05
        with knock(link) as silent:
            assert silent.recv(1) == b""
        events.wait("connection-refused", code="tls-broken-off")


def test_who_passes_the_door_and_says_no_hello_is_let_go_by_its_own_leave():
    events = Events()
    with serve(events) as link:
        with pass_the_door(link, "alice") as secure:
            secure.sendall(b"this is not HTTP/2 at all, and it does not become it")
            while secure.recv(1 << 16):
                pass  # until the server hangs up
        assert link.wait(1, 0) == ()


def test_when_the_door_is_crowded_who_has_stood_there_longest_is_let_go_and_a_client_gets_in():
    events = Events()
    with serve(events) as link, ExitStack() as stack:
        link._doorman.room = Room(handshakes=3, connections=10)
        silent = [stack.enter_context(knock(link)) for _ in range(6)]
        for early in silent[:3]:
            assert early.recv(1) == b""
        events.wait("connection-refused", code="door-crowded")
        with RawClient(link.address, enrol("alice")) as alice:
            assert alice.read() == WELCOME


def test_a_server_that_is_full_lets_nobody_in_until_somebody_leaves():
    events = Events()
    with serve(events) as link:
        link._doorman.room = Room(handshakes=3, connections=1)
        with pass_the_door(link, "alice") as first:
            assert first.recv(1)  # gRPC's settings: it is inside
            with pass_the_door(link, "bob") as second, suppress(OSError):
                assert second.recv(1) == b""
            events.wait("connection-refused", code="door-crowded")
        soon(lambda: not link._doorman._open)
        with RawClient(link.address, enrol("bob")) as bob:
            assert bob.read() == WELCOME


def test_of_many_connections_with_one_certificate_the_last_eight_stay():
    events, alice = Events(), enrol("alice")
    with serve(events) as link, ExitStack() as stack:
        several = []
        for _ in range(10):
            secure = client_context(alice).wrap_socket(knock(link), server_hostname="localhost")
            several.append(stack.enter_context(secure))
            assert secure.recv(1)
        for early in several[:2]:
            with suppress(OSError):
                while early.recv(1 << 16):
                    pass
        soon(lambda: len(link._doorman._open) == 8)
        with RawClient(link.address, enrol("bob")) as bob:
            assert bob.read() == WELCOME


def test_a_log_that_fails_leaves_no_connection_open():
    def log(event, **fields):
        raise RunError("run-unwritable", "the disk is full")

    with serve(log) as link:
        link._doorman.handshake_seconds = 0.05
        with knock(link) as silent:
            assert silent.recv(1) == b""
        with knock(link) as loud:
            loud.sendall(b"GET / HTTP/1.1\r\n\r\n")
            while loud.recv(1 << 10):
                pass
        soon(lambda: not link._doorman._open)
