"""Files that are whole or not there, and stay when the power goes.

A file is written beside its place under a dot name, synced, renamed over its place, and the folder synced:
who reads sees the old file or the new one. A line is appended in one write and synced; a crash can tear only
the last, which `mend_lines` cuts off.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["append_line", "mend_lines", "sync_folder", "whole_file", "write_whole"]


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields the path to write to; on leaving, what was written there is the file at `path`."""
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        _sync(part, os.O_RDONLY)
        os.replace(part, path)  # noqa: PTH105 - Path.replace is the same call; this one says what it is
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_whole(path: Path, data: bytes) -> None:
    """`data` becomes the content of `path`, or nothing changes."""
    with whole_file(path) as part:
        part.write_bytes(data)


def append_line(path: Path, line: str, *, sync: bool = True) -> None:
    """Adds one line; with `sync` it is on the disk when this returns."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        rest = memoryview(f"{line}\n".encode())
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def mend_lines(path: Path) -> None:
    """Cuts a torn last line off, in place: looks only at the end of the file."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        position = size = file.seek(0, os.SEEK_END)
        while position:
            start = max(0, position - 4096)
            file.seek(start)
            newline = file.read(position - start).rfind(b"\n")
            if newline >= 0:
                position = start + newline + 1
                break
            position = start
        if position < size:
            file.truncate(position)
            os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Makes the names in a folder durable: what was created, renamed or removed in it."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
