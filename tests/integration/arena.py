"""Starts those processes, waits for what they say, and ends every one of them, by its own id."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

import secagg
from secagg.issuing import issue_folder, new_authority_folder
from secagg.weights import load
from tests.integration.model import PRECISION, name_of

LONG_AGO = datetime.now(UTC) - timedelta(days=100)
SOON = 40.0
"""Seconds after which a test has failed; what is waited for takes a few at most."""

ROOT = Path(__file__).resolve().parents[2]


class Enrolment:
    """One authority, and a folder of credentials for whoever asks.

    `scratch` is the parties' temporary folder: a server that is killed leaves its socket's directory there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = folder / "ca" / "authority"
        self.scratch = folder / "scratch"
        self.scratch.mkdir()
        new_authority_folder(self.authority, "authority", now=LONG_AGO)

    def credentials(self, name: str, role: str = "client", **options: object) -> Path:
        path = self.folder / role / name
        if not path.exists():
            issue_folder(self.authority, path, name, role, **options)
        return path


class Party:
    """One process, and what it said so far."""

    def __init__(self, orders: dict, log: Path, scratch: Path) -> None:
        self.name = str(orders.get("name", orders["part"]))
        self.out = Path(orders["out"])
        if "records" in orders:
            Path(orders["records"]).mkdir(parents=True, exist_ok=True)
        self._log = log
        self._said: list[dict] = []
        self._ended = False
        self._changed = threading.Condition()
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.integration.party", json.dumps(orders)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "TMPDIR": str(scratch)},
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stderr(self) -> str:
        return self._log.read_text(errors="replace")

    def said(self, key: str) -> list[dict]:
        """All it said so far under this key."""
        with self._changed:
            return [line for line in self._said if key in line]

    def hear(self, key: str, value: object = None) -> dict:
        """Waits for the first line with `key` (and this value)."""

        def found() -> dict | None:
            for line in self._said:
                if key in line and value in (None, line[key]):
                    return line
            return None

        with self._changed:
            self._changed.wait_for(lambda: found() is not None or self._ended, SOON)
            line = found()
        assert line is not None, f"{self.name} never said {key}={value}:\n{self._said}\n{self.stderr}"
        return line

    def go_on(self) -> None:
        """Lets a server that says `held` go on."""
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and waits until it is gone."""
        self._process.kill()
        self._process.wait()

    def exit_code(self) -> int:
        """Waits for its end; -9 for one that was killed."""
        try:
            return self._process.wait(SOON)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} does not end:\n{self._said}\n{self.stderr}") from None

    def weights(self) -> dict[str, np.ndarray]:
        """The final model that it was left with, after a good end."""
        assert self.exit_code() == 0, self.stderr
        return load(self.out)

    def close(self) -> None:
        self.kill()
        self._reader.join(SOON)
        self._process.stdout.close()
        with suppress(BrokenPipeError):
            self._process.stdin.close()

    def _read(self) -> None:
        for line in self._process.stdout:
            with self._changed:
                self._said.append(json.loads(line))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class Aggregator(Party):
    """The server's process, and its run directory."""

    @property
    def address(self) -> str:
        return self.hear("address")["address"]

    @property
    def run_dir(self) -> Path:
        return Path(self.hear("address")["run_dir"])

    @property
    def rounds(self) -> list[dict]:
        """The reports of the rounds it played so far."""
        return self.said("round")

    def log(self, event: str = "", **fields: object) -> list[dict]:
        """The lines of log.jsonl with these fields."""
        lines = [json.loads(line) for line in (self.run_dir / "log.jsonl").read_text().splitlines()]
        wanted = {**({"event": event} if event else {}), **fields}
        return [line for line in lines if wanted.items() <= line.items()]

    def wait_for_log(self, event: str, *, count: int = 1, **fields: object) -> dict:
        """Waits until `count` such lines are in log.jsonl. (No file tells that it grew: this looks again.)"""
        pause = threading.Event()
        for _ in range(int(SOON / 0.02)):
            if len(lines := self.log(event, **fields)) >= count:
                return lines[count - 1]
            pause.wait(0.02)
        raise AssertionError(f"no {event} {fields} in the log:\n{self.log()}\n{self.stderr}")


class Arena:
    """One run's processes. `close` ends them all."""

    def __init__(self, enrolment: Enrolment, folder: Path) -> None:
        self.enrolment = enrolment
        self.folder = folder
        self.parties: list[Party] = []
        self.listen = f"127.0.0.1:{_free_port()}"

    def server(self, plan: secagg.Plan, **orders: object) -> Aggregator:
        """Starts a server, or, after its death, the same again."""
        credentials = self.enrolment.credentials("aggregator", "server", hosts=("127.0.0.1",))
        return self._start(
            Aggregator,
            part="server",
            plan=plan.to_json(),
            listen=self.listen,
            runs=str(self.folder / "runs"),
            credentials=str(credentials),
            **orders,
        )

    def client(self, index: int, **orders: object) -> Party:
        name = name_of(index)
        credentials = str(self.enrolment.credentials(name))
        return self._start(
            Party, part="client", name=name, address=self.listen, **{"credentials": credentials, **orders}
        )

    def clients(self, indices: Iterable[int], **orders: object) -> list[Party]:
        return [self.client(index, **orders) for index in indices]

    def knock(self, name: str, **orders: object) -> Party:
        return self._start(Party, part="knock", name=name, address=self.listen, **orders)

    def close(self) -> None:
        for party in self.parties:
            party.signal(signal.SIGKILL)
        for party in self.parties:
            party.close()

    def _start(self, kind, **orders):
        number = len(self.parties)
        out = self.folder / f"{number:02d}.safetensors"
        log = self.folder / f"{number:02d}.stderr"
        party = kind({"out": str(out), **orders}, log, self.enrolment.scratch)
        self.parties.append(party)
        return party


def plan_for(clients: int, rounds: int, **changes: dict) -> secagg.Plan:
    """Deadlines nobody honest comes near, so that what is late in a test is late for its reason."""
    tables = {
        "run": {"name": "trial", "rounds": rounds},
        "cohort": {
            "max_clients": clients,
            "join_deadline": "30s",
            "train_deadline": "20s",
            "stage_deadline": "20s",
        },
        "encoding": {"precision": PRECISION},
    }
    for table, fields in changes.items():
        tables[table] = {**tables.get(table, {}), **fields}
    return secagg.Plan(**tables)


def _free_port() -> int:
    """Below the ports that the system hands out: a dead server's must still be free for the next one."""
    for port in random.SystemRandom().sample(range(20_000, 32_000), 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise RuntimeError("no port is free")
