"""What masks and ciphertexts leave: attacks on the opened sum, by clients in it, with noise and without.

Only of cells that were measured. One row stands for all without noise, for they open the same sum: masks, if
they are there. One client's upload in the clear is the mean of one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from secagg_attacks.defences import NONE, Defence, defence
from secagg_attacks.matrix.attacks import COLUMNS
from secagg_attacks.matrix.column import Column
from secagg_attacks.matrix.outcome import Outcome
from secagg_attacks.report import figures
from secagg_attacks.report.groups import CLASSES
from secagg_attacks.report.mean_chart import MeanLine, Point, svg
from secagg_attacks.report.pictures import Picture, strip
from secagg_attacks.report.svg_marks import CHANCE, stroke, swatch
from secagg_attacks.results import Measurement, Row

__all__ = ["HonestRow", "Membership", "honest_row"]

_MEAN: Final = re.compile(r"mean-([0-9]+)")
_TITLE: Final = "What inverting gradients makes of the mean of so many clients"


@dataclass(frozen=True)
class Membership:
    """heads: a defence and which noise is in its sum. rows: an attack's title, how many clients are in the
    sum, and for each defence (style, AUC, interval)."""

    heads: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, str, tuple[tuple[str, str, str], ...]], ...]


@dataclass(frozen=True)
class HonestRow:
    """chart: an SVG, empty where no mean was inverted; legend: (swatch, words) of its lines. strips: images
    beside what was made of means without noise. membership: None where none was measured on a sum."""

    chart: str
    title: str
    legend: tuple[tuple[str, str], ...]
    strips: tuple[Picture, ...]
    membership: Membership | None


def honest_row(outcome: Outcome) -> HonestRow | None:
    """None where nothing was measured on a sum."""
    means = _means(outcome)
    asked = [each for each in _chosen(outcome) if (each.family, each.seen) == ("membership", "sum")]
    of_means = _rows(outcome, list(means.values()))
    of_members = _rows(outcome, asked)
    if not of_means and not of_members:
        return None
    lines, chance = _lines(outcome, of_means, means)
    legend = [(swatch(stroke(line.stroke)[1]), line.label) for line in lines]
    return HonestRow(
        chart=svg("means", _TITLE, lines, chance) if lines else "",
        title=_TITLE,
        legend=(*legend, (swatch(CHANCE), "chance")),
        strips=_strips(outcome, of_means[0].defence, means) if of_means else (),
        membership=_membership(outcome, of_members, asked) if of_members else None,
    )


def _chosen(outcome: Outcome) -> list[Column]:
    return [COLUMNS[name] for name in outcome.config.attacks]


def _means(outcome: Outcome) -> dict[int, Column]:
    """Columns of one attack on means, by the clients in them."""
    named = ((_MEAN.fullmatch(each.name), each) for each in _chosen(outcome))
    return {int(found[1]): each for found, each in named if found is not None}


def _rows(outcome: Outcome, columns: list[Column]) -> list[Row]:
    """Rows that have a figure in one of the columns: the one that stands for all without noise, then those
    with it."""
    measured = [
        row
        for row in outcome.rows
        if any(_measured(outcome, row.defence, each.name) is not None for each in columns)
    ]
    plain = [row for row in measured if not defence(row.defence).noised]
    plain.sort(key=lambda row: defence(row.defence).kind == NONE.kind)
    return plain[:1] + [row for row in measured if defence(row.defence).noised]


def _measured(outcome: Outcome, defence: str, attack: str) -> Measurement | None:
    found = outcome.finding(defence, attack).measurement
    return None if found.value is None else found


def _lines(
    outcome: Outcome, rows: list[Row], means: dict[int, Column]
) -> tuple[list[MeanLine], dict[int, float]]:
    methods = {each.method for each in means.values()}
    alone = [each.name for each in _chosen(outcome) if each.seen == "upload" and each.method in methods]
    order = [row.defence for row in outcome.rows]
    lines: list[MeanLine] = []
    chance: dict[int, float] = {}
    for row in rows:
        kept = defence(row.defence)
        cells = [(clients, row.defence, each.name) for clients, each in sorted(means.items())]
        # What one client uploads is in the clear without protection, and is the same where nothing is noised.
        if not kept.noised or kept.kind == NONE.kind:
            clear = row.defence if kept.noised else NONE.name
            cells = [*((1, clear, name) for name in alone[:1]), *cells]
        points = []
        for clients, name, attack in cells:
            found = _measured(outcome, name, attack)
            if found is None or found.value is None or found.low is None or found.high is None:
                continue
            points.append(Point(clients, found.value, found.low, found.high))
            if found.chance is not None:
                chance.setdefault(clients, found.chance)
        if points:
            lines.append(MeanLine(f"{row.defence}: {_noise(kept)}", order.index(row.defence), tuple(points)))
    return lines, chance


def _strips(outcome: Outcome, row: str, means: dict[int, Column]) -> tuple[Picture, ...]:
    found: list[Picture] = []
    for clients, column in sorted(means.items()):
        arrays = outcome.arrays.get((row, column.name), {})
        if "images" in arrays:
            of = outcome.finding(row, column.name)
            found.append(strip(f"images of clients, {clients} in a mean", arrays["originals"]))
            words = f"from the mean of {clients} ({row}): {figures.headline(of)}, {of.verdict}"
            found.append(strip(words, arrays["images"]))
    return tuple(found)


def _membership(outcome: Outcome, rows: list[Row], asked: list[Column]) -> Membership:
    table = []
    for column in asked:
        found = [outcome.finding(row.defence, column.name) for row in rows]
        clients = next(filter(None, map(figures.clients, found)), "")
        cells = tuple(
            (CLASSES[of.verdict], figures.headline(of) or of.verdict, figures.interval(of)) for of in found
        )
        table.append((column.title, clients, cells))
    heads = tuple((row.defence, _noise(defence(row.defence))) for row in rows)
    return Membership(heads, tuple(table))


def _noise(of: Defence) -> str:
    """Which noise is in its sum, in words."""
    said = [
        *([] if of.client_epsilon is None else [f"noise of ε {of.client_epsilon:g} on clients"]),
        *([] if of.example_epsilon is None else [f"noise of ε {of.example_epsilon:g} on examples"]),
    ]
    return " and ".join(said) or "no noise"
