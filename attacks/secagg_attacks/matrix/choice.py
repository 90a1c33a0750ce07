"""Which rows and columns a table has: those that were named, or those that there is time for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from secagg_attacks.defences import DEFENCES, NONE, Defence, defence
from secagg_attacks.matrix.attacks import COLUMNS
from secagg_attacks.matrix.column import Column, Family
from secagg_attacks.matrix.config import is_quick
from secagg_attacks.matrix.errors import MatrixError

__all__ = ["QUICK_ROWS", "columns", "columns_for", "rows", "rows_for"]

QUICK_ROWS: Final = ("none", "masks", "masks-client-8", "bfv", "masks-example-8")
"""What there is time for in a minute."""


def rows_for(budget: float | None) -> tuple[str, ...]:
    """The rows of a table for which none were named: all of DEFENCES, or QUICK_ROWS below five minutes."""
    return QUICK_ROWS if is_quick(budget) else tuple(DEFENCES)


def columns_for(budget: float | None, family: Family | None = None) -> tuple[str, ...]:
    """The columns, likewise: all of a family, or those that are quick. family: None for every one."""
    return tuple(name for name, each in _of(family).items() if each.quick or not is_quick(budget))


def rows(names: Sequence[str] | None, budget: float | None) -> tuple[Defence, ...]:
    """The unprotected run first, each once. Raises DefenceError `defence-unknown`."""
    return tuple(dict.fromkeys((NONE, *map(defence, rows_for(budget) if names is None else names))))


def columns(
    names: Sequence[str] | None, budget: float | None, family: Family | None = None
) -> tuple[Column, ...]:
    """In the order of COLUMNS, each once. Raises MatrixError `attack-unknown`, also of another family's."""
    among = _of(family)
    wanted = columns_for(budget, family) if names is None else names
    unknown = [name for name in wanted if name not in among]
    if unknown or not wanted:
        kind = f"{family} attack" if family else "attack"
        raise MatrixError(
            "attack-unknown",
            f"no {kind} is called {unknown[0]!r}" if unknown else f"no {kind} was named",
            f"one of {', '.join(among)}",
        )
    return tuple(each for name, each in among.items() if name in wanted)


def _of(family: Family | None) -> dict[str, Column]:
    return {name: each for name, each in COLUMNS.items() if family in (None, each.family)}
