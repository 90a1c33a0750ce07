"""`secagg.transport.gate`: a server with few file descriptors, and somebody who would have them all."""

from __future__ import annotations

import asyncio
import errno
import multiprocessing
import resource
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from secagg.credentials import Credentials
from secagg.transport import gate
from secagg.transport.gate import Gate, Room, raise_limit, room
from secagg.transport.link import GrpcLink
from tests.transport.world import AUTHORITY, SOON, WELCOME, RawClient, enrol

FEW = 200


def little_process(given: tuple[bytes, bytes, bytes], done, results) -> None:
    """A server that may open `FEW` files, and opens twenty when the silent ones are there."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW, FEW))
    with GrpcLink(
        Credentials.from_pem(*given),
        "127.0.0.1:0",
        welcome=WELCOME,
        admit=lambda identity: None,
        log=lambda event, **fields: None,
    ) as link:
        results.put(link.address)
        done.get(timeout=30)
        with ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(Path("/dev/null").open())
        results.put(link.wait(1, SOON))


def test_a_thousand_silent_connections_take_neither_the_server_s_files_nor_a_client_s_place(capfd):
    server = enrol("aggregator", "server")
    spawn = multiprocessing.get_context("spawn")
    done, results = spawn.Queue(), spawn.Queue()
    given = (server.certificate_pem, server.key_pem(), AUTHORITY[1])
    serving = spawn.Process(target=little_process, args=(given, done, results))
    serving.start()
    host, port = results.get(timeout=30).split(":")
    raise_limit()
    with ExitStack() as stack:
        for _ in range(min(1000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200)):
            stack.enter_context(socket.create_connection((host, int(port)), SOON))
        with RawClient(f"{host}:{port}", enrol("alice")) as alice:
            assert alice.read() == WELCOME
            done.put(True)
            assert results.get(timeout=SOON) == ("alice",)
    serving.join(SOON)
    assert serving.exitcode == 0
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("descriptors", "expected"),
    [(100, Room(18, 19)), (1024, Room(192, 192)), (4096, Room(256, 938)), (1 << 20, Room(256, 16298))],
)
def test_a_quarter_of_the_descriptors_is_left_to_the_run(monkeypatch, descriptors, expected):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (descriptors, descriptors))
    assert room() == expected
    assert expected.handshakes + 3 * expected.connections <= 3 * descriptors // 4


@pytest.mark.parametrize(
    ("limits", "raised"),
    [
        ((1024, 4096), [(4096, 4096)]),
        ((1024, resource.RLIM_INFINITY), [(65536, resource.RLIM_INFINITY)]),
        ((1024, 1 << 20), [(65536, 1 << 20)]),
        ((1 << 20, 1 << 20), []),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), []),
    ],
)
def test_the_limit_of_open_files_is_raised_and_never_lowered(monkeypatch, limits, raised):
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: asked.append(wanted))
    raise_limit()
    assert asked == raised


class Short(socket.socket):
    """A listening socket of a process that has no descriptors left, twice."""

    left = 2

    def accept(self):
        if self.left:
            self.left -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


def test_a_gate_without_descriptors_waits_until_there_are_some(monkeypatch, capfd):
    monkeypatch.setattr(gate, "_PAUSE", 0.01)

    async def accept() -> None:
        listening = Short(socket.AF_INET)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.setblocking(False)
        came = asyncio.get_running_loop().create_future()
        door = Gate(listening, came.set_result)
        door.open()
        with socket.create_connection(listening.getsockname(), SOON):
            (await asyncio.wait_for(came, SOON)).close()
        door.close()
        door.close()

    asyncio.run(accept())
    assert capfd.readouterr().err == ""
