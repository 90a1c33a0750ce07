"""Attacks on sums and first layers as cells: what wins without protection, and what masks stop of it."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from secagg_attacks.defences import defence
from secagg_attacks.federation import Federation
from secagg_attacks.matrix import first_layers, inversions, sums, two_models
from secagg_attacks.matrix.attacks import COLUMNS
from secagg_attacks.matrix.case import Case, Memory
from secagg_attacks.matrix.first_layers import grid_of
from secagg_attacks.matrix.world import World, digits_world, world_of
from secagg_attacks.target import Target
from tests.attacks.measured import TINY

ROOMS = (inversions, sums, first_layers, two_models)
READERS = ("traps", "sratta", "cocktail")


@cache
def digits() -> tuple[World, Memory]:
    return digits_world(0), Memory()


@cache
def cell(row: str, attack: str):
    world, memory = digits()
    case = Case(world, defence(row), attack, replace(TINY, images=2), 0, memory)
    return COLUMNS[attack].play(case)[0]


def table() -> World:
    x = np.random.default_rng(0).normal(size=(300, 6))
    y = np.random.default_rng(1).integers(0, 3, 300)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3)).double()
    return world_of(Target(model, (x[:100], y[:100]), (x[100:], y[100:]), domain="tabular"))


def played(world: World, row: str, attack: str):
    return COLUMNS[attack].play(Case(world, defence(row), attack, TINY, 0, Memory()))[0]


@pytest.mark.parametrize("attack", READERS)
def test_examples_are_read_out_of_the_sum_and_masks_do_not_stop_it(attack):
    bare, masked = cell("none", attack), cell("masks", attack)
    assert bare.wins and masked.wins
    assert masked.p_value < 1e-9
    assert masked.chance < 0.05


@pytest.mark.parametrize(
    ("attack", "row"), [("traps", "masks"), ("traps", "bfv"), ("sratta", "masks"), ("cocktail", "masks")]
)
def test_nothing_is_read_out_of_a_protected_upload_and_all_of_a_bare_one(attack, row):
    bare, hidden = cell("none", f"{attack}-upload"), cell(row, f"{attack}-upload")
    assert bare.wins and bare.value >= 0.75
    assert (hidden.value, hidden.p_value) == (0.0, 1.0)


@pytest.mark.parametrize("attack", ["traps", "cocktail"])
def test_noise_on_whole_updates_leaves_nothing_to_read(attack):
    found = cell("masks-client-8", attack)
    assert found.value <= found.chance
    assert found.p_value == 1.0


def test_an_upload_and_its_sum_are_of_one_run_and_one_method():
    for attack in READERS:
        assert cell("masks", attack).view == cell("masks", f"{attack}-upload").view
        assert COLUMNS[attack].method == COLUMNS[f"{attack}-upload"].method


def test_only_the_server_that_changes_the_model_is_malicious():
    adversaries = {attack: cell("none", attack).threat.adversary for attack in (*READERS, "two-models")}
    assert adversaries == {
        "traps": "malicious",
        "sratta": "honest-but-curious",
        "cocktail": "honest-but-curious",
        "two-models": "malicious",
    }


def test_two_sums_that_differ_by_a_client_give_its_image_away_under_masks():
    assert cell("masks", "differencing").value > 100
    assert cell("masks", "differencing").wins


def test_the_run_without_a_client_has_the_noise_of_the_seed_it_is_given():
    federation = Federation(digits()[0].networks["analytic"], inversions.CLIENTS, per_client=1)
    hidden, absent = defence("masks-client-0.1"), federation.names[0]
    first, again, other = (
        sums.without(absent, hidden, federation, federation.terms(), seed).rounds[0].mean
        for seed in (federation.seed, federation.seed, 1)
    )
    for name, noisy in first.items():
        np.testing.assert_array_equal(again[name], noisy)
        assert np.linalg.norm(other[name] - noisy) > 0.8 * np.linalg.norm(noisy)


def test_noise_is_drawn_anew_in_each_of_two_runs_and_their_difference_is_hidden():
    found = cell("masks-client-8", "differencing")
    assert found.value < 20
    assert found.p_value > 1e-4


@pytest.mark.parametrize("row", ["masks", "bfv", "masks-client-8"])
def test_two_models_in_one_round_are_blocked_and_the_cell_names_the_code(row):
    found = cell(row, "two-models")
    assert (found.value, found.p_value) == (0.0, 1.0)
    assert found.notes[1:] == ("blocked: member-signature, 2 of 2 victims",)
    assert len(found.view) == 64


def test_without_protection_two_models_read_every_victim():
    assert cell("none", "two-models").value == 1.0
    assert not any("blocked" in note for note in cell("none", "two-models").notes)


def test_a_roster_that_is_accepted_counts_as_every_example_found_and_is_called_a_failure():
    world, memory = digits()
    case = Case(world, defence("masks"), "two-models", replace(TINY, images=1), 0, memory)
    federation = Federation(world.networks["analytic"], inversions.CLIENTS, per_client=1)
    # One model for all: what the protocol must refuse of two, it accepts of one.
    found, _ = two_models.against(case, federation, federation.initial)
    assert found.value == 1.0
    assert found.notes[1] == "FAILURE: roster-accepted, 1 of 1 victims"


def test_the_level_of_the_librarys_log_is_as_it_was():
    before = logging.getLogger("secagg").level
    cell("masks", "two-models")
    assert logging.getLogger("secagg").level == before


@pytest.mark.parametrize("attack", ["analytic", "differencing", "traps", "two-models"])
def test_attacks_that_compute_read_the_rows_of_a_table_too(attack):
    assert played(table(), "none", attack).wins


def test_the_cocktail_party_is_of_pictures():
    assert played(table(), "none", "cocktail").status == "not applicable"


def test_a_model_whose_first_layer_sees_no_input_is_not_applicable_and_a_trap_is_put_before_it():
    data = np.random.default_rng(0).random((120, 1, 8, 8))
    y = np.random.default_rng(1).integers(0, 3, 120)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).double()
    world = world_of(Target(model, (data[:60], y[:60]), (data[60:], y[60:])))
    for attack in ("sratta", "cocktail-upload", "two-models", "differencing"):
        found = played(world, "none", attack)
        assert found.status == "not applicable"
        assert "[analytic-needs-linear]" in found.notes[0]
    assert played(world, "none", "traps").wins


def test_the_grid_of_pixels_is_seen_and_of_measurements_there_is_none():
    assert grid_of(digits()[0].networks["analytic"]) == 16
    assert grid_of(table().target) is None


def test_the_mean_of_two_clients_is_of_as_many_cohorts_as_there_are_images_for():
    found = cell("none", "mean-2")
    assert found.n == 2
    assert found.more["steps of each search, mean"] == TINY.steps


def test_every_column_of_these_rooms_has_a_name_of_its_own_and_is_in_the_table():
    names = [column.name for room in ROOMS for column in room.COLUMNS]
    assert len(names) == len(set(names))
    assert set(names) <= set(COLUMNS)
    assert all(column.family == "inversion" for room in ROOMS for column in room.COLUMNS)
