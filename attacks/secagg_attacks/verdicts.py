"""From measurements to verdicts: tests against chance, corrected over the whole table, and what must win.

Every measurement carries the p-value of "the attack knows nothing". All of a table are corrected together
(Holm 1979, alpha = 1e-3). What is rejected leaks where its figure reaches `leaks_at`, and is partial below.

What is not rejected is called at chance only where three things hold. The same method, with the same seed,
wins on the unprotected view of the same table, on uploads or on the sum: an attack that fails everywhere has
shown nothing of a defence. Its own p-value, uncorrected, is above alpha: a table of many columns hides no
leak by its size. And its 95 % interval ends below `leaks_at`: of too few examples, nothing follows. An
interval may still begin above chance, as one in forty does where there is nothing to find.
"""

from __future__ import annotations

from collections.abc import Sequence

from secagg_attacks.defences import NONE
from secagg_attacks.results import Finding, Measurement, Verdict
from secagg_attacks.statistics.holm import ALPHA, holm

__all__ = ["judged"]


def judged(measurements: Sequence[Measurement], alpha: float = ALPHA) -> tuple[Finding, ...]:
    """A finding for each measurement, in their order."""
    tests = [each.p_value for each in measurements if each.p_value is not None]
    corrected = iter(holm(tests, alpha).adjusted.tolist() if tests else [])
    won = {
        (each.method or each.attack, each.seed)
        for each in measurements
        if each.defence == NONE.name and each.wins
    }
    found = []
    for each in measurements:
        adjusted = None if each.p_value is None else next(corrected)
        found.append(
            Finding(
                each,
                adjusted,
                _verdict(each, adjusted, (each.method or each.attack, each.seed) in won, alpha),
            )
        )
    return tuple(found)


def _verdict(of: Measurement, adjusted: float | None, shown: bool, alpha: float) -> Verdict:
    if of.status != "measured":
        return of.status
    reached = of.leaks_at is not None and of.value is not None and of.value >= of.leaks_at
    if of.p_value is None or adjusted is None:
        return "not shown"
    if adjusted <= alpha:
        return "leaks" if reached else "partial"
    below = of.leaks_at is not None and of.high is not None and of.high < of.leaks_at
    return "at chance" if shown and of.p_value > alpha and below else "not shown"
