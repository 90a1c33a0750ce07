"""What is reached without the update: a constant colour, another image of the set."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg_attacks.images.chance import best_constant, random_guess
from secagg_attacks.images.errors import ImagesError
from secagg_attacks.images.matching import match
from secagg_attacks.images.measures import mse


def images(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, 3, 6, 6))


@given(st.tuples(*[st.floats(0, 1)] * 3))
def test_no_colour_comes_nearer_than_the_best_constant(colour: tuple[float, float, float]) -> None:
    originals = images(1)
    flat = np.broadcast_to(np.array(colour)[None, :, None, None], originals.shape)

    assert best_constant(originals).mse[0] <= mse(originals, flat)[0] + 1e-12


def test_the_error_of_the_best_constant_is_the_images_own_variance() -> None:
    originals = images(1)

    assert best_constant(originals).mse[0] == pytest.approx(originals.var(axis=(2, 3)).mean())


def test_a_guess_never_draws_the_original_itself() -> None:
    pool = images(3)

    guessed = random_guess(pool[:1], pool, seed=0, draws=50)

    assert guessed.mse[0] > min(mse(pool[:1], pool[1:2])[0], mse(pool[:1], pool[2:])[0]) * 0.999


def test_a_guess_is_matched_as_a_reconstruction_is() -> None:
    originals, others = images(3), images(3, seed=1)

    guessed = random_guess(originals, others, seed=0, draws=4)

    assert guessed.mse == pytest.approx(match(originals, others).mse)
    assert guessed.draws == 4


def test_the_same_seed_guesses_the_same() -> None:
    originals, pool = images(2), images(30, seed=1)

    one, other = random_guess(originals, pool, seed=3), random_guess(originals, pool, seed=3)

    assert one.psnr.tolist() == other.psnr.tolist()
    assert one.psnr.tolist() != random_guess(originals, pool, seed=4).psnr.tolist()


def test_a_pool_without_enough_others_is_refused() -> None:
    with pytest.raises(ImagesError) as refused:
        random_guess(images(2), images(2), seed=0)

    assert refused.value.code == "pool-too-small"


def test_a_pool_of_other_images_is_refused() -> None:
    with pytest.raises(ImagesError) as refused:
        random_guess(images(1), np.zeros((5, 1, 6, 6)), seed=0)

    assert refused.value.code == "images-shape"
