"""Playing a table: cell by cell, within the budget, each kept as it ends.

Columns are played one after another, the unprotected row first in each, so that what is there when time runs
out can be read: a failure counts only beside a success. A cell is told its share of what is left. A search
that this cuts short gives its best so far and says so; another attack that it is too short for, or that the
same attack on an earlier row shows to be too long, is "not run". What the library itself refuses, such as
DP-SGD of a model with BatchNorm, is "not applicable", with its reason. Nothing is made smaller in silence.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch

from secagg.errors import SecaggError
from secagg_attacks.defences import NONE, Defence, defence
from secagg_attacks.fingerprint import fingerprint
from secagg_attacks.matrix.attacks import COLUMNS, columns
from secagg_attacks.matrix.case import Arrays, Case, Memory, Played
from secagg_attacks.matrix.cells import cell_path, read_cell, read_row, write_cell, write_row
from secagg_attacks.matrix.clock import Clock, OutOfTime
from secagg_attacks.matrix.column import Column
from secagg_attacks.matrix.config import Config, Scale, begin, rows_for, scale_for, versions
from secagg_attacks.matrix.errors import note_of
from secagg_attacks.matrix.utility import row_of
from secagg_attacks.matrix.world import World, digits_world, world_of
from secagg_attacks.results import Finding, Measurement, Row
from secagg_attacks.target import Target
from secagg_attacks.verdicts import judged

__all__ = ["Outcome", "Progress", "play"]

Progress = Callable[[str, str, int, int], None]
"""(defence, attack, cells done, cells in all), as each begins."""

_NO_TIME: Final = "no time left"
_ROW: Final = "costs"
"""In place of an attack's name, for the file of a row."""
_KEPT_BACK: Final = (0.1, 6.0)
"""Of a budget, for imports, verdicts and pages: this share of it, and no more seconds than these."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """A table: findings, column by column; rows; arrays of each cell by (defence, attack)."""

    config: Config
    about: str
    findings: tuple[Finding, ...]
    rows: tuple[Row, ...]
    arrays: dict[tuple[str, str], Arrays]
    seconds: float

    def finding(self, defence: str, attack: str) -> Finding:
        """KeyError if there is no such cell."""
        for each in self.findings:
            if (each.measurement.defence, each.measurement.attack) == (defence, attack):
                return each
        raise KeyError((defence, attack))

    @property
    def failures(self) -> tuple[Finding, ...]:
        """Audits whose lower bound, at 99.9 % confidence, beats what the noise was accounted with."""
        return tuple(each for each in self.findings if each.measurement.beats_account)


def play(
    target: Target | None = None,
    *,
    defences: Sequence[str] | None = None,
    attacks: Sequence[str] = tuple(COLUMNS),
    seed: int = 0,
    budget: float | None = None,
    out: Path | None = None,
    scale: Scale | None = None,
    on_cell: Progress | None = None,
    source: str = "",
) -> Outcome:
    """Every attack on every defence. target: None for scikit-learn's digits. source: MODULE:FUNCTION that
    gave the target, to be written down.

    defences: by name, None for what the budget allows; the unprotected run is added, for nothing is shown
    without it. budget: seconds. out:
    where cells are kept, and found again; None: nowhere. scale: None for what the budget allows.
    Raises DefenceError `defence-unknown`, MatrixError `attack-unknown`, `matrix-other-config`,
    `matrix-budget`, `matrix-out`.
    """
    chosen = _rows(rows_for(budget) if defences is None else defences)
    wanted = columns(attacks)
    share, most = _KEPT_BACK
    clock = Clock(None if budget is None else budget - min(share * budget, most))
    world = digits_world(seed) if target is None else world_of(target)
    config = Config(
        seed,
        world.name,
        budget,
        tuple(each.name for each in chosen),
        tuple(each.name for each in wanted),
        scale or scale_for(budget),
        versions(),
        fingerprint(world.target),
        source,
    )
    longer = out is not None and begin(config, out)
    with _one_thread():
        played = _cells(config, world, chosen, wanted, clock, out, longer, on_cell)
        rows = tuple(_row(config, world, each, played.memory, clock, out) for each in chosen)
    measurements = [measurement for measurement, _ in played.cells.values()]
    return Outcome(
        config,
        world.about,
        judged(measurements),
        tuple(_with_bound(row, measurements) for row in rows),
        {key: arrays for key, (_, arrays) in played.cells.items()},
        clock.taken,
    )


@dataclass(eq=False)
class _Table:
    cells: dict[tuple[str, str], Played]
    memory: Memory


def _rows(names: Sequence[str]) -> tuple[Defence, ...]:
    """The unprotected run first, each once."""
    return tuple(dict.fromkeys((NONE, *map(defence, names))))


def _cells(
    config: Config,
    world: World,
    chosen: Sequence[Defence],
    wanted: Sequence[Column],
    clock: Clock,
    out: Path | None,
    longer: bool,
    on_cell: Progress | None,
) -> _Table:
    table = _Table({}, Memory())
    order = [(column, each) for column in sorted(wanted, key=_weight) for each in chosen]
    to_come = sum(column.weight for column, _ in order)
    longest: dict[str, float] = {}
    for done, (column, each) in enumerate(order):
        path = None if out is None else cell_path(out, config, each.name, column.name)
        known = None if path is None else read_cell(path)
        if on_cell is not None:
            on_cell(each.name, column.name, done, len(order))
        if known is None or (longer and known[0].cut_short):
            share = clock.share(column.weight, to_come)
            case = Case(world, each, column.name, config.scale, config.seed, table.memory, share)
            known = _cell(case, column, clock, longest)
            if path is not None and known[0].status != "not run":
                write_cell(path, known)
        to_come -= column.weight
        table.cells[each.name, column.name] = known
    if on_cell is not None:
        on_cell("", "", len(order), len(order))
    return table


def _cell(case: Case, column: Column, clock: Clock, longest: dict[str, float]) -> Played:
    if clock.left <= longest.get(column.name, 0.0):
        return _not_run(case), {}
    begin = time.monotonic()
    # One that cannot end early may take more than its share, of what nobody needs any more, but not all.
    limit = clock.left if not column.stretches else case.seconds
    playing = replace(case, on_step=clock.stop_after(limit)) if not column.stretches else case
    try:
        measurement, arrays = column.play(playing)
    except OutOfTime:
        return _not_run(case), {}
    except SecaggError as refused:
        measurement, arrays = case.not_applicable(note_of(refused))
    seconds = time.monotonic() - begin
    # Of a search that ends when told to, what it takes beside: the run that it is made on.
    firm = max(0.0, seconds - case.seconds) if column.stretches else seconds
    longest[column.name] = max(longest.get(column.name, 0.0), firm)
    notes = measurement.notes
    if measurement.cut_short:
        notes = (*notes, f"cut short after {seconds:.1f} s: the best so far")
    share = case.seconds if math.isfinite(case.seconds) else 0.0
    return replace(measurement, method=column.method, seconds=seconds, share=share, notes=notes), arrays


def _weight(column: Column) -> float:
    return column.weight


def _not_run(case: Case) -> Measurement:
    return Measurement(case.attack, case.defence.name, "not run", case.seed, notes=(_NO_TIME,))


def _row(config: Config, world: World, each: Defence, memory: Memory, clock: Clock, out: Path | None) -> Row:
    path = None if out is None else cell_path(out, config, each.name, _ROW)
    known = None if path is None else read_row(path)
    if known is not None:
        return known
    case = Case(world, each, "", config.scale, config.seed, memory)
    if (each.name, "membership") not in memory.views and clock.left <= 0:
        return Row(each.name, config.scale.clients, notes=(_NO_TIME,))
    try:
        row = row_of(case)
    except SecaggError as refused:
        row = Row(each.name, config.scale.clients, notes=(note_of(refused),))
    if path is not None:
        write_row(path, row)
    return row


def _with_bound(row: Row, measurements: Sequence[Measurement]) -> Row:
    bounds = [each.value for each in measurements if each.attack == "audit" and each.defence == row.defence]
    return replace(row, lower_bound=bounds[0] if bounds else None)


class _one_thread:  # noqa: N801 - used as a context
    """Small models gain nothing from more threads, and figures then do not depend on how many there are."""

    def __enter__(self) -> None:
        self._before = torch.get_num_threads()
        torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self._before)
