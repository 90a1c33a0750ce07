"""What the first layer's update gives away, and what is refused that has no such layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

from secagg_attacks.inversion.errors import InversionError
from secagg_attacks.inversion.labels import recover_labels
from secagg_attacks.inversion.through_sum.first_layer import Mixture, first_layer, quotients
from secagg_attacks.inversion.through_sum.found import EXACT, nearest
from secagg_attacks.models import mlp, relu_convnet
from secagg_attacks.target import TargetError
from tests.attacks.inversion.through_sum.sums import SHAPE, gradient_of, images


def test_every_row_that_one_example_reached_is_that_example() -> None:
    x, y = images()
    model = mlp((64, 32, 10), 0)
    rows, found = quotients(first_layer(model, gradient_of(model, x[:1], y[:1]), SHAPE))
    assert len(rows) > 8
    np.testing.assert_allclose(found, np.broadcast_to(x[0].reshape(1, -1), found.shape), atol=1e-9)


@given(
    hnp.arrays(np.float64, 6, elements=st.floats(-1, 1)),
    hnp.arrays(np.float64, 4, elements=st.floats(0.01, 10) | st.floats(-10, -0.01)),
)
def test_whatever_the_coefficients_a_single_example_is_every_quotient(
    example: np.ndarray, coefficients: np.ndarray
) -> None:
    rows, found = quotients(Mixture(np.outer(coefficients, example), coefficients))
    assert rows.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(found, np.broadcast_to(example, (4, 6)), atol=1e-12)


def test_rows_that_nothing_reached_are_left_out() -> None:
    mixture = Mixture(np.array([[2.0, 4.0], [0.0, 0.0], [1.0, 1.0]]), np.array([2.0, 0.0, 1e-12]))
    rows, found = quotients(mixture)
    assert rows.tolist() == [0]
    assert found.tolist() == [[1.0, 2.0]]


def test_a_model_that_sees_the_input_through_a_convolution_is_refused() -> None:
    model = relu_convnet(1, 8, 10, 0)
    gradient = {name: np.ones(tuple(part.shape)) for name, part in model.named_parameters()}
    with pytest.raises(InversionError) as caught:
        first_layer(model, gradient, SHAPE)
    assert caught.value.code == "analytic-needs-linear"


def test_a_model_that_is_itself_a_layer_is_its_own_first_layer_and_gives_the_logits() -> None:
    model = nn.Linear(64, 10).double()
    x, y = (part[:1] for part in images())
    gradient = gradient_of(model, x.reshape(1, 64), y)
    _, found = quotients(first_layer(model, gradient, (64,)))
    np.testing.assert_allclose(found, np.broadcast_to(x.reshape(1, 64), found.shape), atol=1e-9)
    assert recover_labels(model, gradient, (1, 64), seed=0).labels.tolist() == y.tolist()


def test_batchnorm_is_in_nobodys_way_and_the_model_stays_in_train_mode() -> None:
    model = nn.Sequential(nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10)).double()
    x, y = images()
    gradient = gradient_of(model, x[:8].reshape(8, 64), y[:8])
    assert first_layer(model, gradient, (64,)).weight.shape == (16, 64)
    assert model[1].training


def test_a_model_that_raises_on_one_example_is_refused_by_name() -> None:
    class Picky(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if len(x) < 2:
                raise KeyError("batches of two, please")
            return super().forward(x)

    model = Picky(64, 10).double()
    with pytest.raises(TargetError) as caught:
        first_layer(model, {"weight": np.ones((10, 64))}, (64,))
    assert caught.value.code == "model-not-attackable"
    assert "batches of two, please" in caught.value.message


def test_an_update_without_the_first_layers_bias_is_refused() -> None:
    x, y = images()
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).double()
    gradient = gradient_of(model, x[:1], y[:1])
    del gradient["1.bias"]
    with pytest.raises(InversionError) as caught:
        first_layer(model, gradient, SHAPE)
    assert caught.value.code == "gradient-names"


def test_an_example_is_found_only_where_no_eight_bits_could_hold_the_difference() -> None:
    x, _ = images()
    blurred = x[1] + 0.01
    assert (nearest(x[:3], np.stack([blurred, x[0] + 1e-9])) >= EXACT).tolist() == [True, False, False]
    assert nearest(x[:2], np.zeros((0, *SHAPE))).tolist() == [-np.inf, -np.inf]
