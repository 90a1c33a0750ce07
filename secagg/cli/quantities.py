"""Figures as people read them: `3.39 MB`, `14 ms`, `two`."""

from __future__ import annotations

from typing import Final

__all__ = ["count", "seconds", "size"]

_NUMBERS: Final = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def count(number: int) -> str:
    """Up to ten in words."""
    return _NUMBERS[number] if number < len(_NUMBERS) else str(number)


def size(bytes: float) -> str:
    """Three digits and a decimal unit."""
    left = float(bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if left < 1000:
            return f"{left:.3g} {unit}"
        left /= 1000
    return f"{left:.3g} TB"


def seconds(duration: float) -> str:
    """Two digits, in milliseconds below a tenth of a second."""
    return f"{1000 * duration:.2g} ms" if duration < 0.1 else f"{duration:.2g} s"
