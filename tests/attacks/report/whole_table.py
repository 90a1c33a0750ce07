"""A table of every column and every defence, of numbers made up and not played: what a page has to hold."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from secagg_attacks.defences import DEFENCES, NONE, defence
from secagg_attacks.matrix.attacks import COLUMNS
from secagg_attacks.matrix.column import Column
from secagg_attacks.matrix.config import THOROUGH, Config
from secagg_attacks.matrix.outcome import Outcome
from secagg_attacks.results import CLIENTS, Measurement, Row
from secagg_attacks.verdicts import judged
from secagg_attacks.views import ThreatModel
from tests.attacks.measured import measured

EXAMPLES = 600
SIDE = 8


def of(attacks: tuple[str, ...], defences: tuple[str, ...] = tuple(DEFENCES)) -> Outcome:
    """Attacks win without protection and on sums without noise, and know nothing elsewhere."""
    rng = np.random.default_rng(0)
    measurements, arrays = [], {}
    for column in (COLUMNS[name] for name in attacks):
        for row in defences:
            measurement, kept = cell(column, row, rng)
            measurements.append(measurement)
            arrays[row, column.name] = kept
    config = Config(0, "digits", 600.0, defences, attacks, THOROUGH, (("torch", "2"),), "ab" * 32)
    return Outcome(config, "made up", judged(measurements), tuple(map(cost, defences)), arrays, 590.0)


@cache
def whole() -> Outcome:
    return of(tuple(COLUMNS))


def cost(row: str) -> Row:
    noised = defence(row).noised
    return Row(
        row,
        clients=8,
        accuracy=0.8,
        low=0.7,
        high=0.9,
        chance=0.1,
        unit="client",
        delta=1e-5 if noised else None,
        epsilon=8.0 if noised else None,
        view="cd" * 32,
    )


def cell(column: Column, row: str, rng: np.random.Generator) -> tuple[Measurement, dict[str, Any]]:
    noised = defence(row).noised
    wins = row == NONE.name or (column.seen != "upload" and not noised)
    facts = {"threat": ThreatModel(), "method": column.method}
    if column.family == "audit":
        if not noised and row != NONE.name:
            return Measurement(column.name, row, "not applicable", 0, notes=("no noise",)), {}
        shown = 0.5 if noised else 3.0
        return measured(
            column.name, row, figure="epsilon, at least", value=shown, low=shown,
            high=8.0 if noised else None, chance=0.0, ceiling=3.2, must_reach=2.9, leaks_at=2.9,
            p_value=0.01 if noised else 1e-20, **facts,
        ), {}  # fmt: skip
    if column.family == "membership":
        member = np.arange(EXAMPLES) < EXAMPLES // 2
        scores = rng.normal(size=EXAMPLES) + (3 if wins else 0) * member
        facts["more"] = {CLIENTS: 8.0}
        figures = {} if wins else {"value": 0.51, "low": 0.46, "high": 0.56, "p_value": 0.3}
        return measured(column.name, row, **figures, **facts), {"scores": scores, "is_member": member}
    originals, guess = rng.random((2, 8, 1, SIDE, SIDE))
    found = originals if wins else guess
    return measured(
        column.name, row, figure="median PSNR, dB", value=31.5 if wins else 9.1, low=29.0 if wins else 8.0,
        high=40.0 if wins else 10.2, n=8, chance=9.5, ceiling=200.0, p_value=1e-12 if wins else 0.4,
        must_reach=27.0, leaks_at=27.0, **facts,
    ), {"originals": originals, "images": found, "psnr": np.full(8, 31.5 if wins else 9.1)}  # fmt: skip
