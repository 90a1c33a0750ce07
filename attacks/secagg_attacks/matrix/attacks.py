"""The columns of a table, by name, family by family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from secagg_attacks.matrix import audits, inversions, memberships
from secagg_attacks.matrix.column import Column
from secagg_attacks.matrix.errors import MatrixError

__all__ = ["COLUMNS", "columns"]

COLUMNS: Final[Mapping[str, Column]] = MappingProxyType(
    {each.name: each for each in (*inversions.COLUMNS, *memberships.COLUMNS, *audits.COLUMNS)}
)


def columns(names: Sequence[str]) -> tuple[Column, ...]:
    """In the order of COLUMNS. Raises MatrixError `attack-unknown`."""
    unknown = [name for name in names if name not in COLUMNS]
    if unknown or not names:
        raise MatrixError(
            "attack-unknown",
            f"no attack is called {unknown[0]!r}" if unknown else "no attack was named",
            f"one of {', '.join(COLUMNS)}",
        )
    return tuple(each for name, each in COLUMNS.items() if name in names)
