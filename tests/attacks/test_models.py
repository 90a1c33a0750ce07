"""The networks under attack are the same for the same seed, whatever else draws numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from secagg_attacks.inversion.errors import InversionError
from secagg_attacks.models import linear, mlp, relu_convnet, sigmoid_lenet, tanh_lenet

MODELS = [
    lambda seed: linear(3 * 32 * 32, 10, seed),
    lambda seed: mlp((3 * 32 * 32, 16, 10), seed),
    lambda seed: sigmoid_lenet(3, 32, 10, seed),
    lambda seed: tanh_lenet(3, 32, 10, seed),
    lambda seed: relu_convnet(3, 32, 10, seed),
]


@pytest.mark.parametrize("model", MODELS)
def test_a_seed_is_a_network_and_leaves_the_global_generator_alone(model: Callable[[int], nn.Module]) -> None:
    before = torch.random.get_rng_state()

    one, again, other = (dict(model(seed).named_parameters()) for seed in (0, 0, 1))

    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(value, again[name]) for name, value in one.items())
    assert not any(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("model", MODELS)
def test_images_go_in_and_logits_come_out(model: Callable[[int], nn.Module]) -> None:
    built = model(0)
    dtype = next(built.parameters()).dtype

    assert built(torch.zeros(2, 3, 32, 32, dtype=dtype)).shape == (2, 10)


@pytest.mark.parametrize("side", [8, 28, 32])
def test_sides_of_any_size_are_taken(side: int) -> None:
    for network in (sigmoid_lenet, tanh_lenet, relu_convnet):
        model = network(1, side, 10, 0, torch.float64)
        assert model(torch.zeros(1, 1, side, side, dtype=torch.float64)).shape == (1, 10)


def test_one_seed_is_one_network_in_every_dtype() -> None:
    wide, narrow = (relu_convnet(1, 8, 10, 0, dtype) for dtype in (torch.float64, torch.float32))

    for one, other in zip(wide.parameters(), narrow.parameters(), strict=True):
        assert torch.equal(one.float(), other)


def test_a_network_without_classes_is_refused() -> None:
    with pytest.raises(InversionError) as refused:
        mlp((64,), seed=0)

    assert refused.value.code == "model-widths"
