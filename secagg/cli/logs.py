"""The library's log on a person's stderr: one readable line each, events as sentences.

For machines there are the run directory's `log.jsonl` and `--json`; this is for whoever sits at the terminal
or reads the service's journal.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final

import click

__all__ = ["logging_to_stderr"]

_AGAIN_AFTER: Final = 60.0
"""Seconds until the same line in a row is said again: a client that waits an hour says so sixty times."""

_SENTENCES: Final[Mapping[str, str]] = {
    "client-joined": "'{client}' is here",
    "client-left": "'{client}' hung up",
    "client-gone": "'{client}' did not come back in time",
    "client-replaced": "'{client}' came a second time; its older connection is closed",
    "client-rejected": "'{client}' from {peer} was turned away: {message} [{code}]",
    "connection-refused": "{message} [{code}]",
    "connection-lost": "{message}; trying again until it answers [{code}]",
    "late-answer": "'{client}' answered round {round} too late",
}
"""What a transport's event says to a person. Its fields are logged as they are where there is no sentence."""


@contextmanager
def logging_to_stderr(least: int = logging.INFO) -> Iterator[None]:
    """Within, what `secagg` logs at level `least` or above goes to stderr, and nowhere else."""
    logger = logging.getLogger("secagg")
    before = logger.level, logger.propagate
    handler = _Stderr()
    handler.setFormatter(_Line())
    handler.addFilter(_once_a_minute(time.monotonic))
    logger.addHandler(handler)
    logger.setLevel(least)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


class _Stderr(logging.Handler):
    """Through click, which finds stderr anew each time: a progress bar may have taken its place."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(self.format(record), err=True)


class _Line(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(message)s", datefmt="%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        words = _sentence(record)
        if record.levelno >= logging.WARNING:
            label = record.levelname.lower()
            words = click.style(f"{label}: ", fg="yellow" if label == "warning" else "red") + words
        return f"{record.asctime} {words}"


def _sentence(record: logging.LogRecord) -> str:
    sentence = _SENTENCES.get(getattr(record, "event", ""))
    with suppress(KeyError):
        if sentence is not None:
            return sentence.format_map(getattr(record, "fields", {}))
    return record.message


def _once_a_minute(clock: Callable[[], float]) -> Callable[[logging.LogRecord], bool]:
    """A filter that drops a line which is the same as the last, unless a minute has passed."""
    last: tuple[str, float] = ("", 0.0)

    def wanted(record: logging.LogRecord) -> bool:
        nonlocal last
        record.message = record.getMessage()
        words, now = _sentence(record), clock()
        if words == last[0] and now - last[1] < _AGAIN_AFTER and record.exc_info is None:
            return False
        last = (words, now)
        return True

    return wanted
