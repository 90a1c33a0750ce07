"""Multi-round differencing: two sums of cohorts that differ by one member differ by that member's update.

The sums may be of one run or of several, such as one with everybody and one to which a client was not asked.
No protocol that opens sums prevents it (So et al. 2023, Securing secure aggregation: mitigating multi-round
privacy leakage in federated learning, arXiv 2106.03328); noise on whole updates bounds it. Exact if
both rounds began with the same model and clients train as they did; `drift` says how far apart models were.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np

from secagg_attacks.views.view import Arrays, RoundView, View

__all__ = ["Difference", "differences"]


@dataclass(frozen=True, eq=False, repr=False)
class Difference:
    """What one client's update must have been, if the others' were the same in both sums.

    update: float64 arrays. larger, smaller: (view, round) of the sum with the client and of that without;
    views count from 0 in the order given. drift: L2 distance of the two models.
    """

    client: str
    update: Arrays
    larger: tuple[int, int]
    smaller: tuple[int, int]
    drift: float

    def __repr__(self) -> str:
        return f"Difference({self.client!r}, {self.larger} less {self.smaller})"


def differences(*views: View) -> tuple[Difference, ...]:
    """Every pair of opened sums whose cohorts differ by one member, the smallest drift first."""
    sums = [
        ((at, each.round), each, _sum(each, view))
        for at, view in enumerate(views)
        for each in view.rounds
        if each.cohort
    ]
    found = []
    for (larger, more, with_it), (smaller, fewer, without) in permutations(sums, 2):
        odd = set(more.cohort) - set(fewer.cohort)
        if len(odd) == 1 and len(more.cohort) == len(fewer.cohort) + 1 and with_it.keys() == without.keys():
            update = {name: array - without[name] for name, array in with_it.items()}
            found.append(Difference(odd.pop(), update, larger, smaller, _distance(more.model, fewer.model)))
    return tuple(sorted(found, key=lambda one: (one.drift, one.larger, one.smaller)))


def _sum(of: RoundView, view: View) -> Arrays:
    count = float(len(of.cohort)) if view.divisor is None else view.divisor
    return {name: array.astype(np.float64) * count for name, array in (of.mean or {}).items()}


def _distance(one: Arrays, other: Arrays) -> float:
    squares = (
        float(np.sum((array.astype(np.float64) - other[name]) ** 2))
        for name, array in one.items()
        if name in other
    )
    return float(np.sqrt(sum(squares)))
