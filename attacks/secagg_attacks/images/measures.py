"""Distances between an image and its reconstruction: mean squared error, PSNR, SSIM.

Images are (n, channels, height, width) with values from 0 to 1; each measure gives one float64 for each. PSNR
is 10 log10(1 / MSE) in decibels. SSIM is that of Wang, Bovik, Sheikh and Simoncelli (2004, section III-B and
III-C): an 11x11 Gaussian window of 1.5 pixels, K1 = 0.01, K2 = 0.03, averaged over the positions at which the
window lies inside the image, and over channels.

No measure sees what a person sees: a reconstruction of 15 dB can show a face, and one shifted by a pixel can
score below a flat colour. Report them together, with chance beside them, and show the images.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.ndimage import correlate1d

from secagg_attacks.images.errors import ImagesError

__all__ = ["CEILING_PSNR", "Floats", "compared", "mse", "psnr", "ssim"]

Floats: TypeAlias = npt.NDArray[np.float64]

CEILING_PSNR: Final = 10 * float(np.log10(12 * 255**2))
"""What rounding to eight bits leaves of an image: 58.9 dB. Nothing above it can be seen or saved."""

_WINDOW: Final = 11
_SIGMA: Final = 1.5
_C1: Final = 0.01**2
_C2: Final = 0.03**2


def mse(originals: npt.ArrayLike, reconstructions: npt.ArrayLike) -> Floats:
    """Mean squared error of each image: (n,). Raises ImagesError `images-shape`, `images-not-finite`."""
    one, other = compared(originals, reconstructions)
    return np.asarray(((one - other) ** 2).mean(axis=(1, 2, 3)))


def psnr(originals: npt.ArrayLike, reconstructions: npt.ArrayLike) -> Floats:
    """Peak signal-to-noise ratio of each image, in dB with a peak of 1; infinite for equal images. Raises
    as mse."""
    with np.errstate(divide="ignore"):
        return np.asarray(-10 * np.log10(mse(originals, reconstructions)))


def ssim(originals: npt.ArrayLike, reconstructions: npt.ArrayLike) -> Floats:
    """Structural similarity of each image: 1 for equal ones, down to -1. Raises as mse.

    An image smaller than 11 pixels is measured with the largest odd window that fits; its figure compares
    with others of its size only.
    """
    one, other = compared(originals, reconstructions)
    window = min(_WINDOW, *(side - 1 + side % 2 for side in one.shape[2:]))
    offsets = np.arange(window) - window // 2
    kernel = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    kernel /= kernel.sum()

    def local(values: Floats) -> Floats:
        for axis in (2, 3):
            values = correlate1d(values, kernel, axis=axis)
            inside = [slice(None)] * 4
            inside[axis] = slice(window // 2, values.shape[axis] - window // 2)
            values = values[tuple(inside)]
        return values

    mean_one, mean_other = local(one), local(other)
    variance_one = local(one * one) - mean_one**2
    variance_other = local(other * other) - mean_other**2
    covariance = local(one * other) - mean_one * mean_other
    similarity = ((2 * mean_one * mean_other + _C1) * (2 * covariance + _C2)) / (
        (mean_one**2 + mean_other**2 + _C1) * (variance_one + variance_other + _C2)
    )
    return np.asarray(similarity.mean(axis=(1, 2, 3)))


def compared(originals: npt.ArrayLike, reconstructions: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Both as float64, checked: the same shape (n, channels, height, width), n at least 1, all finite.

    Raises ImagesError `images-shape`, `images-not-finite`.
    """
    one, other = _floats(originals), _floats(reconstructions)
    if one.ndim != 4 or one.shape != other.shape or not one.size:
        raise ImagesError(
            "images-shape",
            f"originals are {one.shape} and reconstructions {other.shape}",
            "both (n, channels, height, width), n images of 1 or more",
        )
    for name, images in (("originals", one), ("reconstructions", other)):
        if not np.isfinite(images).all():
            raise ImagesError(
                "images-not-finite", f"{name} hold numbers that are not finite", "finite pixels"
            )
    return one, other


def _floats(images: Any) -> Floats:
    return np.asarray(images, dtype=np.float64)
