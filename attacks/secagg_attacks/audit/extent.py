"""How much of a run an audit plays: which arrays of the model, and how many of its rounds.

Less of a mechanism gives away no more than all of it (post-processing, Dwork and Roth 2014, proposition 2.1):
what is refuted of some arrays, or of the first rounds, is refuted of the whole. So a bound holds whatever is
left out here, and at worst shows less. A run is in memory whole, with what each client uploaded.
"""

from __future__ import annotations

from typing import Final

from secagg.weights import Layout, Weights
from secagg_attacks.audit.bound import AuditError

__all__ = ["MOST_NUMBERS", "left_out", "rounds_within"]

MOST_NUMBERS: Final = 1 << 24
"""Clients times coordinates times rounds: some 400 MiB in all."""
_SECONDS: Final = 60.0
_PER_PAIR: Final = 7e-4
"""Seconds for two clients that share a mask in a round; measured on one core, as the next."""
_PER_NUMBER: Final = 2.5e-7


def left_out(weights: Weights, local: tuple[str, ...], clients: int, rounds: int = 1) -> tuple[str, ...]:
    """Names of the arrays that a run of so many clients and rounds cannot carry beside the others.

    The first ones by name that fit stay, at least one. Raises AuditError `audit-too-large` where even the
    smallest array is too much for a single round.
    """
    parts = Layout.of(weights, local).parts
    left = MOST_NUMBERS // (clients * rounds)
    kept = set()
    for part in parts:
        if part.stop - part.start <= left:
            kept.add(part.name)
            left -= part.stop - part.start
    if not kept:
        least = min(parts, key=lambda part: part.stop - part.start)
        size = least.stop - least.start
        if size * clients > MOST_NUMBERS:
            raise AuditError(
                "audit-too-large",
                f"the smallest array, '{least.name}', has {size} numbers, and {clients} clients that each "
                f"send it are more than {MOST_NUMBERS} in a round",
                "fewer clients, or a model with smaller arrays",
            )
        kept.add(least.name)
    return tuple(part.name for part in parts if part.name not in kept)


def rounds_within(rounds: int, clients: int, size: int) -> int:
    """As many of `rounds` as take about a minute and fit into memory; one at the least. size: coordinates."""
    seconds = _PER_PAIR * clients**2 + _PER_NUMBER * clients * size
    return max(1, min(rounds, int(_SECONDS / seconds), MOST_NUMBERS // (clients * size)))
