"""MSE, PSNR and SSIM: figures worked out by hand, and one that scikit-image gives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from secagg_attacks.images.errors import ImagesError
from secagg_attacks.images.measures import CEILING_PSNR, mse, psnr, ssim

PIXELS = arrays(np.float64, (1, 1, 12, 13), elements=st.floats(0, 1))


def flat(value: float, side: int = 16) -> npt.NDArray[np.float64]:
    return np.full((1, 1, side, side), value)


def pattern() -> npt.NDArray[np.float64]:
    at = np.arange(24)
    return np.asarray(np.outer(at, at + 1) % 17 / 16)[None, None]


def test_a_tenth_off_everywhere_is_an_error_of_a_hundredth_and_20_db() -> None:
    one, other = flat(0.5), flat(0.6)

    assert mse(one, other)[0] == pytest.approx(0.01)
    assert psnr(one, other)[0] == pytest.approx(20.0)


def test_each_image_of_a_batch_has_its_own_figure() -> None:
    one = np.concatenate([flat(0.5), flat(0.5)])
    other = np.concatenate([flat(0.5), flat(0.6)])

    assert mse(one, other).tolist() == pytest.approx([0.0, 0.01])
    assert psnr(one, other)[0] == math.inf


def test_two_flat_images_are_as_similar_as_their_luminances() -> None:
    expected = (2 * 0.2 * 0.6 + 0.01**2) / (0.2**2 + 0.6**2 + 0.01**2)

    assert ssim(flat(0.2), flat(0.6))[0] == pytest.approx(expected, rel=1e-12)


def test_one_window_is_what_the_papers_formula_says_of_it() -> None:
    generator = np.random.default_rng(0)
    one, other = generator.random((2, 11, 11))
    offsets = np.arange(-5, 6)
    weights = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    mean_one, mean_other = (weights * one).sum(), (weights * other).sum()
    variance_one = (weights * (one - mean_one) ** 2).sum()
    variance_other = (weights * (other - mean_other) ** 2).sum()
    covariance = (weights * (one - mean_one) * (other - mean_other)).sum()
    luminance = (2 * mean_one * mean_other + 1e-4) / (mean_one**2 + mean_other**2 + 1e-4)
    structure = (2 * covariance + 9e-4) / (variance_one + variance_other + 9e-4)

    assert ssim(one[None, None], other[None, None])[0] == pytest.approx(luminance * structure, rel=1e-9)


def test_scikit_image_gives_the_same_figures_of_the_same_pattern() -> None:
    """skimage.metrics 0.26, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1."""
    one = pattern()
    other = np.roll(one, 3, axis=3) * 0.8 + 0.1

    assert ssim(one, other)[0] == pytest.approx(0.08523917426004134, rel=1e-10)
    assert psnr(one, other)[0] == pytest.approx(8.571196425172577, rel=1e-12)


def test_a_negative_is_unlike_its_positive() -> None:
    assert ssim(pattern(), 1 - pattern())[0] < -0.5


def test_the_channels_of_an_image_count_alike() -> None:
    one, other = pattern(), np.roll(pattern(), 3, axis=3)
    together = ssim(np.concatenate([one, one], axis=1), np.concatenate([one, other], axis=1))[0]

    assert together == pytest.approx((1 + ssim(one, other)[0]) / 2)


@pytest.mark.parametrize("side", [1, 2, 8, 10, 11, 12])
def test_an_image_smaller_than_the_window_has_a_similarity(side: int) -> None:
    image = np.random.default_rng(side).random((2, 3, side, side))

    assert ssim(image, image).tolist() == pytest.approx([1.0, 1.0])


@given(PIXELS, PIXELS)
def test_every_measure_is_symmetric_and_within_its_range(
    one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]
) -> None:
    assert mse(one, other)[0] == mse(other, one)[0]
    assert 0 <= mse(one, other)[0] <= 1
    assert ssim(one, other)[0] == pytest.approx(ssim(other, one)[0], abs=1e-12)
    assert -1 - 1e-9 <= ssim(one, other)[0] <= 1 + 1e-9


def test_the_ceiling_is_what_eight_bits_leave_of_an_image() -> None:
    image = np.random.default_rng(0).random((1, 3, 200, 200))

    assert psnr(image, np.round(image * 255) / 255)[0] == pytest.approx(CEILING_PSNR, abs=0.05)


@pytest.mark.parametrize("measure", [mse, psnr, ssim])
@pytest.mark.parametrize(
    ("one", "other", "code"),
    [
        (flat(0.5), flat(0.5, side=8), "images-shape"),
        (np.zeros((4, 4)), np.zeros((4, 4)), "images-shape"),
        (np.zeros((0, 1, 4, 4)), np.zeros((0, 1, 4, 4)), "images-shape"),
        (flat(0.5), flat(math.nan), "images-not-finite"),
    ],
)
def test_images_that_cannot_be_compared_are_refused_by_name(
    measure: Any, one: npt.NDArray[np.float64], other: npt.NDArray[np.float64], code: str
) -> None:
    with pytest.raises(ImagesError) as refused:
        measure(one, other)

    assert refused.value.code == code
