"""Inverting gradients: the direction alone is enough, through a network with ReLU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg_attacks.data.photographs import photographs
from secagg_attacks.images.chance import best_constant
from secagg_attacks.images.matching import match
from secagg_attacks.inversion.cosine import inverting_gradients
from secagg_attacks.inversion.descent import Descent, cosine_distance, total_variation
from secagg_attacks.inversion.errors import InversionError
from secagg_attacks.models import relu_convnet
from tests.attacks.inversion.victims import gradient, noise

QUICK = Descent(steps=240)
SMALL = (1, 1, 8, 8)


def test_a_crop_comes_back_well_above_chance_in_a_sixth_of_the_steps() -> None:
    x = photographs(3).x[2:]
    model = relu_convnet(3, 32, 10, seed=0)
    seen = gradient(model, torch.from_numpy(x), torch.tensor([6]))

    found = inverting_gradients(model, seen, x.shape, seed=0, recipe=QUICK)

    assert match(x, found.images).psnr[0] > 25
    assert best_constant(x).psnr[0] < 20
    assert found.labels.tolist() == [6]


def test_the_length_of_the_gradient_does_not_matter() -> None:
    x, model = noise(*SMALL, dtype=torch.float32), relu_convnet(1, 8, 10, seed=0)
    seen = gradient(model, x, torch.tensor([6]))
    # A power of two, so that nothing is rounded differently.
    clipped = {name: slope / 64 for name, slope in seen.items()}

    one, other = (inverting_gradients(model, of, SMALL, seed=0, recipe=QUICK) for of in (seen, clipped))

    assert np.abs(one.images - other.images).max() < 1e-3


def test_pixels_stay_inside_their_box() -> None:
    x, model = noise(*SMALL, dtype=torch.float32), relu_convnet(1, 8, 10, seed=0)
    recipe = Descent(steps=30, box=(0.25, 0.5))

    found = inverting_gradients(model, gradient(model, x, torch.tensor([6])), SMALL, seed=0, recipe=recipe)

    assert found.images.min() >= 0.25
    assert found.images.max() <= 0.5


def test_the_matching_loss_is_the_distance_without_total_variation() -> None:
    x, model = noise(*SMALL), relu_convnet(1, 8, 10, 0, torch.float64)
    seen = gradient(model, x, torch.tensor([6]))

    found = inverting_gradients(model, seen, SMALL, seed=0, recipe=QUICK)

    own = gradient(model, torch.from_numpy(found.images), torch.tensor([6]))
    assert found.matching_loss == pytest.approx(float(cosine_distance(own, seen)))


def test_several_starts_are_judged_by_their_matching_loss() -> None:
    x, model = noise(*SMALL), relu_convnet(1, 8, 10, 0, torch.float64)

    found = inverting_gradients(
        model, gradient(model, x, torch.tensor([6])), SMALL, seed=0, restarts=3, recipe=Descent(steps=20)
    )

    losses = [restart.matching_loss for restart in found.restarts]
    assert found.matching_loss == min(losses) == losses[found.chosen]
    assert len(set(losses)) == 3


def test_total_variation_is_the_mean_difference_of_neighbours_down_and_across() -> None:
    steps = torch.tensor([[0.0, 1.0], [0.5, 1.0]])[None, None]

    assert float(total_variation(steps)) == pytest.approx((0.5 + 0.0) / 2 + (1.0 + 0.5) / 2)


@pytest.mark.parametrize(("factor", "distance"), [(2.0, 0.0), (-3.0, 2.0)])
def test_the_cosine_distance_runs_from_the_same_way_to_the_opposite(factor: float, distance: float) -> None:
    parts = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([[3.0]])}
    scaled = {name: factor * part for name, part in parts.items()}

    assert float(cosine_distance(parts, scaled)) == pytest.approx(distance, abs=1e-6)


def test_inputs_that_are_no_images_are_refused_unless_total_variation_is_left_out() -> None:
    from secagg_attacks.models import mlp

    x, model = noise(1, 64), mlp((64, 32, 10), seed=0)
    seen = gradient(model, x, torch.tensor([1]))

    with pytest.raises(InversionError) as refused:
        inverting_gradients(model, seen, (1, 64), seed=0)
    found = inverting_gradients(model, seen, (1, 64), seed=0, recipe=Descent(steps=300, total_variation=0))

    assert refused.value.code == "shape-not-images"
    assert float(((found.images - x.numpy()) ** 2).mean()) < 0.01


@settings(max_examples=50)
@given(st.integers(0, 2**31), st.floats(1e-6, 1e6))
def test_the_distance_and_its_slope_are_those_of_the_formula(seed: int, scale: float) -> None:
    drawn = torch.Generator().manual_seed(seed)
    one = {
        name: scale * torch.randn(shape, generator=drawn, dtype=torch.float64)
        for name, shape in (("w", (3, 4)), ("b", (3,)))
    }
    other = {
        name: torch.randn(part.shape, generator=drawn, dtype=torch.float64) for name, part in one.items()
    }
    for part in one.values():
        part.requires_grad_()
    flat, goal = (torch.cat([part.reshape(-1) for part in parts.values()]) for parts in (one, other))
    formula = 1 - torch.nn.functional.cosine_similarity(flat, goal, dim=0, eps=0.0)

    found = cosine_distance(one, other)

    assert found.item() == pytest.approx(formula.item(), abs=1e-12)
    slopes, expected = (torch.autograd.grad(of, list(one.values())) for of in (found, formula))
    for slope, right in zip(slopes, expected, strict=True):
        assert torch.allclose(scale * slope, scale * right, rtol=1e-9, atol=1e-12)
