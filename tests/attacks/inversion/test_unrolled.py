"""Inverting local training: the attacker's steps are PyTorch's own, and its labels are estimates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from secagg_attacks.data.digits import digits
from secagg_attacks.images.chance import best_constant
from secagg_attacks.images.matching import label_accuracy, match
from secagg_attacks.inversion.descent import Descent
from secagg_attacks.inversion.errors import InversionError
from secagg_attacks.inversion.gradients import model_of
from secagg_attacks.inversion.unrolled import LocalSteps, estimated_labels, fedavg_inversion, local_update
from secagg_attacks.models import relu_convnet
from tests.attacks.inversion.victims import trained

RECIPE = Descent(steps=160, total_variation=1e-3)


def some_digits(n: int) -> tuple[Tensor, Tensor]:
    """Not in the order of their labels."""
    handwritten = digits()
    chosen = np.random.default_rng(0).permutation(1797)[:n]
    return torch.from_numpy(handwritten.images[chosen]), torch.from_numpy(handwritten.y[chosen])


@pytest.mark.parametrize(("examples", "batch", "epochs", "steps"), [(4, 4, 1, 1), (5, 2, 3, 9), (4, 1, 2, 8)])
def test_the_unrolled_steps_end_where_pytorchs_sgd_does(
    examples: int, batch: int, epochs: int, steps: int
) -> None:
    x, y = some_digits(examples)
    model, training = relu_convnet(1, 8, 10, 0, torch.float64), LocalSteps(0.1, examples, batch, epochs)

    update = local_update(
        model_of(model, nn.functional.cross_entropy), x.double(), y, training, differentiable=False
    )

    expected = trained(model, x.double(), y, 0.1, batch, epochs)
    assert training.steps == steps
    assert all(torch.allclose(update[name], expected[name], atol=1e-12) for name in expected)


@pytest.mark.parametrize(("batch", "epochs"), [(4, 1), (4, 4), (2, 1)])
def test_four_digits_come_back_from_an_update_of_several_steps(batch: int, epochs: int) -> None:
    x, y = some_digits(4)
    model, training = relu_convnet(1, 8, 10, seed=0), LocalSteps(0.1, 4, batch, epochs)

    found = fedavg_inversion(
        model, trained(model, x, y, 0.1, batch, epochs), (4, 1, 8, 8), training, seed=0, recipe=RECIPE
    )

    assert found.labels_recovered
    assert label_accuracy(y, found.labels) == 1
    matched = match(x.numpy(), found.images)
    assert np.median(matched.psnr) > np.median(best_constant(x.numpy()).psnr) + 10


def test_to_unroll_beats_to_take_the_update_for_a_gradient() -> None:
    x, y = some_digits(2)
    model = relu_convnet(1, 8, 10, seed=0)
    update = trained(model, x, y, 0.3, 1, 8)

    def reached(training: LocalSteps) -> float:
        found = fedavg_inversion(model, update, (2, 1, 8, 8), training, y, seed=0, recipe=RECIPE)
        return float(match(x.numpy(), found.images).psnr.min())

    assert reached(LocalSteps(0.3, examples=2, batch=1, epochs=8)) > 6 + reached(LocalSteps(0.3, 2, 2))


def test_labels_are_estimated_over_all_steps_of_all_epochs() -> None:
    x, y = some_digits(32)
    model, training = relu_convnet(1, 8, 10, seed=0), LocalSteps(0.05, 32, 8, 3)

    found = estimated_labels(model, trained(model, x, y, 0.05, 8, 3), (32, 1, 8, 8), training, seed=0)

    assert found.counts.sum() == 32
    assert label_accuracy(y, found.labels) > 0.85


@pytest.mark.parametrize(
    "changes", [{"learning_rate": 0.0}, {"examples": 0}, {"batch": 0}, {"epochs": 0}, {"learning_rate": -1.0}]
)
def test_training_that_is_none_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InversionError) as refused:
        LocalSteps(**{"learning_rate": 0.1, "examples": 4, "batch": 2, **changes})

    assert refused.value.code == "training-invalid"


def test_as_many_images_are_asked_for_as_there_are_examples() -> None:
    x, y = some_digits(4)
    model = relu_convnet(1, 8, 10, seed=0)

    with pytest.raises(InversionError) as refused:
        fedavg_inversion(
            model, trained(model, x, y, 0.1, 4, 1), (3, 1, 8, 8), LocalSteps(0.1, 4, 4), seed=0, recipe=RECIPE
        )

    assert refused.value.code == "training-invalid"
