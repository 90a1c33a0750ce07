"""A server's memory is its upload slots, however many clients upload: a real process, its high-water mark."""

from __future__ import annotations

import multiprocessing
import threading
from pathlib import Path

import pytest

from secagg.credentials import Credentials
from secagg.frames import Finished, Ready, Reply, Request, TaskFrame
from secagg.transport.connection import Connection
from secagg.transport.link import GrpcLink
from tests.transport.world import AUTHORITY, SOON, WELCOME, enrol

SIZE = 32 << 20
CLIENTS = 6
STATUS = Path("/proc/self/status")


def high_water() -> int:
    """The most memory this process ever held, in bytes."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10


def server_process(given: tuple[bytes, bytes, bytes], weights: str, results) -> None:
    with GrpcLink(
        Credentials.from_pem(*given),
        "127.0.0.1:0",
        welcome=WELCOME,
        admit=lambda identity: None,
        log=lambda event, **fields: None,
    ) as link:
        results.put(link.address)
        names = link.wait(CLIENTS, 30)
        before = high_water()
        task = TaskFrame(1, 1, Path(weights))
        ready = sum(1 for _ in link.exchange(dict.fromkeys(names, task), seconds=30, limit=0))
        after_sending = high_water()
        request = Request(1, 0, "mask", b"")
        lengths = []
        for _name, reply in link.exchange(dict.fromkeys(names, request), seconds=30, limit=SIZE):
            lengths.append(len(reply.body))
            del reply
        results.put((ready, lengths, after_sending - before, high_water() - before))
        link.send(dict.fromkeys(names, Finished(1, b"")))


def take_part(address: str, name: str) -> None:
    with Connection(address, enrol(name), library_version="0.1.0") as connection:
        while True:
            frame = connection.next(SOON)
            if isinstance(frame, TaskFrame):
                assert len(frame.weights) == SIZE
                connection.send(Ready(frame.round))
            elif isinstance(frame, Request):
                connection.send(Reply(frame.round, frame.attempt, frame.stage, bytes(SIZE)))
            elif isinstance(frame, Finished):
                return


@pytest.mark.skipif(not STATUS.exists(), reason="reads the high-water mark from /proc")
def test_a_server_holds_two_uploads_and_no_copy_of_a_model_that_is_a_file(tmp_path):
    weights = tmp_path / "weights"
    weights.write_bytes(bytes(SIZE))
    server = enrol("aggregator", "server")
    spawn = multiprocessing.get_context("spawn")
    results = spawn.Queue()
    given = (server.certificate_pem, server.key_pem(), AUTHORITY[1])
    serving = spawn.Process(target=server_process, args=(given, str(weights), results))
    serving.start()
    address = results.get(timeout=30)
    clients = [threading.Thread(target=take_part, args=(address, f"client-{n}")) for n in range(CLIENTS)]
    for client in clients:
        client.start()
    ready, lengths, sending, receiving = results.get(timeout=60)
    for client in clients:
        client.join(SOON)
    serving.join(SOON)
    assert serving.exitcode == 0
    assert (ready, lengths) == (CLIENTS, [SIZE] * CLIENTS)
    assert sending < SIZE
    assert receiving < 3 * SIZE
