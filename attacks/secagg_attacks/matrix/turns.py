"""The turn of one cell, or of one row: found on the disk, played, or left for want of time.

A cell is told its share of what is left. A search that this cuts short gives its best so far and says so;
another attack that there is too little time for, or that earlier rows show to be too long, is "not run". What
the library itself refuses, such as DP-SGD of a model with BatchNorm, is "not applicable", with its reason;
it is found again each time, and not kept. A target's own training that fails ends the table.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from secagg.errors import SecaggError
from secagg_attacks.defences import Defence
from secagg_attacks.matrix.case import Case, Memory, Played
from secagg_attacks.matrix.cells import cell_path, read_cell, read_row, write_cell, write_row
from secagg_attacks.matrix.clock import Clock, OutOfTime, Paces, Shares
from secagg_attacks.matrix.column import Column
from secagg_attacks.matrix.config import Config
from secagg_attacks.matrix.refusals import why_none
from secagg_attacks.matrix.utility import row_of
from secagg_attacks.matrix.world import World
from secagg_attacks.results import Measurement, Row

__all__ = ["Turns"]

_NO_TIME: Final = "no time left"
_ROW: Final = "costs"
"""In place of an attack's name, for the file and the pace of rows."""
_ROWS, _SEARCHES, _OTHERS = "rows", "searches", "others"
"""Kinds of what takes time. Of a search it is what comes beside it: the run that it is made on."""


@dataclass(frozen=True, eq=False)
class Turns:
    """What turns of one table have in common. out: where cells are kept, None: nowhere. longer: whether what
    an earlier session cut short is played again."""

    config: Config
    world: World
    clock: Clock
    memory: Memory
    out: Path | None
    longer: bool
    _paces: Paces = field(default_factory=Paces)

    def row(self, of: Defence) -> Row:
        """What a defence costs. Raises MatrixError `matrix-out`, TrainingError `target-training`."""
        path = self._path(of, _ROW)
        known = None if path is None else read_row(path)
        if known is not None:
            return known
        if self.clock.left <= self._paces.expected(_ROWS, _ROW):
            return self._row_without(of, _NO_TIME)
        begin = time.monotonic()
        stop = self.clock.stop_after(self.clock.left)
        try:
            row = row_of(replace(self._case(of, "", math.inf), on_step=stop))
        except OutOfTime:
            return self._row_without(of, _NO_TIME)
        except (SecaggError, ValueError) as refused:
            return self._row_without(of, why_none(refused, private=of.example_epsilon is not None))
        self._paces.took(_ROWS, _ROW, time.monotonic() - begin)
        if path is not None:
            write_row(path, row)
        return row

    def cell(self, of: Defence, column: Column, shares: Shares) -> Played:
        """One attack on one view. Raises MatrixError `matrix-out`, TrainingError `target-training`."""
        path = self._path(of, column.name)
        known = None if path is None else read_cell(path)
        if known is not None and not (self.longer and known[0].cut_short):
            return known
        case = self._case(of, column.name, shares.of(column))
        try:
            played = self._played(column, case, shares.free(column))
        except OutOfTime:
            return _not_run(case), {}
        except (SecaggError, ValueError) as refused:
            why = why_none(refused, private=of.example_epsilon is not None)
            measurement, arrays = case.not_applicable(why)
            return replace(measurement, method=column.method), arrays
        if path is not None:
            write_cell(path, played)
        return played

    def _row_without(self, of: Defence, why: str) -> Row:
        return Row(of.name, self.config.scale.clients, notes=(why,))

    def _path(self, of: Defence, name: str) -> Path | None:
        return None if self.out is None else cell_path(self.out, self.config, of.name, name)

    def _case(self, of: Defence, attack: str, seconds: float) -> Case:
        config = self.config
        return Case(self.world, of, attack, config.scale, config.seed, self.memory, seconds)

    def _played(self, column: Column, case: Case, free: float) -> Played:
        """Raises OutOfTime, and what the attack raises."""
        kind = _SEARCHES if column.stretches else _OTHERS
        if free <= self._paces.expected(kind, column.name):
            raise OutOfTime
        # One that cannot end early may take more than its share, of what is not promised to others.
        playing = case if column.stretches else replace(case, on_step=self.clock.stop_after(free))
        begin = time.monotonic()
        measurement, arrays = column.play(playing)
        seconds = time.monotonic() - begin
        beside = max(0.0, seconds - case.seconds) if column.stretches else seconds
        self._paces.took(kind, column.name, beside)
        notes = measurement.notes
        if measurement.cut_short:
            notes = (*notes, f"cut short after {seconds:.1f} s: the best so far")
        share = case.seconds if math.isfinite(case.seconds) else 0.0
        return replace(measurement, method=column.method, seconds=seconds, share=share, notes=notes), arrays


def _not_run(case: Case) -> Measurement:
    return Measurement(case.attack, case.defence.name, "not run", case.seed, notes=(_NO_TIME,))
