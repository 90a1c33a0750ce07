"""The digits, and those mislabelled on purpose."""

from __future__ import annotations

import numpy as np
import pytest

from secagg_attacks.data.digits import CLASSES, DataError, digits


def test_every_digit_is_there_with_ink_from_zero_to_one():
    data = digits()
    assert data.x.shape == (1797, 64)
    assert data.x.dtype == np.float32
    assert (data.x.min(), data.x.max()) == (0, 1)
    assert data.images.shape == (1797, 1, 8, 8)
    assert (data.images[3, 0, 2] == data.x[3, 16:24]).all()
    assert (data.y == data.clean).all()
    assert set(data.y) == set(range(CLASSES))


@pytest.mark.parametrize("flipped", [0.2, 0.5, 1.0])
def test_the_share_asked_for_is_flipped_to_every_other_label(flipped):
    data = digits(flipped, seed=1)
    wrong = data.y != data.clean
    assert wrong.sum() == round(flipped * 1797)
    shifts = np.bincount((data.y - data.clean)[wrong] % CLASSES, minlength=CLASSES)
    assert shifts[0] == 0
    assert abs(shifts[1:] - wrong.sum() / 9).max() < 5 * (wrong.sum() / 9) ** 0.5
    assert set(data.y) == set(range(CLASSES))
    assert (data.clean == digits().y).all()


def test_the_seed_decides_which():
    assert (digits(0.2, seed=1).y == digits(0.2, seed=1).y).all()
    assert (digits(0.2, seed=1).y != digits(0.2, seed=2).y).any()


@pytest.mark.parametrize("flipped", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused_by_name(flipped):
    with pytest.raises(DataError) as refused:
        digits(flipped)
    assert refused.value.code == "flipped-invalid"
