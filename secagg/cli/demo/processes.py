"""The demo's processes: each party's own, started, spoken with, killed, and never left behind.

A child writes JSON lines on its standard output and logs to a file; one byte on its standard input is a
go-ahead. It lives in a session of its own, so that Ctrl-C reaches the demo alone, which then ends the others
by their ids; and should the demo itself be killed, each child's input ends, and the child with it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Any, Final, Self

__all__ = ["Child", "Children", "go_aheads", "tell"]

_PATIENCE: Final = 5.0
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Six processes share the machine's cores, and matrices of this size gain nothing from several."""


class Child:
    """A process of `python -m module`."""

    def __init__(self, module: str, arguments: tuple[str, ...], log: Path) -> None:
        with log.open("ab") as file:
            self._process: Final = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                env=os.environ | _ONE_THREAD,
                start_new_session=True,
            )

    def told(self) -> Iterator[dict[str, Any]]:
        """What it tells, until its output ends."""
        if self._process.stdout is not None:
            for line in self._process.stdout:
                yield json.loads(line)

    def go_ahead(self) -> None:
        """Lets it go on, if it is still there: its output says the rest."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                os.write(self._process.stdin.fileno(), b"\n")

    def kill(self) -> None:
        """SIGKILL: it does nothing more, and nobody is told. Returns when it is gone."""
        self._process.kill()
        self._process.wait()

    def wait(self, seconds: float) -> int | None:
        """Its exit code; None while it is still running after so long."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def ask_to_end(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()

    def close(self) -> None:
        """Ends it, by force if it does not end by itself."""
        self.ask_to_end()
        if self.wait(_PATIENCE) is None:
            self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


class Children:
    """Processes that end with a `with` block, however it ends."""

    def __init__(self) -> None:
        self._started: list[Child] = []

    def start(self, module: str, *arguments: str, log: Path) -> Child:
        child = Child(module, arguments, log)
        self._started.append(child)
        return child

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self._started:
            child.ask_to_end()
        for child in self._started:
            child.close()


def tell(event: str, **facts: object) -> None:
    """In a child: one line to the parent."""
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


def go_aheads() -> SimpleQueue[bytes]:
    """In a child: a queue of the parent's go-aheads. From now on this process ends when the parent does."""
    given: SimpleQueue[bytes] = SimpleQueue()

    def listen() -> None:
        while byte := os.read(0, 1):  # unbuffered: a thread inside sys.stdin would trouble the exit
            given.put(byte)
        signal.raise_signal(signal.SIGTERM)

    Thread(target=listen, daemon=True).start()
    return given
