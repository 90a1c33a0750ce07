"""The columns of a table, by name, family by family."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from secagg_attacks.matrix import audits, first_layers, inversions, memberships, sums, two_models
from secagg_attacks.matrix.column import Column

__all__ = ["COLUMNS"]

COLUMNS: Final[Mapping[str, Column]] = MappingProxyType(
    {
        each.name: each
        for room in (inversions, sums, first_layers, two_models, memberships, audits)
        for each in room.COLUMNS
    }
)
