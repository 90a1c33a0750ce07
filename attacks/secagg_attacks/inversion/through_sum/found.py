"""Which examples an attack found, where it gives more images, or fewer, than there were."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from secagg_attacks.images.errors import ImagesError
from secagg_attacks.images.measures import CEILING_PSNR, Floats, compared

__all__ = ["EXACT", "Met", "most_alike", "nearest", "nearest_of"]

EXACT = CEILING_PSNR
"""An example that is met at this many dB, or more, is met exactly: eight bits cannot hold the difference."""


@dataclass(frozen=True, eq=False)
class Met:
    """Of each original the best score, float64 (n,), and which image has it, int64 (n,). Without any image
    the scores are minus infinity, and `image` is -1."""

    score: Floats
    image: npt.NDArray[np.int64]


def nearest(originals: npt.ArrayLike, images: npt.ArrayLike) -> Floats:
    """PSNR of the image that comes nearest to each original, in dB: (n,); minus infinity where there is none.

    originals: (n, channels, height, width); images: (k, channels, height, width), k may be 0. Not an
    assignment: of many bad guesses one may be near, so of this only `EXACT` is evidence.
    Raises ImagesError `images-shape`, `images-not-finite`.
    """
    return nearest_of(originals, images).score


def nearest_of(originals: npt.ArrayLike, images: npt.ArrayLike) -> Met:
    """The same, and which image it is. Raises as `nearest` does."""
    truth, found = _flat(originals, images)
    least, which = np.full(len(truth), np.inf), np.full(len(truth), -1)
    for index, image in enumerate(found):
        # Of differences: a product of the two would lose the digits that make a match exact.
        error = ((truth - image) ** 2).mean(axis=1)
        nearer = error < least
        least[nearer], which[nearer] = error[nearer], index
    with np.errstate(divide="ignore"):
        return Met(np.asarray(-10 * np.log10(least)), which)


def most_alike(originals: npt.ArrayLike, images: npt.ArrayLike) -> Met:
    """Pearson's correlation over pixels, -1 to 1, with the image that has the highest: for an attack that has
    to guess brightness and contrast. 0 with a flat image. Raises as `nearest` does."""
    truth, found = (_standard(part) for part in _flat(originals, images))
    if not len(found):
        return Met(np.full(len(truth), -np.inf), np.full(len(truth), -1))
    alike = truth @ found.T
    return Met(alike.max(axis=1), alike.argmax(axis=1))


def _flat(originals: npt.ArrayLike, images: npt.ArrayLike) -> tuple[Floats, Floats]:
    """(n, pixels) and (k, pixels), checked as `compared` does."""
    truth, found = np.asarray(originals, dtype=np.float64), np.asarray(images, dtype=np.float64)
    compared(truth, truth)
    if len(found):
        compared(found, found)
    if truth.shape[1:] != found.shape[1:]:
        raise ImagesError(
            "images-shape",
            f"an original is {truth.shape[1:]}, an image that was found {found.shape[1:]}",
            "(channels, height, width) of one kind",
        )
    return truth.reshape(len(truth), -1), found.reshape(len(found), truth[0].size)


def _standard(rows: Floats) -> Floats:
    """Each row less its mean, of length 1; a flat one all zeros."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.where(lengths > 0, lengths, 1.0))
