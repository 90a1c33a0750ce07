"""Ctrl-C and SIGTERM: both end a command the same orderly way, with a sentence that says what is kept."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from secagg.errors import SecaggError

__all__ = ["Stopped", "stoppable"]

_CTRL_C: Final = 130
_SIGTERM: Final = 143


class Stopped(SecaggError):
    """Somebody stopped the command. The exit code is the shell's for that signal: 130 or 143."""

    def __init__(self, kept: str, exit_code: int = _CTRL_C) -> None:
        super().__init__("interrupted", f"stopped; {kept}")
        self.exit_code = exit_code


class _Terminated(KeyboardInterrupt):
    """SIGTERM came."""


@contextmanager
def stoppable(kept: Callable[[], str]) -> Iterator[None]:
    """Within, either signal ends the command where it is, as `Stopped` that says what is `kept`."""

    def terminate(_signal: int, _frame: FrameType | None) -> None:
        raise _Terminated

    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, terminate) if in_main else None
    try:
        yield
    except KeyboardInterrupt as stop:
        raise Stopped(kept(), _SIGTERM if isinstance(stop, _Terminated) else _CTRL_C) from None
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
