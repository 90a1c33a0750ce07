"""What every search has in common: time, progress, restarts, and what it refuses to begin with."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest
import torch

from secagg_attacks.defences import defence
from secagg_attacks.federation import Federation
from secagg_attacks.inversion.cosine import inverting_gradients
from secagg_attacks.inversion.descent import Descent
from secagg_attacks.inversion.errors import InversionError
from secagg_attacks.inversion.gradients import gradient_of_step, matched_gradient, model_of
from secagg_attacks.inversion.matching import deep_leakage
from secagg_attacks.inversion.reconstruction import Attempt, Deadline, OnStep, best_of
from secagg_attacks.models import mlp, sigmoid_lenet
from tests.attacks.digit_targets import normalised, target
from tests.attacks.inversion.victims import gradient, noise

SHAPE = (1, 1, 8, 8)
LABEL = torch.tensor([3])


def seen() -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    model = sigmoid_lenet(1, 8, 10, seed=0)
    return model, gradient(model, noise(*SHAPE), LABEL)


@pytest.mark.parametrize("attack", [deep_leakage, inverting_gradients])
def test_a_search_without_time_ends_with_the_best_so_far_and_says_so(attack: Any) -> None:
    model, of = seen()
    begin = time.monotonic()

    found = attack(model, of, SHAPE, seed=0, restarts=1000, seconds=0.2)

    assert time.monotonic() - begin < 20
    assert found.ended == "seconds"
    assert 1 <= len(found.restarts) < 1000
    assert found.images.shape == SHAPE
    assert math.isfinite(found.matching_loss)


def test_progress_counts_the_steps_of_all_restarts() -> None:
    model, of = seen()
    told: list[tuple[int, int]] = []

    found = inverting_gradients(
        model, of, SHAPE, seed=0, restarts=2, recipe=Descent(steps=5), on_step=lambda *step: told.append(step)
    )

    assert told == [(done, 10) for done in range(1, 11)]
    assert (found.steps, found.ended) == (10, "steps")


@pytest.mark.parametrize("attack", [deep_leakage, inverting_gradients])
def test_a_search_whose_numbers_explode_keeps_the_best_before_it_and_says_so(attack: Any) -> None:
    model, of = seen()
    calls: list[int] = []

    def exploding(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        calls.append(0)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        return loss * (math.nan if len(calls) > 100 else 1.0)

    found = attack(model, of, SHAPE, labels=LABEL, seed=0, restarts=1, loss=exploding)

    assert found.ended == "diverged"
    assert np.isfinite(found.images).all()
    assert math.isfinite(found.matching_loss)


def attempts(*losses: float) -> Any:
    left = list(losses)

    def search(seed: int, deadline: Deadline, on_step: OnStep) -> Attempt:
        return Attempt(torch.full(SHAPE, float(seed), dtype=torch.float64), left.pop(0), 1, "steps")

    return search


def chosen(*losses: float) -> Any:
    return best_of(
        attempts(*losses), LABEL, False, seed=0, restarts=len(losses), steps=1, seconds=None, on_step=None
    )


def test_a_restart_that_broke_down_is_listed_and_not_taken() -> None:
    found = chosen(math.nan, 3.0, math.inf, 2.0)

    assert (found.chosen, found.matching_loss) == (3, 2.0)
    assert len(found.restarts) == 4
    assert np.all(found.images == found.restarts[3].seed)


def test_restarts_that_all_broke_down_are_an_error() -> None:
    with pytest.raises(InversionError) as raised:
        chosen(math.inf, math.nan)

    assert raised.value.code == "inversion-diverged"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"restarts": 0}, "restarts-invalid"),
        ({"steps": 0}, "steps-invalid"),
        ({"seconds": 0.0}, "seconds-invalid"),
        ({"labels": [1, 2]}, "labels-shape"),
        ({"labels": [1.5]}, "labels-shape"),
        ({"shape": (8,)}, "shape-invalid"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_by_name(changes: dict[str, Any], code: str) -> None:
    model, of = seen()

    with pytest.raises(InversionError) as refused:
        deep_leakage(model, of, **{"shape": SHAPE, "seed": 0, "restarts": 1, "steps": 1, **changes})

    assert refused.value.code == code


@pytest.mark.parametrize(
    ("arrays", "code"),
    [
        ({}, "gradient-names"),
        ({"other": np.zeros(3)}, "gradient-names"),
        ({"1.bias": np.zeros(3)}, "gradient-shape"),
        ({"1.bias": np.full(4, np.nan)}, "gradient-not-finite"),
        ({"1.bias": np.zeros(4)}, "gradient-zero"),
    ],
)
def test_a_gradient_that_is_not_of_the_model_is_refused_by_name(arrays: Any, code: str) -> None:
    with pytest.raises(InversionError) as refused:
        matched_gradient(model_of(mlp((3, 4), seed=0), torch.nn.functional.cross_entropy), arrays)

    assert refused.value.code == code


def test_buffers_that_travel_with_an_update_are_left_out() -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    update = {"1.bias": np.ones(4), "buffers.2.running_mean": np.ones(4)}

    found = matched_gradient(model_of(model, torch.nn.functional.cross_entropy), update)

    assert list(found) == ["1.bias"]


def test_the_update_of_a_client_whose_buffers_travel_is_inverted() -> None:
    attacked = target(normalised(), buffers="known")
    federation = Federation(attacked, 3, per_client=4)
    seen = federation.observe(defence("none")).rounds[0].uploads["client-0"]

    found = matched_gradient(model_of(attacked.model, attacked.loss), gradient_of_step(seen, 1.0))

    assert {name for name in seen if name.startswith("buffers.")}
    assert list(found) == [name for name, _ in attacked.model.named_parameters()]


def test_one_step_is_undone_by_its_rate() -> None:
    assert gradient_of_step({"a": np.array([0.5, -1.0])}, 0.25)["a"].tolist() == [-2.0, 4.0]
    with pytest.raises(InversionError) as refused:
        gradient_of_step({}, 0.0)
    assert refused.value.code == "learning-rate-invalid"
