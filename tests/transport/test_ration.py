"""`secagg.transport.ration`: what outsiders do is logged, and does not fill the log."""

from __future__ import annotations

import asyncio
import socket

from secagg.transport.ration import Ration
from tests.transport.world import SOON, Events, serve


def test_so_many_entries_pass_and_the_rest_are_counted_when_the_time_is_up():
    seen = []

    async def refused() -> None:
        over = asyncio.Event()

        def log(event, **fields):
            seen.append((event, fields))
            if event == "more":
                over.set()

        ration = Ration(log, "one", "more", most=2, seconds=0.02)
        for number in range(7):
            ration(number=number)
        await asyncio.wait_for(over.wait(), 5)
        ration(number=7)
        ration.flush()
        ration.flush()

    asyncio.run(refused())
    assert seen == [
        ("one", {"number": 0}),
        ("one", {"number": 1}),
        ("more", {"count": 5}),
        ("one", {"number": 7}),
    ]


def test_hundreds_of_refused_handshakes_are_twenty_lines_and_a_count():
    events = Events()
    with serve(events) as link:
        host, port = link.address.split(":")
        for _ in range(300):
            with socket.create_connection((host, int(port)), SOON) as plain:
                plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
                while plain.recv(1 << 10):
                    pass
    names = [name for name, _ in events.seen if name.startswith("connection")]
    assert names.count("connection-refused") == 20
    assert [fields["count"] for name, fields in events.seen if name == "connections-refused-more"] == [280]
