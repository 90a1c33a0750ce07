"""What large models cost over the network: a server's peak memory, and megabytes a second each way.

    python benchmarks/transfer.py --clients 3 --mb 400 --json

A real server and real clients, each in a process of its own, over gRPC with mutual TLS on this machine; every
byte is masked, encrypted and sent. Memory is VmHWM of /proc/PID/status, read when the run is over. Rates are
what a user sees, all clients together: down from the moment the task leaves to the moment the last train
function has the model in its hands (parsed and copied); up from the moment the masked vectors are asked for
to the moment the last one is in the sum (masked, packed, sent, checked and added). MB is 10^6 bytes.

What this is not: a measurement of a network. Server and clients share this machine's cores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

import secagg
from secagg.frames import Frame, Reply, Request, TaskFrame
from secagg.issuing import issue_folder, new_authority_folder
from secagg.weights import digest

LAYERS: Final = 20


def model(megabytes: float) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """float32 arrays of that many megabytes in all; not zeros, whose pages the system would only promise."""
    size, random = round(megabytes * 1e6) // 4 // LAYERS, np.random.default_rng(0)
    return {f"layer-{index:02d}": random.standard_normal(size, dtype=np.float32) for index in range(LAYERS)}


def plan(clients: int, rounds: int) -> secagg.Plan:
    """The default encoding, and deadlines that play no part."""
    tables = {
        "run": {"name": "transfer", "rounds": rounds},
        "cohort": {"max_clients": clients, "train_deadline": "1h", "stage_deadline": "1h"},
    }
    return secagg.Plan.model_validate(tables)


def say(**fields: object) -> None:
    """One JSON object on standard output, for the process that started this one."""
    print(json.dumps(fields), flush=True)


def peak_mib(pid: int | str) -> float:
    """VmHWM of a living process, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise RuntimeError(f"/proc/{pid}/status has no VmHWM")


class Uploads:
    """A tap that measures the stage `mask`, and says when a task leaves."""

    def __init__(self) -> None:
        self.bytes = 0
        self.seconds = 0.0
        self._asked = 0.0
        self._round = 0

    def __call__(self, sender: str, receiver: str, frame: Frame) -> None:  # noqa: ARG002 - a tap's signature
        now = time.monotonic()
        match frame:
            case TaskFrame() if frame.round > self._round:
                self._round = frame.round
                say(task=frame.round, at=now)
            case Request(stage="mask") if not self._asked:
                self._asked = now
            case Request(stage="confirm") if self._asked:
                self.seconds += now - self._asked
                self._asked = 0.0
            case Reply(stage="mask"):
                self.bytes += len(frame.body)


def serve(folder: Path, clients: int, megabytes: float, rounds: int) -> None:
    """The server's process."""
    uploads = Uploads()
    server = secagg.Server(
        model(megabytes),
        plan(clients, rounds),
        credentials=secagg.Credentials.load(folder / "aggregator"),
        listen="127.0.0.1:0",
        runs=folder / "runs",
        tap=uploads,
    )
    say(address=server.address)
    begin = time.monotonic()
    result = server.run()
    say(
        seconds=time.monotonic() - begin,
        up_bytes=uploads.bytes,
        up_seconds=uploads.seconds,
        codes=[report.code for report in result.history],
        survivors=[report.survivors for report in result.history],
    )
    sys.stdin.read()


def take_part(folder: Path, name: str, address: str) -> None:
    """A client's process: its train function returns a tiny delta, and never holds a second model."""

    def train(task: secagg.Task) -> secagg.Update:
        say(training=task.round, at=time.monotonic())
        return secagg.Update(
            delta={key: np.broadcast_to(np.float32(1e-6), array.shape) for key, array in task.weights.items()}
        )

    result = secagg.Client(address, train, credentials=secagg.Credentials.load(folder / name)).run()
    say(rounds=result.rounds, model=digest(result.weights).hex())
    sys.stdin.read()


def measure(clients: int, megabytes: float, rounds: int) -> dict[str, object]:
    """One run, in processes; what is printed."""
    with tempfile.TemporaryDirectory(prefix="secagg-transfer-") as name:
        folder = Path(name)
        new_authority_folder(folder / "ca" / "authority", "authority")
        issue_folder(folder / "ca" / "authority", folder / "aggregator", "aggregator", "server")
        names = [f"client-{index:02d}" for index in range(clients)]
        for client in names:
            issue_folder(folder / "ca" / "authority", folder / client, client, "client")
        sizes = ["--clients", str(clients), "--mb", str(megabytes), "--rounds", str(rounds)]
        children = [spawn("--part", "server", "--folder", name, *sizes)]
        try:
            address = str(read(children[0])["address"])
            orders = ["--part", "client", "--folder", name, "--address", address]
            children += [spawn(*orders, "--name", client) for client in names]
            return watch(children[0], children[1:], clients, megabytes, rounds)
        finally:
            for child in children:
                child.kill()
                child.communicate()


def watch(
    server: subprocess.Popen[str],
    clients: Sequence[subprocess.Popen[str]],
    count: int,
    megabytes: float,
    rounds: int,
) -> dict[str, object]:
    """Reads what the processes say until all are done, and their memory before they go."""
    down = 0.0
    for _ in range(rounds):
        asked = read(server)["at"]
        down += max(read(client)["at"] for client in clients) - asked
    done = read(server)
    homes = [read(client) for client in clients]
    if (
        any(done["codes"])
        or done["survivors"] != [count] * rounds
        or len({home["model"] for home in homes}) > 1
    ):
        raise RuntimeError(f"the run went wrong: {done}")
    return {
        "clients": count,
        "mb": megabytes,
        "rounds": rounds,
        "server_vmhwm_mib": peak_mib(server.pid),
        "client_vmhwm_mib": max(peak_mib(client.pid) for client in clients),
        "seconds": round(done["seconds"], 1),
        "down_mb_per_s": round(megabytes * count * rounds / down, 1),
        "up_mb_per_s": round(done["up_bytes"] / 1e6 / done["up_seconds"], 1),
        "vector_mb": round(done["up_bytes"] / 1e6 / count / rounds, 1),
    }


def spawn(*arguments: str) -> subprocess.Popen[str]:
    """This program again, in a new process."""
    return subprocess.Popen(
        [sys.executable, __file__, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def read(child: subprocess.Popen[str]) -> dict[str, Any]:
    """The next JSON object that a process says."""
    line = child.stdout.readline() if child.stdout else ""
    if not line:
        raise RuntimeError("a process ended before it was done; its reason is above")
    said: dict[str, Any] = json.loads(line)
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--clients", type=int, default=3)
    parser.add_argument("--mb", type=float, default=400.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    for hidden in ("--part", "--folder", "--name", "--address"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part == "server":
        serve(Path(given.folder), given.clients, given.mb, given.rounds)
    elif given.part == "client":
        take_part(Path(given.folder), given.name, given.address)
    else:
        figures = measure(given.clients, given.mb, given.rounds)
        if given.json:
            print(json.dumps(figures))
        else:
            print("\n".join(f"{name:18} {value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
