"""The analytic attack works on what a mask hides, and only there."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.cli.demo import network
from secagg.cli.demo.attack import analytic_attack, arrays_of, chance, compare
from secagg.cli.demo.digits import digits
from secagg.errors import EncodingError, RunError
from tests.cli.demo.victim import victim


def double_gradient(index: int) -> network.Weights:
    train = digits().train
    weights = {name: array.astype(np.float64) for name, array in network.initial_weights(0).items()}
    one = slice(index, index + 1)
    return network.gradient(weights, train.images[one].astype(np.float64), train.labels[one])


@pytest.mark.parametrize("index", range(25))
def test_a_gradient_of_one_example_gives_the_example_back(index: int) -> None:
    recovered = analytic_attack(double_gradient(index))
    assert compare(recovered, digits().train.images[index]).mse < 1e-25


@given(
    scale=st.floats(1e-6, 1e6) | st.floats(-1e6, -1e-6), index=st.integers(0, 20), clip=st.floats(1e-3, 10)
)
def test_scaling_or_clipping_the_update_does_not_hinder_it(scale: float, index: int, clip: float) -> None:
    slopes = {name: scale * slope for name, slope in double_gradient(index).items()}
    norm = math.sqrt(sum(float(np.square(slope).sum()) for slope in slopes.values()))
    clipped = {name: slope * min(1.0, clip / norm) for name, slope in slopes.items()}
    assert compare(analytic_attack(clipped), digits().train.images[index]).mse < 1e-20


@pytest.mark.parametrize("index", range(10))
def test_the_encoded_update_gives_the_example_back_to_about_the_rounding_precision(index: int) -> None:
    target = victim(index)
    slopes = arrays_of(target.update, target.bits, target.layout)
    largest = np.abs(slopes["hidden.bias"]).max()
    recovery = compare(analytic_attack(slopes), target.example)
    assert recovery.mse < 4 / largest**2  # numerator and denominator are each off by less than one step
    assert recovery.mse < 1e-7 and recovery.psnr > 70 and recovery.right == 1


def test_a_clip_norm_that_binds_costs_the_attack_precision_and_nothing_else() -> None:
    target = victim(clip_norm=0.05)
    recovery = compare(analytic_attack(arrays_of(target.update, target.bits, target.layout)), target.example)
    assert recovery.psnr > 50


@pytest.mark.parametrize("mask", range(20))
def test_the_masked_vector_gives_no_more_than_a_plain_square(mask: int) -> None:
    target = victim(mask=mask)
    recovery = compare(analytic_attack(arrays_of(target.masked, target.bits, target.layout)), target.example)
    blind = chance(target.example)
    assert recovery.mse > blind.mse and recovery.right < blind.right


def test_a_row_whose_relu_is_dead_is_never_chosen() -> None:
    slopes = double_gradient(0)
    assert (slopes["hidden.bias"] == 0).any()
    assert np.isfinite(analytic_attack(slopes)).all()


def test_a_layer_with_no_active_unit_is_refused_by_name() -> None:
    slopes = {"hidden.weight": np.zeros((32, 64)), "hidden.bias": np.zeros(32)}
    with pytest.raises(RunError) as caught:
        analytic_attack(slopes)
    assert caught.value.code == "attack-dead-layer"


def test_other_names_can_be_attacked() -> None:
    slopes = double_gradient(0)
    named = {"first.W": slopes["hidden.weight"], "first.b": slopes["hidden.bias"]}
    np.testing.assert_array_equal(analytic_attack(named, "first.W", "first.b"), analytic_attack(slopes))


def test_a_ring_vector_is_read_as_signed_integers_in_the_order_of_its_layout() -> None:
    vector = np.array([1, 255, 128, 127, 7, 99], dtype=np.uint32)
    arrays = arrays_of(vector, 8, [("a", (2, 2)), ("b", (1,))])
    np.testing.assert_array_equal(arrays["a"], [[1, -1], [-128, 127]])
    np.testing.assert_array_equal(arrays["b"], [7])


def test_a_vector_shorter_than_its_layout_is_refused() -> None:
    with pytest.raises(EncodingError) as caught:
        arrays_of(np.zeros(3, dtype=np.uint64), 40, [("a", (2, 2))])
    assert caught.value.code == "vector-length"


def test_the_score_of_a_recovery() -> None:
    image = np.linspace(0, 1, 64)
    assert compare(image, image).psnr == math.inf and compare(image, image).right == 1
    assert compare(np.array([0.03, 0.04, 1.0, 0.5]), np.array([0.0, 0.0, 0.95, 0.5])).right == 0.5
    assert compare(image + 0.5, np.full(64, 0.5)).image.max() == 1
    assert compare(np.full(64, 0.1), np.zeros(64)).psnr == pytest.approx(20)


def test_chance_is_the_best_plain_square_for_each_figure() -> None:
    example = np.array([0.0, 0.0, 0.0, 0.5, 0.625, 1.0])
    blind = chance(example)
    assert blind.right == 0.5 and blind.mse == pytest.approx(example.var())
    for shade in np.arange(17) / 16:
        plain = compare(np.full(6, shade), example)
        assert plain.mse >= blind.mse and plain.right <= blind.right
