"""Rounding is stochastic, unbiased, and the same for the same seed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.encoding.contributions import SEED, codec, encode, whole


@pytest.mark.parametrize("fraction", [0.001, 0.25, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("whole_part", [-3, -1, 0, 2])
def test_rounding_is_unbiased(fraction: float, whole_part: int) -> None:
    """40 000 equal coordinates: only the two neighbours occur, and the mean is the value itself, within five
    standard errors. The seed is fixed, so the result is too."""
    count, scale = 40_000, 2.0**10
    value = whole_part + fraction
    model = {"w": np.full(count, value / scale)}
    coder = codec(model, clip_norm=100.0, precision=1 / scale)
    values = np.array(whole(coder, encode(coder, model, seed=SEED))[:count])
    assert set(values.tolist()) <= {whole_part, whole_part + 1}
    error = math.sqrt(fraction * (1 - fraction) / count)
    assert abs(values.mean() - value) < 5 * error


def test_rounding_differs_between_coordinates_and_between_seeds() -> None:
    model = {"w": np.full(5000, 0.5 / 1024)}
    coder = codec(model, precision=2.0**-10)
    one, other = (np.array(whole(coder, encode(coder, model, seed=seed))[:5000]) for seed in (1, 2))
    for values in (one, other, one ^ other, one[1:] ^ one[:-1]):
        assert abs(values.mean() - 0.5) < 0.05  # fair coins, independent ones


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=50), st.binary(min_size=32, max_size=32))
def test_whole_steps_are_never_rounded(steps: list[int], seed: bytes) -> None:
    model = {"w": np.array(steps) / 1024}
    coder = codec(model, clip_norm=1000.0, precision=2.0**-10)
    assert whole(coder, encode(coder, model, seed=seed))[: len(steps)] == steps


def test_the_same_seed_gives_the_same_vector_whatever_the_memory_order() -> None:
    model = {
        "w": np.random.default_rng(0).normal(size=(70, 500)),
        "z": np.random.default_rng(1).normal(size=9),
    }
    coder = codec(model)
    one = encode(coder, model, seed=SEED).vector
    assert np.array_equal(one, encode(coder, model, seed=SEED).vector)
    fortran = {name: np.asfortranarray(array) for name, array in reversed(model.items())}
    assert np.array_equal(one, encode(coder, fortran, seed=SEED).vector)
    assert not np.array_equal(one, encode(coder, model, seed=bytes(32)).vector)
