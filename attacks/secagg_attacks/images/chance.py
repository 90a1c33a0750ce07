"""What somebody who saw nothing of the update would reach: the level that an attack must be above.

Two guesses. The best constant colour of each image is generous, for the colour is taken from the image
itself: no flat image comes nearer. A random guess is other images of the same set, matched to the originals
as a reconstruction would be.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from secagg_attacks.images.errors import ImagesError
from secagg_attacks.images.matching import Matched, match
from secagg_attacks.images.measures import Floats, compared

__all__ = ["Guessed", "best_constant", "random_guess"]


@dataclass(frozen=True, eq=False)
class Guessed:
    """Means over draws for each original, (n,) each; psnr is the mean of the draws' PSNRs, in dB."""

    mse: Floats
    psnr: Floats
    ssim: Floats
    draws: int


def best_constant(originals: npt.ArrayLike) -> Matched:
    """Each image (n, channels, height, width) against its own mean colour, the flat image of least error.

    A flat original is met exactly, and its PSNR is infinite. Raises ImagesError `images-shape`,
    `images-not-finite`.
    """
    images, _ = compared(originals, originals)
    flat = np.broadcast_to(images.mean(axis=(2, 3), keepdims=True), images.shape)
    return match(images, flat)


def random_guess(originals: npt.ArrayLike, pool: npt.ArrayLike, seed: int, draws: int = 20) -> Guessed:
    """Each batch of n originals against n others drawn from the pool without replacement, `draws` times.

    pool: (m, channels, height, width), images of the same set; those that equal an original are left out, for
    to draw one would be no guess. Raises ImagesError `images-shape`, `images-not-finite`, `pool-too-small`.
    """
    images, _ = compared(originals, originals)
    others, _ = compared(pool, pool)
    if images.shape[1:] != others.shape[1:]:
        raise ImagesError(
            "images-shape",
            f"an original is {images.shape[1:]}, an image of the pool {others.shape[1:]}",
            "images of one set",
        )
    same = (others[:, None] == images[None]).all(axis=(2, 3, 4)).any(axis=1)
    others = others[~same]
    if len(others) < len(images) or draws < 1:
        raise ImagesError(
            "pool-too-small",
            f"{draws} draws of {len(images)} images from {len(others)} others",
            "a pool with as many others as there are originals, and one draw or more",
        )
    generator = np.random.default_rng(seed)
    found = [
        match(images, others[generator.choice(len(others), len(images), replace=False)]) for _ in range(draws)
    ]
    return Guessed(
        np.mean([one.mse for one in found], axis=0),
        np.mean([one.psnr for one in found], axis=0),
        np.mean([one.ssim for one in found], axis=0),
        draws,
    )
