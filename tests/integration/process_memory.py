"""Another process's memory, as its kernel shows it: whether some bytes are anywhere in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

_BLOCK = 1 << 24
_PAGE = 1 << 12


def holds_any(pid: int, needles: Iterable[bytes]) -> bool:
    """Whether one of the needles lies in memory that the process can read, files it mapped included."""
    wanted = list(needles)
    overlap = max(map(len, wanted)) - 1
    for region in _regions(pid):
        tail = b""
        for block in _blocks(pid, *region):
            seen = tail + block
            if any(needle in seen for needle in wanted):
                return True
            tail = seen[-overlap:]
    return False


def windows(content: bytes, size: int = 32, count: int = 8) -> list[bytes]:
    """Stretches from all over the content."""
    last = len(content) - size
    return [content[at : at + size] for at in range(0, last + 1, max(1, last // (count - 1)))]


def loaded_libraries(pid: int) -> set[str]:
    """The file names of what the process has mapped."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {Path(line.split(maxsplit=5)[5]).name for line in lines if len(line.split(maxsplit=5)) == 6}


def _regions(pid: int) -> Iterator[tuple[int, int]]:
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        span, rights = line.split()[:2]
        if rights.startswith("r") and not line.endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
            start, end = (int(part, 16) for part in span.split("-"))
            yield start, end


def _blocks(pid: int, start: int, end: int) -> Iterator[bytes]:
    """What can be read of a region; a page behind a file's end, or one that went away, is passed over."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        while start < end:
            try:
                memory.seek(start)
                block = memory.read(min(_BLOCK, end - start))
            except OSError:
                block = b""
            if block:
                yield block
            start += len(block) or _PAGE
