"""How the report's numbers are written: bounds always rounded so that they still hold."""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from itertools import groupby
from typing import Final

__all__ = [
    "NONE",
    "bound",
    "counted",
    "given",
    "guess",
    "guess_bound",
    "left",
    "or_dash",
    "plain",
    "ranges",
    "span",
]

NONE: Final = "none"
"""What stands where nothing is proven: no number is large enough to say so."""

_UPWARDS: Final = Context(prec=4, rounding=ROUND_CEILING)
_DOWNWARDS: Final = Context(prec=4, rounding=ROUND_FLOOR)


def bound(epsilon: float | None) -> str:
    """An epsilon in four significant digits, rounded up."""
    if epsilon is None or math.isinf(epsilon):
        return NONE
    return f"{float(_UPWARDS.create_decimal_from_float(epsilon)):.4g}"


def left(epsilon: float) -> str:
    """What is left to spend, in four significant digits, rounded down."""
    return f"{float(_DOWNWARDS.create_decimal_from_float(epsilon)):.4g}"


def given(number: float) -> str:
    """A number that somebody chose, as it was written."""
    return f"{number:.15g}"


def counted(count: int, noun: str) -> str:
    """`1 round`, `2 rounds`."""
    return f"{count} {noun}{'s' * (count != 1)}"


def plain(number: float) -> str:
    """A whole number as it is, any other in four significant digits at the least."""
    if number == int(number) and abs(number) < 1e15:
        return str(int(number))
    return f"{number:.0f}" if 1e4 <= abs(number) < 1e15 else f"{number:.4g}"


def or_dash(number: float | None) -> str:
    """As `plain`, and a dash where there is no number."""
    return "–" if number is None else plain(number)


def guess_bound(epsilon: float, delta: float) -> float:
    """The most often that a fair guess can be right: (e^epsilon + delta) / (e^epsilon + 1).

    Of two equally likely worlds that are (epsilon, delta)-close, whoever sees one outcome names the right one
    with no higher probability: both errors together are at least 2 (1 - delta) / (e^epsilon + 1) (Kairouz,
    Oh, Viswanath 2015, "The Composition Theorem for Differential Privacy", section 2, the region of errors).
    """
    return 1 - (1 - delta) / (1 + math.exp(min(epsilon, 700.0)))


def guess(epsilon: float, delta: float) -> str | None:
    """`guess_bound` in per cent, rounded up to as few decimals as keep it below 100; None beyond 99.9999."""
    per_cent = 100 * guess_bound(epsilon, delta)
    for decimals in (1, 2, 3, 4):
        rounded = math.ceil(per_cent * 10**decimals) / 10**decimals
        if rounded < 100:
            return f"{rounded:.{decimals}f} %"
    return None


def span(first: int, last: int) -> str:
    """`3` or `3-7`."""
    return str(first) if first == last else f"{first}-{last}"


def ranges(numbers: Iterable[int]) -> str:
    """`1-3, 5` of 1, 2, 3 and 5."""
    ordered = enumerate(sorted(set(numbers)))
    runs = [[number for _, number in run] for _, run in groupby(ordered, key=lambda at: at[1] - at[0])]
    return ", ".join(span(run[0], run[-1]) for run in runs)
