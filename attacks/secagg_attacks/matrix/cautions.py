"""What a cell says beside a figure that its verdict alone might have misread.

A verdict follows from a test of ranks, or of counts at several levels, and from a figure. The two may part: a
test finds a trace of the truth in what is no better a guess than one made without a look. And a figure may be
as high as can be where a test has too little to go on: of few examples and few non-members, the least
p-value there is stays above what a table of many tests asks for.
"""

from __future__ import annotations

import math
from typing import Final

from scipy.stats import chi2

from secagg_attacks.statistics.holm import ALPHA

__all__ = ["by_trace_alone", "least_rank_p_value", "too_few_to_tell"]

_MANY: Final = 1000
"""Tests of one table: more than there are in a whole one of every attack and defence."""


def by_trace_alone(p_value: float, value: float, chance: float, words: str) -> tuple[str, ...]:
    """The note of a cell whose test sees something (p_value is at most `ALPHA`, uncorrected) though its
    figure is not above chance. words: what that means."""
    return (words,) if p_value <= ALPHA and value <= chance else ()


def too_few_to_tell(value: float, must_reach: float, least: float) -> tuple[str, ...]:
    """The note of a cell whose figure is as high as must be, and whose p-value cannot be small enough.

    least: the smallest p-value that so many examples and non-members allow. Of the tests of a table, the
    smallest p-value is multiplied by their number (Holm 1979).
    """
    if value < must_reach or least <= ALPHA / _MANY:
        return ()
    tests = math.floor(ALPHA / least)
    where = f"a table of {tests + 1} tests or more" if tests else "any table"
    return (f"too few examples, or non-members, to be told from chance in {where}",)


def least_rank_p_value(examples: int, others: int) -> float:
    """Fisher's combination where every example is nearer than all of the others."""
    return float(chi2.sf(2 * examples * math.log(1 + others), 2 * examples))
