"""Deep leakage: second-order search comes to the image itself, and is judged by its matching loss alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from secagg_attacks.data.digits import digits
from secagg_attacks.data.photographs import photographs
from secagg_attacks.images.chance import best_constant
from secagg_attacks.images.matching import match
from secagg_attacks.inversion.matching import deep_leakage
from secagg_attacks.models import sigmoid_lenet, tanh_lenet
from tests.attacks.inversion.victims import gradient

REACHED = 1e-4
SHAPE = (1, 1, 8, 8)


def digit(at: int = 7) -> tuple[Tensor, Tensor]:
    handwritten = digits()
    return torch.from_numpy(handwritten.images[at : at + 1]).double(), torch.tensor([int(handwritten.y[at])])


@pytest.mark.parametrize("network", [sigmoid_lenet, tanh_lenet])
def test_a_digit_and_its_label_come_back_from_a_lenet(network: type[nn.Module]) -> None:
    x, y = digit()
    model = network(1, 8, 10, 0)

    found = deep_leakage(model, gradient(model, x, y), SHAPE, seed=0, restarts=2, steps=300)

    assert match(x.numpy(), found.images).mse[0] < REACHED < best_constant(x.numpy()).mse[0]
    assert found.labels.tolist() == y.tolist()
    assert found.labels_recovered


def test_a_crop_of_a_photograph_comes_back_from_a_lenet() -> None:
    x = photographs(1).x.astype(np.float64)
    model = tanh_lenet(3, 32, 10, seed=0)
    seen = gradient(model, torch.from_numpy(x), torch.tensor([3]))

    found = deep_leakage(model, seen, x.shape, seed=0, restarts=1, steps=800)

    assert match(x, found.images).mse[0] < REACHED


def test_the_restart_with_the_smallest_matching_loss_is_taken() -> None:
    x, y = digit()
    model = tanh_lenet(1, 8, 10, seed=0)

    found = deep_leakage(model, gradient(model, x, y), SHAPE, seed=1, restarts=4, steps=20)

    losses = [restart.matching_loss for restart in found.restarts]
    assert len(set(losses)) == len(losses) == 4
    assert found.matching_loss == min(losses) == losses[found.chosen]


def test_the_matching_loss_is_that_of_the_images_given() -> None:
    x, y = digit()
    model = sigmoid_lenet(1, 8, 10, seed=0)
    seen = gradient(model, x, y)

    found = deep_leakage(model, seen, SHAPE, seed=0, restarts=1, steps=30)

    own = gradient(model, torch.from_numpy(found.images), torch.from_numpy(found.labels))
    assert found.matching_loss == pytest.approx(sum(float(((own[n] - seen[n]) ** 2).sum()) for n in seen))


def test_the_same_seed_finds_the_same_bits_and_another_seed_others() -> None:
    x, y = digit()
    model = sigmoid_lenet(1, 8, 10, seed=0)
    seen = gradient(model, x, y)

    one, again, other = (
        deep_leakage(model, seen, SHAPE, seed=seed, restarts=2, steps=20) for seed in (0, 0, 1)
    )

    assert one.images.tobytes() == again.images.tobytes()
    assert one.images.tobytes() != other.images.tobytes()


def test_a_search_that_has_found_it_stops_before_its_steps_are_done() -> None:
    x, y = digit()
    model = sigmoid_lenet(1, 8, 10, seed=0)

    found = deep_leakage(model, gradient(model, x, y), SHAPE, seed=0, restarts=1, steps=100_000)

    assert found.ended == "converged"
    assert found.steps < 10_000


def test_a_gradient_that_is_noise_gives_no_digit_away() -> None:
    x, y = digit()
    model = sigmoid_lenet(1, 8, 10, seed=0)
    generator = torch.Generator().manual_seed(0)
    seen = {
        name: torch.randn(slope.shape, generator=generator, dtype=torch.float64) * slope.std()
        for name, slope in gradient(model, x, y).items()
        if slope.numel() > 1
    }

    found = deep_leakage(model, seen, SHAPE, labels=y, seed=0, restarts=2, steps=100)

    clipped = np.clip(found.images, 0, 1)
    assert match(x.numpy(), clipped).mse[0] > best_constant(x.numpy()).mse[0]
