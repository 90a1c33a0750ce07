"""The input of a first linear layer, by a division: from a gradient, and through a real round."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import secagg
from secagg_attacks.images.chance import best_constant
from secagg_attacks.images.matching import match
from secagg_attacks.inversion.analytic import analytic_linear
from secagg_attacks.inversion.errors import InversionError
from secagg_attacks.inversion.gradients import gradient_of_step
from secagg_attacks.models import linear, mlp, relu_convnet, sigmoid_lenet
from secagg_attacks.views import View, capture
from tests.attacks.inversion.victims import gradient, noise

EXACT = 1e-10


@settings(max_examples=20)
@given(st.integers(0, 9), st.integers(0, 1000))
def test_one_image_and_its_label_come_back_exactly_from_softmax_regression(label: int, seed: int) -> None:
    x, model = noise(1, 3, 8, 8, seed=seed), linear(192, 10, seed)

    found = analytic_linear(model, gradient(model, x, torch.tensor([label])), (1, 3, 8, 8))

    assert match(x.numpy(), found.images).mse[0] < EXACT
    assert found.labels.tolist() == [label]
    assert found.labels_recovered
    assert found.matching_loss < EXACT


def test_one_image_comes_back_from_a_network_with_hidden_layers() -> None:
    x, model = noise(1, 1, 8, 8), mlp((64, 32, 16, 10), seed=1)

    found = analytic_linear(model, gradient(model, x, torch.tensor([7])), (1, 1, 8, 8))

    assert match(x.numpy(), found.images).mse[0] < EXACT
    assert found.labels.tolist() == [7]


def test_a_batch_of_different_labels_is_told_apart_though_not_exactly() -> None:
    x, y = noise(3, 1, 8, 8), torch.tensor([2, 5, 8])
    model = linear(64, 10, seed=0)

    found = analytic_linear(model, gradient(model, x, y), (3, 1, 8, 8))

    matched = match(x.numpy(), found.images)
    assert found.labels.tolist() == [2, 5, 8]
    assert EXACT < matched.mse.max() < best_constant(x.numpy()).mse.min()


def test_given_labels_are_taken_and_said_to_be_given() -> None:
    x, model = noise(1, 64), linear(64, 10, seed=0)

    found = analytic_linear(model, gradient(model, x, torch.tensor([7])), (1, 64), labels=[7])

    assert not found.labels_recovered
    assert found.images.shape == (1, 64)


def test_the_model_that_is_attacked_is_left_as_it_was() -> None:
    x, model = noise(1, 64), linear(64, 10, seed=0)
    before = {name: value.clone() for name, value in model.state_dict().items()}

    analytic_linear(model, gradient(model, x, torch.tensor([7])), (1, 64))

    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def a_round(model: nn.Module, x: Tensor, y: Tensor, kind: str) -> View:
    """Three clients, each one step of rate 1, of whom the first has x."""
    start = {name: value.detach().numpy() for name, value in model.named_parameters()}

    def client(images: Tensor, labels: Tensor) -> secagg.Train:
        step = {name: -slope.numpy() for name, slope in gradient(model, images, labels).items()}
        return lambda task: secagg.Update(delta=step, num_examples=1)

    plan = secagg.Plan(
        run={"name": "inversion", "rounds": 1},
        cohort={"max_clients": 3, "min_survivors": 3},
        encoding={"clip_norm": 100.0, "precision": 1e-9},
        protection={"kind": kind},
    )
    others = {f"client-{at}": client(noise(1, 64, seed=at), torch.tensor([at])) for at in (1, 2)}
    return capture(plan, start, {"client-0": client(x, y), **others})


def test_an_update_of_an_unprotected_round_gives_its_image_away() -> None:
    x, y, model = noise(1, 64, seed=9), torch.tensor([4]), linear(64, 10, seed=0)

    upload = a_round(model, x, y, "none").rounds[0].uploads["client-0"]
    found = analytic_linear(model, gradient_of_step(upload, 1.0), (1, 64))

    assert float(((found.images - x.numpy()) ** 2).mean()) < EXACT
    assert found.labels.tolist() == [4]


def test_the_upload_of_a_masked_round_gives_no_image_away() -> None:
    x, y, model = noise(1, 64, seed=9), torch.tensor([4]), linear(64, 10, seed=0)

    upload = a_round(model, x, y, "masks").rounds[0].uploads["client-0"]
    found = analytic_linear(model, gradient_of_step(upload, 1.0), (1, 64), labels=y)

    flat = float(((x - x.mean()) ** 2).mean())
    assert float(((np.clip(found.images, 0, 1) - x.numpy()) ** 2).mean()) > flat


@pytest.mark.parametrize("model", [sigmoid_lenet(1, 8, 10, 0), relu_convnet(1, 8, 10, 0, torch.float64)])
def test_a_model_that_does_not_begin_with_a_linear_layer_is_refused(model: nn.Module) -> None:
    x = noise(1, 1, 8, 8)

    with pytest.raises(InversionError) as refused:
        analytic_linear(model, gradient(model, x, torch.tensor([0])), (1, 1, 8, 8))

    assert refused.value.code == "analytic-needs-linear"


def test_more_inputs_than_rows_with_a_gradient_are_refused() -> None:
    model = linear(64, 2, seed=0)

    with pytest.raises(InversionError) as refused:
        analytic_linear(model, gradient(model, noise(3, 64), torch.tensor([0, 1, 1])), (3, 64), [0, 1, 1])

    assert refused.value.code == "analytic-no-bias-gradient"
