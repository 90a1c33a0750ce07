"""The one event loop of this process on which all of gRPC runs, in a thread of its own.

One loop, not one per connection: gRPC's asyncio wakes every loop of a process for every other's events, and
complains when they are gone. A caller's own thread only ever hands work over and waits. The thread is made at
the first use and lives as long as the process.

gRPC does not survive a fork, so neither does this: a forked child is told to be spawned.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from secagg.errors import TransportError

__all__ = ["call", "post", "run", "submit"]

T = TypeVar("T")


class _LoopThread:
    def __init__(self) -> None:
        self.process: Final = os.getpid()
        self.loop: Final = asyncio.new_event_loop()
        threading.Thread(target=self._live, name="secagg-transport", daemon=True).start()

    def _live(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()


_lock = threading.Lock()
_threads: list[_LoopThread] = []


def _loop() -> asyncio.AbstractEventLoop:
    with _lock:
        if not _threads:
            _threads.append(_LoopThread())
        thread = _threads[0]
    if thread.process != os.getpid():
        raise TransportError(
            "forked",
            "this process was forked from one that uses gRPC, which does not work",
            'start processes with multiprocessing.get_context("spawn")',
        )
    return thread.loop


def submit(work: Coroutine[Any, Any, T]) -> Future[T]:
    """Start `work` on the loop."""
    try:
        loop = _loop()
    except TransportError:
        work.close()
        raise
    return asyncio.run_coroutine_threadsafe(work, loop)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Do `work` on the loop and wait for it."""
    return submit(work).result()


def call(function: Callable[..., object], *arguments: object) -> None:
    """Call `function` on the loop and wait until it has returned; at once if this is the loop."""
    try:
        here = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    if here is _loop():
        function(*arguments)
    else:
        run(_called(function, *arguments))


async def _called(function: Callable[..., object], *arguments: object) -> None:
    function(*arguments)


def post(function: Callable[..., object], *arguments: object) -> None:
    """Call `function` on the loop soon, after all that was posted before."""
    _loop().call_soon_threadsafe(function, *arguments)
