"""Strings with units, and the exact value of a number as it was written.

`"1h30m"` is a duration, `"10MB"` a size, `"1MB/s"` a rate: a plan writes them with their units so that nobody
has to guess whether `30` meant seconds or minutes. kB, MB and GB are decimal, KiB, MiB and GiB binary. Every
`format_` gives the one spelling that a canonical plan uses, and its `parse_` reads that back to the same
value, to the last bit. What is wrong with a string is said in a `ValueError`, in words for the plan's author.
"""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction

__all__ = [
    "format_duration",
    "format_rate",
    "format_size",
    "parse_duration",
    "parse_rate",
    "parse_size",
    "written",
]

_SECONDS = {
    "d": Decimal(86400),
    "h": Decimal(3600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("0.001"),
}
_BYTES = {
    "GiB": 2**30,
    "GB": 10**9,
    "MiB": 2**20,
    "MB": 10**6,
    "KiB": 2**10,
    "kB": 10**3,
    "B": 1,
}
_LONGEST = 64  # characters; no sensible quantity needs more, and Decimal would happily take a million digits
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)([A-Za-z]+)")


def written(number: float) -> Fraction:
    """The shortest decimal that names this float, exactly: `written(0.1) * 10 == 1`, unlike `0.1` itself."""
    return Fraction(repr(number))


def parse_duration(text: object) -> float:
    """Seconds of `"10m"`, `"1h30m"`, `"250ms"`: amounts with units d, h, m, s, ms, larger units first."""
    wrong = ValueError(
        f'a duration with units, such as "10m" or "1h30m", is expected, and {_shown(text)} came'
    )
    if not isinstance(text, str) or not text or len(text) > _LONGEST:
        raise wrong
    total, position, units = Decimal(0), 0, list(_SECONDS)
    while position < len(text):
        match = _QUANTITY.match(text, position)
        if match is None or match[2] not in units:
            raise wrong
        total += Decimal(match[1]) * _SECONDS[match[2]]
        units = units[units.index(match[2]) + 1 :]
        position = match.end()
    return float(total)


def format_duration(seconds: float) -> str:
    """The canonical spelling of a duration: `5400.0` is `"1h30m"`, `0.0` is `"0s"`."""
    rest, parts = Decimal(repr(seconds)), []
    for unit, size in _SECONDS.items():
        amount = rest / size if unit == "ms" else rest // size
        if amount:
            parts.append(f"{amount.normalize():f}{unit}")
            rest -= amount * size
    return "".join(parts) or "0s"


def parse_size(text: object) -> int:
    """Bytes of `"10MB"` (decimal) or `"16MiB"` (binary); a fraction is fine where it comes to whole bytes."""
    wrong = ValueError(f'a size with a unit, such as "10MB" or "16MiB", is expected, and {_shown(text)} came')
    match = _QUANTITY.fullmatch(text) if isinstance(text, str) and len(text) <= _LONGEST else None
    unit = "kB" if match and match[2] == "KB" else match and match[2]
    if match is None or unit not in _BYTES:
        raise wrong
    size = Fraction(match[1]) * _BYTES[unit]
    if size.denominator != 1:
        raise ValueError(f"{_shown(text)} is not a whole number of bytes")
    return int(size)


def format_size(size: int) -> str:
    """The canonical spelling of a size: the largest unit that divides it."""
    unit = next(unit for unit, factor in _BYTES.items() if (size and size % factor == 0) or unit == "B")
    return f"{size // _BYTES[unit]}{unit}"


def parse_rate(text: object) -> int:
    """Bytes per second of `"1MB/s"`."""
    if not isinstance(text, str) or not text.endswith("/s"):
        raise ValueError(f'a rate, such as "1MB/s", is expected, and {_shown(text)} came')
    return parse_size(text.removesuffix("/s"))


def format_rate(rate: int) -> str:
    """The canonical spelling of a rate."""
    return f"{format_size(rate)}/s"


def _shown(value: object) -> str:
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."
