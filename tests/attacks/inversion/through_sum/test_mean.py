"""Inversion through the mean of n clients: exact for one, and worse the more there are."""

from __future__ import annotations

import numpy as np
import pytest

from secagg_attacks.data.photographs import photographs
from secagg_attacks.inversion.descent import Descent
from secagg_attacks.inversion.errors import InversionError
from secagg_attacks.inversion.through_sum.mean import ThroughMean, invert_mean, measured
from secagg_attacks.models import mlp, relu_convnet
from tests.attacks.inversion.through_sum.sums import SHAPE, federation, gradient_of, images, opened


def analytic(clients: int) -> ThroughMean:
    model = mlp((64, 256, 10), 0)
    x, y = images()
    seen = {name: -0.5 * part for name, part in gradient_of(model, x[:clients], y[:clients]).items()}
    found = invert_mean(
        model, seen, clients, SHAPE, "analytic", seed=0, learning_rate=0.5, labels=y[:clients]
    )
    return measured(x[:clients], found, x, 0)


def test_the_analytic_attack_is_exact_on_one_and_wears_off_with_more() -> None:
    medians = [float(np.median(analytic(clients).reached.psnr)) for clients in (1, 4, 32)]
    assert medians[0] > 100
    assert medians[0] > medians[1] > medians[2]
    assert analytic(1).reached.mse[0] < 1e-10


def test_the_mean_that_masks_open_is_the_gradient_of_the_batch() -> None:
    model = mlp((64, 32, 10), 0)
    clients = federation(model, 4)
    (seen,) = opened(clients)
    assert seen.mean is not None
    x, y = clients.examples_of()
    gradient = gradient_of(model, x.numpy(), y.numpy())
    assert max(np.abs(seen.mean[name] + part).max() for name, part in gradient.items()) < 1e-8
    both = [
        invert_mean(model, update, 4, SHAPE, "analytic", seed=0, labels=y.numpy()).images
        for update in (seen.mean, {name: -part for name, part in gradient.items()})
    ]
    np.testing.assert_allclose(both[0], both[1], atol=1e-5)


def test_inverting_gradients_makes_more_of_one_than_of_four() -> None:
    crops = photographs(40)
    x = crops.x
    reached = []
    for clients in (1, 4):
        model = relu_convnet(3, 32, 10, 0)
        y = np.arange(clients)
        gradient = gradient_of(model, x[:clients], y)
        seen = {name: -part for name, part in gradient.items()}
        found = invert_mean(
            model,
            seen,
            clients,
            (3, 32, 32),
            "inverting-gradients",
            seed=0,
            labels=y,
            recipe=Descent(steps=120),
        )
        assert found.images.shape == (clients, 3, 32, 32)
        reached.append(measured(x[:clients], found, x, 0))
    assert np.median(reached[0].reached.psnr) > np.median(reached[1].reached.psnr)
    assert reached[0].reached.psnr[0] > reached[0].flat.psnr[0]
    assert reached[0].reached.psnr[0] > reached[0].guessed.psnr[0]


def test_a_mean_of_nobody_is_refused() -> None:
    with pytest.raises(InversionError) as caught:
        invert_mean(mlp((64, 10), 0), {}, 0, SHAPE, "analytic", seed=0)
    assert caught.value.code == "examples-invalid"
