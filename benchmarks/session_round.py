"""One round of a protocol's sessions, with the server in a process of its own: CPU seconds, bytes, memory.

Every client's session really runs, in the process that calls `play`, over real keys and certificates; the
server's process plays its session from the first stage to the opened sum, with two uploads in memory at a
time, as the coordinator has it. The two talk through pipes; what that costs is not counted.

What this is not: a run. There is no network, no training and no journal.
"""

from __future__ import annotations

import gc
import json
import statistics
import struct
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from secagg.credentials import Authority
from secagg.encoding.ring import bits_for, word
from secagg.enrolment import issue_credentials, new_authority
from secagg.homomorphic.client import HomomorphicClient
from secagg.homomorphic.cohort import Terms
from secagg.homomorphic.scheme import scheme_for
from secagg.homomorphic.server import HomomorphicServer
from secagg.masking.client import MaskingClient
from secagg.masking.parameters import Policy
from secagg.masking.server import MaskingServer
from secagg.prg import Ring

CONTEXT = bytes(32)
IN_FLIGHT = 2
_SIZE = struct.Struct("<Q")


@dataclass(frozen=True)
class Setting:
    """kind: "bfv", "ckks" or "masks". Values in [-1, 1] are integers over 2^fractional_bits."""

    kind: str
    fractional_bits: int
    clients: int
    dim: int
    recompute: bool = False

    @property
    def bits(self) -> int:
        """Of the ring that a plan with these has."""
        return bits_for(self.clients, 1 << self.fractional_bits)

    @property
    def terms(self) -> Terms:
        scheme = scheme_for(self.kind, self.clients, self.bits, self.dim)  # type: ignore[arg-type]
        return Terms(scheme, min(3, self.clients), self.recompute)

    @property
    def policy(self) -> Policy:
        return Policy(self.clients, min(3, self.clients), 0.1, 0.2)

    def ring(self, values: np.ndarray) -> Ring:
        """Values in [-1, 1], rounded, as ring elements."""
        rounded = np.rint(values * (1 << self.fractional_bits)).astype(np.int64)
        return rounded.astype(np.uint64).astype(word(self.bits))


@dataclass
class Spent:
    """What one client's session took: CPU seconds and bytes."""

    seconds: float = 0.0
    up: int = 0
    down: int = 0
    requests: int = 0


@dataclass
class Played:
    """The opened sum; per client what it spent; of the server CPU seconds and MiB above where it began."""

    vector: Ring
    server_s: float
    server_mib: float
    spent: dict[str, Spent] = field(default_factory=dict)

    def figures(self) -> dict[str, float | int]:
        """Medians: of the clients that were asked least, and of those asked more, who decrypt."""
        least = min(one.requests for one in self.spent.values())
        figures: dict[str, float | int] = {"server_s": self.server_s, "server_mib": self.server_mib}
        for who in ("client", "decryptor"):
            chosen = [one for one in self.spent.values() if (one.requests > least) == (who == "decryptor")]
            if chosen:
                figures[f"{who}_s"] = statistics.median(one.seconds for one in chosen)
                figures[f"{who}_requests"] = round(statistics.median(one.requests for one in chosen))
                figures[f"{who}_up_mb"] = max(one.up for one in chosen) / 1e6
                figures[f"{who}_down_mb"] = max(one.down for one in chosen) / 1e6
        return figures


def put(stream: BinaryIO, content: bytes | bytearray | memoryview) -> None:
    stream.write(_SIZE.pack(len(content)))
    stream.write(content)
    stream.flush()


def take(stream: BinaryIO) -> bytearray:
    """The other side's next message. Raises EOFError when it is gone."""
    head = stream.read(_SIZE.size)
    if len(head) < _SIZE.size:
        raise EOFError("a process ended before it was done; its reason is above")
    content = bytearray(_SIZE.unpack(head)[0])
    if stream.readinto(content) != len(content):  # type: ignore[attr-defined]
        raise EOFError("a process ended in mid-message; its reason is above")
    return content


def play(setting: Setting, vectors: dict[str, Ring]) -> Played:
    """One round; `vectors` are those of the clients, by name."""
    now = datetime.now(UTC)
    authority = new_authority("authority")
    sessions: dict[str, Any] = {}
    for name, vector in vectors.items():
        credentials = issue_credentials(name, "client", authority, now=now)
        common: dict[str, Any] = {
            "context": CONTEXT,
            "vector": vector,
            "credentials": credentials,
            "admits": lambda _identity: True,
            "now": now,
        }
        if setting.kind == "masks":
            sessions[name] = MaskingClient(policy=setting.policy, bits=setting.bits, **common)
        else:
            sessions[name] = HomomorphicClient(terms=setting.terms, **common)
    spent = {name: Spent() for name in vectors}
    child = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    if child.stdin is None or child.stdout is None:
        raise RuntimeError("a child without pipes")
    with child, child.stdin as to, child.stdout as back:
        put(to, json.dumps({"setting": asdict(setting), "clients": list(vectors)}).encode())
        put(to, authority[1])
        while name := take(back).decode():
            request = bytes(take(back))
            begin = time.process_time()
            reply = sessions[name].answer(request)
            one = spent[name]
            one.seconds += time.process_time() - begin
            one.up, one.down, one.requests = one.up + len(reply), one.down + len(request), one.requests + 1
            put(to, reply)
        figures = json.loads(take(back))
        opened = np.frombuffer(take(back), dtype=word(setting.bits))
    return Played(opened, figures["server_s"], figures["server_mib"], spent)


def memory_mib(field_name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field_name):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {field_name}")


def serve(back: BinaryIO, to: BinaryIO) -> None:
    """The server's process."""
    given = json.loads(take(back))
    setting = Setting(**given["setting"])
    common: dict[str, Any] = {
        "context": CONTEXT,
        "clients": given["clients"],
        "authority": Authority.from_pem(bytes(take(back))),
        "admits": lambda _identity: True,
        "now": datetime.now(UTC),
    }
    server: Any
    if setting.kind == "masks":
        server = MaskingServer(policy=setting.policy, bits=setting.bits, length=setting.dim, **common)
    else:
        server = HomomorphicServer(terms=setting.terms, **common)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    baseline = memory_mib("VmRSS")
    seconds = -time.process_time()
    while server.stage:
        requests = server.requests()
        names = list(requests)
        for first in range(0, len(names), IN_FLIGHT):
            seconds += time.process_time()
            waiting = []
            for name in names[first : first + IN_FLIGHT]:
                put(to, name.encode())
                put(to, requests[name])
                waiting.append((name, take(back)))
            seconds -= time.process_time()
            while waiting:
                server.receive(*waiting.pop())
        del requests
        server.advance()
    opened = server.sum()
    seconds += time.process_time()
    figures = {"server_s": seconds, "server_mib": memory_mib("VmHWM") - baseline}
    put(to, b"")
    put(to, json.dumps(figures).encode())
    put(to, opened.vector.data.cast("B"))


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
