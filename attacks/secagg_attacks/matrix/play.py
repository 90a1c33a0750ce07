"""Playing a table: row by row and cell by cell, within the budget, each kept as it ends.

What every defence costs comes first: it is cheap, and made on the run that membership is asked of. Then
columns are played one after another, the lightest first, the unprotected row first in each, so that what is
there when time runs out can be read: a failure counts only beside a success. Nothing is made smaller in
silence.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from secagg_attacks.begun import Begun
from secagg_attacks.defences import Defence
from secagg_attacks.fingerprint import fingerprint
from secagg_attacks.matrix.alone import alone_in
from secagg_attacks.matrix.audits import bound_of
from secagg_attacks.matrix.case import Memory, Played
from secagg_attacks.matrix.choice import columns, rows
from secagg_attacks.matrix.clock import Clock, Shares, kept_back
from secagg_attacks.matrix.column import Column, Family
from secagg_attacks.matrix.config import Config, Scale, begin, check_budget, check_seed, scale_for, versions
from secagg_attacks.matrix.outcome import Outcome
from secagg_attacks.matrix.turns import Turns
from secagg_attacks.matrix.world import digits_world, world_of
from secagg_attacks.target import Target
from secagg_attacks.verdicts import judged

__all__ = ["Outcome", "Progress", "play"]

Progress = Callable[[str, str, int, int], None]
"""(defence, attack, cells done, cells in all), as each begins."""


def play(
    target: Target | None = None,
    *,
    defences: Sequence[str] | None = None,
    attacks: Sequence[str] | None = None,
    family: Family | None = None,
    seed: int = 0,
    budget: float | None = None,
    out: str | Path | None = None,
    scale: Scale | None = None,
    on_cell: Progress | None = None,
    executor: Executor | None = None,
    source: str = "",
    begun: Begun | None = None,
) -> Outcome:
    """Every attack on every defence. target: None for scikit-learn's digits. source: MODULE:FUNCTION that
    gave the target, to be written down.

    defences, attacks: by name, None for what the budget allows; the unprotected run is added, for nothing is
    shown without it. family: the columns that there are to choose from, None: all. budget: seconds, some of
    them for what comes after. begun: when it began; None: now. out: where cells are kept, and found again;
    None: nowhere. scale: None for what the budget allows. executor: of attacks that train much side by side.

    Raises DefenceError `defence-unknown`, MatrixError `attack-unknown`, `matrix-other-config`, `matrix-
    budget`, `matrix-seed`, `matrix-in-use`, `matrix-out`, and TrainingError `target-training` where the
    target's own training fails.
    """
    check_seed(seed)
    check_budget(budget)
    chosen, wanted = rows(defences, budget), columns(attacks, budget, family)
    since = begun or Begun.now()
    back = since.slowness() * kept_back(len(chosen) * len(wanted))
    clock = Clock(budget, begun=since.wall, back=back)
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
    folder = None if out is None else Path(out)
    with alone_in(folder), _one_thread(), _unlogged():
        longer = folder is not None and begin(config, folder)
        turns = Turns(config, world, clock, Memory(executor=executor), folder, longer)
        costs = tuple(turns.row(each) for each in chosen)
        cells = _cells(turns, chosen, wanted, on_cell)
    measurements = [measurement for measurement, _ in cells.values()]
    return Outcome(
        config,
        world.about,
        judged(measurements),
        tuple(replace(row, lower_bound=bound_of(row, measurements)) for row in costs),
        {key: arrays for key, (_, arrays) in cells.items()},
        sum(row.seconds for row in costs) + sum(each.seconds for each in measurements),
    )


def _cells(
    turns: Turns, chosen: Sequence[Defence], wanted: Sequence[Column], on_cell: Progress | None
) -> dict[tuple[str, str], Played]:
    cells: dict[tuple[str, str], Played] = {}
    order = [(column, each) for column in sorted(wanted, key=attrgetter("weight")) for each in chosen]
    shares = Shares(turns.clock, [column for column, _ in order])
    for done, (column, each) in enumerate(order):
        if on_cell is not None:
            on_cell(each.name, column.name, done, len(order))
        cells[each.name, column.name] = turns.cell(each, column, shares)
        shares.over(column)
    if on_cell is not None:
        on_cell("", "", len(order), len(order))
    return cells


@contextmanager
def _unlogged() -> Iterator[None]:
    """What a client of a simulated run logs of its training, a table says by itself."""
    logger = logging.getLogger("secagg")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Small models gain nothing from more threads, and figures then do not depend on how many there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
