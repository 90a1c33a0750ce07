"""Directions that canaries are looked for by."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg_attacks.audit.directions import directions


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 60), count=st.integers(1, 60), seed=st.integers(0, 2**32))
def test_directions_are_unit_vectors_and_orthogonal_where_there_is_room(
    size: int, count: int, seed: int
) -> None:
    found = directions(size, count, seed)

    assert found.shape == (count, size)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-12)
    if count <= size:
        np.testing.assert_allclose(found @ found.T, np.eye(count), atol=1e-9)


def test_the_first_ones_of_a_seed_are_the_same_however_many_there_are() -> None:
    np.testing.assert_allclose(directions(50, 3, 7), directions(50, 20, 7)[:3], atol=1e-12)
    assert abs(directions(50, 3, 7) - directions(50, 3, 8)).max() > 0.1


@pytest.mark.parametrize("count", [4, 9])
def test_no_coordinate_and_no_sign_is_preferred(count: int) -> None:
    """Means over 2 000 draws of each coordinate, and of its square, beside four standard errors."""
    many = np.stack([directions(4, count, seed) for seed in range(2000)])

    assert abs(many.mean(axis=0)).max() < 4 * 0.5 / np.sqrt(2000) * 1.2
    assert abs((many**2).mean(axis=0) - 0.25).max() < 4 * 0.21 / np.sqrt(2000) * 1.2
