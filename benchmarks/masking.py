"""What masked aggregation costs: CPU seconds, bytes and memory of one round, over in-memory sessions.

    python benchmarks/masking.py --clients 100 --dim 100000 --dropout 0.1 --json

Every client's session really runs; those that vanish do so before they send their masked vector. Times are
CPU seconds of this process, read around each call into a session. `*_keystream_s` is the baseline: the same
number of keystream bytes through `update_into` a reused 256 KiB buffer, best of 5, in the same run.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from secagg.encoding.codec import Codec, Encoded, Settings
from secagg.enrolment import issue_credentials, new_authority
from secagg.masking.client import MaskingClient
from secagg.masking.parameters import Policy
from secagg.masking.server import MaskingServer
from secagg.prg import Streams
from secagg.weights import Layout

CLIP_NORM = 1.0
_BUFFER = 1 << 18


@dataclass
class Stopwatch:
    """CPU seconds spent inside `running` blocks."""

    seconds: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        begin = time.process_time()
        try:
            yield
        finally:
            self.seconds += time.process_time() - begin


class TimedStreams(Streams):
    """Counts what every expansion in the run costs, beside doing it."""

    watch = Stopwatch()
    streams = 0

    def __init__(self, plus, minus, dtype) -> None:  # type: ignore[no-untyped-def]
        with self.watch.running():
            super().__init__(plus, minus, dtype)
        type(self).streams += len(self._plus) + len(self._minus)

    def add_next(self, block) -> None:  # type: ignore[no-untyped-def]
        with self.watch.running():
            super().add_next(block)

    @classmethod
    def take(cls) -> tuple[float, int]:
        taken = cls.watch.seconds, cls.streams
        cls.watch, cls.streams = Stopwatch(), 0
        return taken


def keystream_seconds(streams: int, stream_bytes: int) -> float:
    """The baseline: `streams` keystreams of `stream_bytes` each, best of 5."""

    def once() -> float:
        zeros, buffer = memoryview(bytes(_BUFFER)), memoryview(bytearray(_BUFFER))
        begin = time.process_time()
        for _ in range(streams):
            cipher = Cipher(algorithms.AES256(bytes(32)), modes.CTR(bytes(16))).encryptor()
            left = stream_bytes
            while left > 0:
                size = min(left, _BUFFER)
                cipher.update_into(zeros[:size], buffer[:size])
                left -= size
        return time.process_time() - begin

    return min(once() for _ in range(5))


def run(clients: int, dim: int, dropout: float, colluders: float) -> dict[str, float | int]:
    now = datetime.now(UTC)
    authority = new_authority("authority")
    names = [f"client-{i:05d}" for i in range(clients)]
    credentials = {name: issue_credentials(name, "client", authority, now=now) for name in names}
    codec = Codec(
        Layout.of({"weights": np.zeros(dim, dtype=np.float32)}), Settings(clients, clip_norm=CLIP_NORM)
    )
    policy = Policy(clients, min(3, clients), colluders, dropout)
    vanish = set(names[: int(dropout * clients)])
    context = os.urandom(32)
    admits: Callable[[object], bool] = lambda _identity: True  # noqa: E731

    def contribution(name: str) -> np.ndarray:
        """Made again from the name when it is checked, so that no second copy of all is kept."""
        generator = np.random.default_rng(names.index(name))
        update = generator.standard_normal(dim).astype(np.float32)
        return update * np.float32(CLIP_NORM / 2 / np.linalg.norm(update))

    def encoded(name: str) -> Encoded:
        return codec.encode(
            {"weights": contribution(name)}, base=None, num_examples=1, metrics={}, seed=os.urandom(32)
        )

    client_watch, server_watch = Stopwatch(), Stopwatch()
    sessions = {}
    for name in names:
        vector = encoded(name).vector
        with client_watch.running():
            sessions[name] = MaskingClient(
                context=context,
                policy=policy,
                bits=codec.bits,
                vector=vector,
                credentials=credentials[name],
                admits=admits,
                now=now,
            )
    with server_watch.running():
        server = MaskingServer(
            context=context,
            policy=policy,
            bits=codec.bits,
            length=codec.length,
            clients=names,
            authority=credentials[names[0]].authority,
            admits=admits,
            now=now,
        )
    sent = dict.fromkeys(names, 0)
    TimedStreams.take()
    mask_seconds, mask_streams, masked = 0.0, 0, 0
    while stage := server.stage:
        with server_watch.running():
            requests = server.requests()
        for name, request in requests.items():
            if name in vanish and stage not in ("advertise", "share"):
                continue
            with client_watch.running():
                reply = sessions[name].answer(request)
            if stage == "mask":
                seconds, streams = TimedStreams.take()
                mask_seconds, mask_streams, masked = mask_seconds + seconds, streams, masked + 1
            sent[name] += len(reply)
            with server_watch.running():
                server.receive(name, reply)
            del reply
        with server_watch.running():
            server.advance()
        gc.collect()
    server_mask_s, server_streams = TimedStreams.take()
    opened = server.sum()
    mean = codec.decode(opened.vector).mean
    if mean is None:
        raise SystemExit("the sum of the example weights is zero")
    truth = np.zeros(dim)
    for name in opened.survivors:
        truth += contribution(name)
    truth /= len(opened.survivors)
    stream_bytes = codec.length * (4 if codec.bits <= 32 else 8)
    return {
        "clients": clients,
        "dim": dim,
        "dropout": dropout,
        "client_cpu_s": client_watch.seconds / clients,
        "server_cpu_s": server_watch.seconds,
        "vector_bytes": max(sent.values()),
        "max_abs_error": float(np.max(np.abs(mean["weights"] - truth))),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "client_mask_s": mask_seconds / masked,
        "client_keystream_s": keystream_seconds(mask_streams, stream_bytes),
        "server_mask_s": server_mask_s,
        "server_keystream_s": keystream_seconds(server_streams, stream_bytes),
        "bits": codec.bits,
        "survivors": len(opened.survivors),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--dim", type=int, default=100_000)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--colluders", type=float, default=0.1)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.parse_args()
    import secagg.masking.client
    import secagg.masking.opening

    secagg.masking.client.Streams = TimedStreams  # type: ignore[misc]
    secagg.masking.opening.Streams = TimedStreams  # type: ignore[misc]
    figures = run(options.clients, options.dim, options.dropout, options.colluders)
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:20s} {value:.6g}")


if __name__ == "__main__":
    main()
