"""Turns by a clock that the target's own fit moves, and what is kept of those that end without a figure."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from secagg_attacks.defences import defence
from secagg_attacks.fingerprint import fingerprint
from secagg_attacks.matrix.attacks import COLUMNS
from secagg_attacks.matrix.case import Memory
from secagg_attacks.matrix.clock import Clock, Shares
from secagg_attacks.matrix.config import Config, versions
from secagg_attacks.matrix.refusals import TrainingError
from secagg_attacks.matrix.turns import Turns
from secagg_attacks.matrix.world import world_of
from secagg_attacks.target import Target
from tests.attacks.measured import TINY

LOSS = COLUMNS["loss-upload"]
LIRA = COLUMNS["lira-upload"]
SCALE = replace(TINY, cohorts=2, clients=4, local_steps=2, candidates=30, deals=1)


class Slow:
    """A fit of five seconds, by a clock that moves with nothing else."""

    def __init__(self):
        self.at, self.fits = 100.0, 0

    def now(self):
        return self.at

    def fit(self, x, y, seed):
        self.at += 5.0
        self.fits += 1
        return network()


def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Linear(6, 3)


def turns(slow, budget, out, fit):
    x = np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)
    y = np.random.default_rng(1).integers(0, 3, 300)
    target = Target(network(), (x[:100], y[:100]), (x[100:], y[100:]), fit=fit, domain="tabular")
    config = Config(0, "t", budget, ("none",), ("loss-upload",), SCALE, versions(), fingerprint(target))
    (out / "cells").mkdir(exist_ok=True)
    return Turns(config, world_of(target), Clock(budget, now=slow.now), Memory(), out, False)


def kept(out):
    return list((out / "cells").iterdir())


@pytest.mark.parametrize("row", ["none", "masks-client-8"])
def test_a_row_whose_time_is_out_between_two_fits_has_no_time_left_and_is_not_kept(tmp_path, row):
    slow = Slow()
    found = turns(slow, 12.0, tmp_path, slow.fit).row(defence(row))
    assert found.notes == ("no time left",)
    assert (slow.fits, slow.at) == (3, 115.0)
    assert kept(tmp_path) == []


def test_a_row_that_has_its_time_is_measured_and_kept(tmp_path):
    slow = Slow()
    found = turns(slow, 21.0, tmp_path, slow.fit).row(defence("none"))
    assert found.accuracy is not None
    assert (slow.fits, len(kept(tmp_path))) == (4, 1)


@pytest.mark.parametrize(("budget", "fits"), [(12.0, 3), (39.0, 8), (44.0, 9)])
def test_a_cell_whose_time_is_out_ends_before_the_next_client_or_shadow_trains(tmp_path, budget, fits):
    """Eight clients, then shadows."""
    slow = Slow()
    table = turns(slow, budget, tmp_path, slow.fit)
    measurement, _ = table.cell(defence("none"), LIRA, Shares(table.clock, [LIRA]))
    assert (measurement.status, measurement.notes) == ("not run", ("no time left",))
    assert slow.fits == fits
    assert kept(tmp_path) == []


def test_a_fit_that_fails_ends_the_turn_and_is_played_once_it_is_mended(tmp_path):
    def fit(x, y, seed):
        raise ValueError("no beds left")

    table = turns(Slow(), None, tmp_path, fit)
    with pytest.raises(TrainingError, match="no beds left"):
        table.row(defence("none"))
    with pytest.raises(TrainingError, match="no beds left"):
        table.cell(defence("none"), LOSS, Shares(table.clock, [LOSS]))
    assert kept(tmp_path) == []


def test_training_that_diverges_is_told_in_row_and_cell_and_not_kept(tmp_path):
    def fit(x, y, seed):
        model = network()
        nn.init.constant_(model.weight, torch.inf)
        return model

    table = turns(Slow(), None, tmp_path, fit)
    row = table.row(defence("none"))
    measurement, _ = table.cell(defence("none"), LOSS, Shares(table.clock, [LOSS]))
    assert row.accuracy is None and measurement.status == "not applicable"
    assert all("[target-diverged]; hint: " in each.notes[0] for each in (row, measurement))
    assert measurement.method == LOSS.method
    assert kept(tmp_path) == []
