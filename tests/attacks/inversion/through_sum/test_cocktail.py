"""The cocktail party attack unmixes the images behind one mean gradient."""

from __future__ import annotations

import numpy as np
import pytest

from secagg_attacks.data.photographs import photographs
from secagg_attacks.images.chance import best_constant, random_guess
from secagg_attacks.images.matching import match
from secagg_attacks.inversion.errors import InversionError
from secagg_attacks.inversion.through_sum.cocktail import examples_in, unmix
from secagg_attacks.models import mlp
from tests.attacks.inversion.through_sum.sums import gradient_of

SHAPE = (3, 32, 32)
POOL = 200


def batch(n: int) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """n crops, a pool to guess from, and the mean gradient of n clients with a crop each."""
    crops = photographs(POOL).x.astype(np.float64)
    x, y = crops[:n], np.arange(n) % 10
    return x, crops, gradient_of(mlp((3 * 32 * 32, 128, 10), 0), x, y)


def test_one_image_is_had_exactly() -> None:
    x, _, gradient = batch(1)
    found = unmix(mlp((3 * 32 * 32, 128, 10), 0), gradient, SHAPE, 0)
    assert match(x, found.images).mse[0] < 1e-10


@pytest.mark.parametrize(("n", "least"), [(2, 30.0), (8, 14.0)])
def test_several_images_come_out_far_above_chance(n: int, least: float) -> None:
    x, pool, gradient = batch(n)
    found = unmix(mlp((3 * 32 * 32, 128, 10), 0), gradient, SHAPE, 0)
    reached = match(x, found.images)
    assert found.settled
    assert np.median(reached.psnr) > least
    guessed = random_guess(x, pool, 0)
    assert np.median(reached.ssim) > np.median(guessed.ssim) + 0.3
    assert np.median(reached.ssim) > np.median(best_constant(x).ssim) + 0.3


def test_sign_and_scale_of_the_update_do_not_matter() -> None:
    _, _, gradient = batch(3)
    model = mlp((3 * 32 * 32, 128, 10), 0)
    one = unmix(model, gradient, SHAPE, 0).images
    other = unmix(model, {name: -0.01 * part for name, part in gradient.items()}, SHAPE, 0).images
    assert match(one, other).mse.max() < 1e-12


def test_the_same_seed_gives_the_same_images_in_the_same_order() -> None:
    _, _, gradient = batch(3)
    model = mlp((3 * 32 * 32, 128, 10), 0)
    assert np.array_equal(unmix(model, gradient, SHAPE, 5).images, unmix(model, gradient, SHAPE, 5).images)


def test_the_rank_of_the_gradient_counts_the_examples() -> None:
    for n in (1, 3, 8):
        assert examples_in(batch(n)[2]["1.weight"]) == n


def test_every_step_is_told_and_few_steps_do_not_settle() -> None:
    _, _, gradient = batch(4)
    told: list[tuple[int, int]] = []
    found = unmix(
        mlp((3 * 32 * 32, 128, 10), 0), gradient, SHAPE, 0, steps=2, on_step=lambda *at: told.append(at)
    )
    assert told == [(1, 2), (2, 2)]
    assert (found.steps, found.settled) == (2, False)


def test_a_first_layer_that_nothing_reached_is_refused_by_name() -> None:
    _, _, gradient = batch(2)
    silent = {name: part if name.startswith("3.") else np.zeros_like(part) for name, part in gradient.items()}
    with pytest.raises(InversionError) as caught:
        unmix(mlp((3 * 32 * 32, 128, 10), 0), silent, SHAPE, 0, 2)
    assert caught.value.code == "gradient-zero"


@pytest.mark.parametrize(
    ("shape", "examples", "code"),
    [(SHAPE, 0, "examples-invalid"), (SHAPE, 129, "examples-invalid"), ((3072, 1), None, "image-shape")],
)
def test_more_examples_than_rows_and_no_images_are_refused(
    shape: tuple[int, int, int], examples: int | None, code: str
) -> None:
    _, _, gradient = batch(2)
    with pytest.raises(InversionError) as caught:
        unmix(mlp((3 * 32 * 32, 128, 10), 0), gradient, shape, 0, examples)
    assert caught.value.code == code
