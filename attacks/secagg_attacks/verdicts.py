"""From measurements to verdicts: tests against chance, corrected over the whole table, and what must win.

Every measurement carries the p-value of "the attack knows nothing". All of a table are corrected together
(Holm 1979, alpha = 1e-3). What is rejected leaks where its figure is above chance and reaches `leaks_at`, and
is partial below.

What is not rejected is called at chance only under a protection, and only where four things hold. The same
method, with the same seed, wins on the unprotected view of the same table, on uploads or on the sum. The same
column is told apart from chance there, so that what ends it here is the defence. By itself, uncorrected, no
reading of the cell is below `DOUBT`: a table of many columns hides no leak by its size, nor does an average
hide one example. And its 95 % interval ends below a leak: of too few examples, nothing follows. An interval
may still begin above chance, as one in forty does where nothing is to be found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from secagg_attacks.defences import NONE
from secagg_attacks.results import Finding, Measurement, Verdict
from secagg_attacks.statistics.holm import ALPHA, holm

__all__ = ["DOUBT", "judged"]

DOUBT: Final = 0.01
"""A p-value of one reading, up to which a cell is not called at chance."""


def judged(measurements: Sequence[Measurement], alpha: float = ALPHA) -> tuple[Finding, ...]:
    """A finding for each measurement, in their order."""
    tests = [each.p_value for each in measurements if each.p_value is not None]
    corrected = iter(holm(tests, alpha).adjusted.tolist() if tests else [])
    adjusted = [None if each.p_value is None else next(corrected) for each in measurements]
    told = [
        each
        for each, p_value in zip(measurements, adjusted, strict=True)
        if each.defence == NONE.name and p_value is not None and p_value <= alpha
    ]
    won = {(each.method or each.attack, each.seed) for each in told if each.wins}
    known = {(each.attack, each.seed) for each in told}
    return tuple(
        Finding(each, p_value, _verdict(each, p_value, _shown(each, won, known), alpha))
        for each, p_value in zip(measurements, adjusted, strict=True)
    )


def _shown(of: Measurement, won: set[tuple[str, int]], known: set[tuple[str, int]]) -> bool:
    """Whether a failure says something of the defence."""
    controlled = (of.method or of.attack, of.seed) in won and (of.attack, of.seed) in known
    return controlled and of.defence != NONE.name


def _verdict(of: Measurement, adjusted: float | None, shown: bool, alpha: float) -> Verdict:
    if of.status != "measured":
        return of.status
    if of.p_value is None or adjusted is None:
        return "not shown"
    if adjusted <= alpha:
        leaks = of.leaks_at is not None and of.value is not None and of.value >= of.leaks_at
        return "leaks" if leaks and of.above_chance else "partial"
    most = of.leaks_at if of.clear_below is None else of.clear_below
    below = most is not None and of.high is not None and of.high < most
    return "at chance" if shown and below and min((of.p_value, *of.also)) > DOUBT else "not shown"
