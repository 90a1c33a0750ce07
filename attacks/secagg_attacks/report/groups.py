"""The heat map in parts that can be read: one table for each family and what its attacks are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from secagg_attacks.matrix.attacks import COLUMNS
from secagg_attacks.matrix.column import Column, Family, Seen
from secagg_attacks.matrix.inversions import CLIENTS
from secagg_attacks.matrix.outcome import Outcome
from secagg_attacks.report import figures
from secagg_attacks.results import Finding, Row

__all__ = ["CLASSES", "Cell", "Group", "groups"]

CLASSES: Final = {
    "at chance": "chance",
    "partial": "partial",
    "leaks": "leaks",
    "not shown": "unshown",
    "not applicable": "none",
    "not run": "none",
}
"""The style of each verdict."""

_GROUPS: Final[tuple[tuple[str, Family, frozenset[Seen], str], ...]] = (
    ("Inversion, from one client's upload", "inversion", frozenset({"upload"}),
     "What one client sent, taken for its update whatever protects it. A masked vector and a ciphertext are "
     "read as the numbers that they are made of, which look uniform: at chance here says that uploads are "
     "hidden, and nothing of the sum."),
    ("Inversion, through the opened sum", "inversion", frozenset({"sum", "run"}),
     "What the server is given at the end of a round, by masks and ciphertexts as much as without: they "
     f"leave the sum as it is. Sums are of {CLIENTS} clients where a column does not say of how many. Here "
     "are also the runs of a server that hands out models of its own choice."),
    ("Membership, from one client's upload", "membership", frozenset({"upload"}),
     "Was this example trained on? Asked of the model that one client's upload makes of the global one, "
     "whatever protects the upload."),
    ("Membership, from the opened sum", "membership", frozenset({"sum"}),
     "The same, asked of the model that the opened sum makes. More clients in the sum hide each other "
     "better; nothing but noise gives a bound."),
    ("Audit", "audit", frozenset({"upload", "sum", "run"}),
     "Canaries in a run of their own: a lower bound on epsilon, beside what the noise is accounted with."),
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """kind: the verdict's style. clients: in the sum, empty elsewhere. levels: how many it is of, chance and
    ceiling; empty without a figure."""

    kind: str
    verdict: str
    headline: str
    interval: str
    clients: str
    levels: str


@dataclass(frozen=True)
class Group:
    """One table: columns, and for each defence its cells."""

    title: str
    says: str
    family: Family
    columns: tuple[Column, ...]
    rows: tuple[tuple[Row, tuple[Cell, ...]], ...]


def groups(outcome: Outcome) -> tuple[Group, ...]:
    """Those that the table has columns of."""
    chosen = [COLUMNS[name] for name in outcome.config.attacks]
    found = []
    for title, family, seen, says in _GROUPS:
        columns = tuple(each for each in chosen if each.family == family and each.seen in seen)
        if columns:
            rows = tuple(
                (row, tuple(_cell(each, outcome.finding(row.defence, each.name)) for each in columns))
                for row in outcome.rows
            )
            found.append(Group(title, says, family, columns, rows))
    return tuple(found)


def _cell(column: Column, of: Finding) -> Cell:
    return Cell(
        CLASSES[of.verdict],
        of.verdict,
        figures.headline(of),
        figures.interval(of),
        f"sum of {figures.clients(of)}" if column.seen == "sum" and figures.clients(of) else "",
        figures.levels(of),
    )
