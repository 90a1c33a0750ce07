"""The demo's network: its gradient above all."""

import numpy as np
import pytest

from secagg.cli.demo import network
from secagg.cli.demo.digits import digits
from secagg.cli.demo.network import LAYOUT, Weights


def in_double(weights: Weights) -> Weights:
    return {name: array.astype(np.float64) for name, array in weights.items()}


@pytest.mark.parametrize("count", [1, 7])
def test_the_gradient_is_that_of_central_differences(count: int) -> None:
    rng = np.random.default_rng(count)
    weights = in_double(network.initial_weights(3))
    for array in weights.values():
        array += rng.normal(0, 0.1, array.shape)
    x, y = rng.uniform(0, 1, (count, 64)), rng.integers(0, 10, count)
    slopes = network.gradient(weights, x, y)
    step = 1e-6
    for name, array in weights.items():
        flat, found = array.reshape(-1), slopes[name].reshape(-1)
        for at in rng.choice(flat.size, size=min(flat.size, 60), replace=False):
            here = flat[at]
            flat[at] = here + step
            above = network.loss(weights, x, y)
            flat[at] = here - step
            below = network.loss(weights, x, y)
            flat[at] = here
            assert found[at] == pytest.approx((above - below) / (2 * step), rel=1e-5, abs=1e-8), (name, at)


def test_the_gradient_of_a_batch_is_the_mean_over_its_examples() -> None:
    weights, train = in_double(network.initial_weights(0)), digits().train
    x, y = train.images[:8].astype(np.float64), train.labels[:8]
    single = [network.gradient(weights, x[i : i + 1], y[i : i + 1]) for i in range(8)]
    for name, slope in network.gradient(weights, x, y).items():
        np.testing.assert_allclose(slope, np.mean([one[name] for one in single], axis=0), atol=1e-12)


def test_initial_weights_follow_the_layout_and_the_seed() -> None:
    weights = network.initial_weights(1)
    assert [(name, array.shape) for name, array in weights.items()] == list(LAYOUT)
    assert {array.dtype.name for array in weights.values()} == {"float32"}
    again, other = network.initial_weights(1), network.initial_weights(2)
    assert all(np.array_equal(weights[name], again[name]) for name in weights)
    assert not np.array_equal(weights["hidden.weight"], other["hidden.weight"])


def test_one_step_without_momentum_goes_down_the_gradient() -> None:
    weights, train = in_double(network.initial_weights(0)), digits().train
    x, y = train.images[:1].astype(np.float64), train.labels[:1]
    stepped, _ = network.train(weights, x, y, 1, 0.1, 1, np.random.default_rng(0))
    for name, slope in network.gradient(weights, x, y).items():
        np.testing.assert_allclose(stepped[name], weights[name] - 0.1 * slope, atol=1e-15)


def test_training_learns_stays_in_single_precision_and_leaves_its_input_alone() -> None:
    train, test = digits().train, digits().test
    start = network.initial_weights(0)
    before = {name: array.copy() for name, array in start.items()}
    weights, loss = network.train(start, train.images, train.labels, 10, 0.1, 32, np.random.default_rng(0))
    assert all(np.array_equal(start[name], before[name]) for name in start)
    assert {array.dtype.name for array in weights.values()} == {"float32"}
    assert loss < 0.1 < 1.5 < network.loss(start, train.images, train.labels)
    assert network.accuracy(start, test.images, test.labels) < 0.4
    assert network.accuracy(weights, test.images, test.labels) > 0.93


def test_the_same_generator_trains_the_same_weights() -> None:
    train = digits().train
    once, again = (
        network.train(
            network.initial_weights(0), train.images, train.labels, 1, 0.1, 32, np.random.default_rng(7)
        )
        for _ in range(2)
    )
    assert once[1] == again[1]
    assert all(np.array_equal(once[0][name], again[0][name]) for name in once[0])


def test_large_logits_do_not_overflow() -> None:
    weights = {name: array * np.float32(1e4) for name, array in network.initial_weights(0).items()}
    train = digits().train
    assert np.isfinite(network.loss(weights, train.images[:50], train.labels[:50]))
    slopes = network.gradient(weights, train.images[:50], train.labels[:50])
    assert all(np.isfinite(slope).all() for slope in slopes.values())


def test_no_epochs_change_nothing() -> None:
    train, start = digits().train, network.initial_weights(0)
    weights, loss = network.train(start, train.images, train.labels, 0, 0.1, 32, np.random.default_rng(0))
    assert loss == 0 and all(np.array_equal(weights[name], start[name]) for name in start)
