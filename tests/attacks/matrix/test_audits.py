"""Audits as cells: of which noise, with which canaries, in which model, and when they fail."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from secagg_attacks.audit.canary_run import CanaryRun
from secagg_attacks.defences import NONE, defence
from secagg_attacks.matrix.audits import COLUMNS, audit_clients, audit_examples, bound_of, measured
from secagg_attacks.matrix.case import Case, Memory
from secagg_attacks.matrix.world import world_of
from secagg_attacks.results import ACCOUNTED, SURE_BOUND, Measurement, Row
from secagg_attacks.target import Target
from secagg_attacks.views import Account, ThreatModel
from tests.attacks.digit_targets import normalised, target
from tests.attacks.measured import TINY
from tests.attacks.measured import measured as a_measurement


def case_of(name: str, attacked: Target | None = None, attack: str = "audit") -> Case:
    world = world_of(target() if attacked is None else attacked)
    return Case(world, defence(name), attack, TINY, 0, Memory())


@cache
def clients(name: str) -> Measurement:
    return audit_clients(case_of(name))[0]


@cache
def examples(name: str) -> Measurement:
    return audit_examples(case_of(name, attack="audit-examples"))[0]


# -- canary clients -----------------------------------------------------------------------------------------


def test_canary_clients_are_in_the_targets_own_model_beside_honest_ones() -> None:
    found = clients("masks-client-8")

    size = 64 * 32 + 32 + 32 * 10 + 10
    assert found.notes[0] == f"30 canary clients beside 4 honest ones, in {size} of {size} coordinates"
    assert found.n == TINY.canaries
    assert found.value is not None
    assert 0 <= found.low == found.value <= found.more[ACCOUNTED]
    assert not found.beats_account


def test_without_protection_every_canary_of_either_kind_is_found() -> None:
    for found in (clients("none"), examples("none")):
        assert found.wins
        assert found.more["AUC"] == 1.0
        assert ACCOUNTED not in found.more


def test_another_target_is_another_run() -> None:
    wide = audit_clients(case_of("none", target(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).double())))[0]

    assert wide.wins
    assert wide.notes[0].endswith("in 650 of 650 coordinates")
    assert wide.view != clients("none").view


def test_of_a_model_with_fewer_coordinates_than_canaries_each_has_one_of_its_own() -> None:
    tiny = nn.Sequential(nn.Flatten(), nn.Linear(64, 2, bias=False), nn.Linear(2, 10, bias=False))
    data = target(tiny)
    few = audit_clients(replace(case_of("none", data), scale=replace(TINY, canaries=200)))[0]

    assert few.n == 64 * 2 + 2 * 10
    assert few.wins


def test_statistics_that_stay_with_the_clients_are_left_out() -> None:
    attacked = target(normalised(), buffers="unknown")
    found = audit_clients(case_of("masks-client-8", attacked))[0]

    parameters = sum(each.numel() for each in attacked.model.parameters())
    assert found.notes[0].endswith(f"in {parameters} of {parameters} coordinates")
    assert found.threat == ThreatModel(labels="known", buffers="unknown")


def test_of_a_model_too_large_for_all_canaries_some_arrays_are_sent_and_the_cell_says_so() -> None:
    with torch.random.fork_rng(devices=[]):
        large = nn.Sequential(nn.Flatten(), nn.Linear(64, 9000), nn.ReLU(), nn.Linear(9000, 10))
    found = audit_clients(case_of("none", target(large)))[0]

    assert found.wins
    assert found.notes[0].endswith(f"in {9000 + 10 + 90_000} of {65 * 9000 + 90_010} coordinates")


# -- canary examples ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["none-example-8", "masks-example-8"])
def test_canary_examples_show_some_of_the_noise_of_dp_sgd_and_stay_below_its_account(name: str) -> None:
    found = examples(name)

    assert found.n == 25 * TINY.canaries
    assert found.value is not None
    assert found.more[ACCOUNTED] == 8.0
    assert 0 < found.value < 8.0
    assert not found.beats_account
    assert found.p_value is not None
    assert found.p_value < 1e-6


def test_each_of_two_kinds_of_noise_is_audited_without_the_other() -> None:
    both = "masks-client-8-example-8"
    for found, alone in ((clients(both), clients("masks-client-8")), (examples(both), None)):
        assert found.status == "measured"
        assert any(note.startswith("without the noise on") for note in found.notes)
        assert alone is None or found.value == alone.value


# -- what there is nothing to audit of ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["masks", "bfv", "ckks"])
def test_what_has_no_noise_has_no_epsilon(name: str) -> None:
    for found in (clients(name), examples(name)):
        assert found.status == "not applicable"
        assert found.notes[0].startswith("no noise, so no epsilon")


def test_noise_of_the_other_unit_is_named() -> None:
    assert clients("masks-example-8").notes == (
        "the noise hides examples, and canaries here are whole clients",
    )
    assert examples("masks-client-8").notes == (
        "the noise hides whole clients, and canaries here are examples",
    )


# -- failures -----------------------------------------------------------------------------------------------


def run_of(apart: float, accounted: float, canaries: int = 1000) -> CanaryRun:
    """Scores of the Gaussian mechanism with noise 1 / apart, accounted as somebody says."""
    rng = np.random.default_rng(3)
    included = rng.random(canaries) < 0.5
    scores = rng.standard_normal(canaries) + apart * included
    return CanaryRun(scores, included, Account("example", 1e-5, accounted, accounted), "ab" * 32)


def judged(run: CanaryRun) -> Measurement:
    return measured(case_of("masks-example-2"), run, ThreatModel(), [])[0]


def test_noise_smaller_than_accounted_is_a_failure() -> None:
    """Noise of about epsilon 30, accounted as 2 and as 50."""
    failed, sound = judged(run_of(4.0, 2.0)), judged(run_of(4.0, 50.0))

    assert failed.value == sound.value
    assert failed.more[SURE_BOUND] > 2.0
    assert failed.beats_account
    assert any("FAILURE" in note for note in failed.notes)
    assert not sound.beats_account
    assert not any("FAILURE" in note or "above" in note for note in sound.notes)


def test_dp_sgd_with_the_noise_of_another_plan_is_a_failure() -> None:
    _, arrays = audit_examples(case_of("none-example-20", attack="audit-examples"))
    run = CanaryRun(arrays["scores"], arrays["is_member"], Account("example", 1e-5, 1.0, 1.0), "ab" * 32)

    assert judged(run).beats_account


def test_a_bound_above_the_account_at_95_percent_alone_is_said_and_is_no_failure() -> None:
    known = judged(run_of(1.0, 50.0))
    assert known.value is not None
    between = (known.value + known.more[SURE_BOUND]) / 2
    doubtful = judged(run_of(1.0, between))

    assert not doubtful.beats_account
    assert any("above the account at 95 % but not at 99.9 %" in note for note in doubtful.notes)


# -- rows ---------------------------------------------------------------------------------------------------


def test_a_row_shows_the_bound_of_the_unit_that_its_epsilon_is_of() -> None:
    found = [
        a_measurement("audit", "masks-example-8", value=0.1),
        a_measurement("audit-examples", "masks-example-8", value=0.2),
        a_measurement("audit", "none", value=0.3),
    ]
    assert bound_of(Row("masks-example-8", 8, unit="example"), found) == 0.2
    assert bound_of(Row("masks-example-8", 8, unit="client"), found) == 0.1
    assert bound_of(Row(NONE.name, 8), found) == 0.3
    assert bound_of(Row("masks", 8), found) is None


def test_both_columns_are_of_the_family_and_are_shown_to_work_by_runs_of_their_own() -> None:
    assert [(each.name, each.family, each.seen, each.method) for each in COLUMNS] == [
        ("audit", "audit", "run", "audit"),
        ("audit-examples", "audit", "run", "audit-examples"),
    ]
    assert [each.play for each in COLUMNS] == [audit_clients, audit_examples]
