"""How many examples an attack found, where it gives more images, or fewer, than there were."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from secagg_attacks.images.measures import CEILING_PSNR, Floats, psnr

__all__ = ["EXACT", "nearest"]

EXACT = CEILING_PSNR
"""An example that is met at this many dB, or more, is met exactly: eight bits cannot hold the difference."""


def nearest(originals: npt.ArrayLike, images: npt.ArrayLike) -> Floats:
    """PSNR of the image that comes nearest to each original, in dB: (n,); minus infinity where there is none.

    originals: (n, channels, height, width); images: (k, channels, height, width), k may be 0. Not an
    assignment: of many bad guesses one may be near, so of this only `EXACT` is evidence.
    Raises ImagesError `images-shape`, `images-not-finite`.
    """
    truth, found = np.asarray(originals, dtype=np.float64), np.asarray(images, dtype=np.float64)
    best = np.full(len(truth), -np.inf)
    for image in found:
        best = np.maximum(best, psnr(truth, np.broadcast_to(image, truth.shape)))
    return best
