"""32x32 crops of the two photographs inside scikit-learn: a temple and a flower, 427 x 640 pixels each.

Both photographs are cut into tiles, side by side from the upper left corner. Tiles that a constant colour
comes within 26 dB of are left out: an attack that "reconstructs" a piece of sky has shown nothing. The crops
are drawn from the rest without replacement by `np.random.default_rng(seed).choice`; the same seed gives the
same crops, and the first of ten are not the same as those of five.

Reading them takes Pillow. JPEG decoders may differ by a level of 255 between
versions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from secagg.errors import MissingExtraError
from secagg_attacks.data.errors import DataError

__all__ = ["CHANNELS", "PHOTOGRAPHS", "SIDE", "Photographs", "photographs"]

SIDE: Final = 32
CHANNELS: Final = 3
PHOTOGRAPHS: Final = ("china.jpg", "flower.jpg")
_LEAST_CONTRAST: Final = 0.05
"""Root mean square distance from the tile's own mean colour, of a range of 1: 26 dB."""


@dataclass(frozen=True, eq=False)
class Photographs:
    """x: float32 (n, 3, 32, 32) from 0 to 1. y: int64 (n,), which photograph. corners: int64 (n, 2), the
    row and the column of each crop's upper left pixel."""

    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.int64]
    corners: npt.NDArray[np.int64]


def photographs(count: int = 10, seed: int = 0) -> Photographs:
    """`count` crops, drawn as the module says.

    Raises DataError `crops-invalid` (with the number there are), MissingExtraError without scikit-learn or
    Pillow.
    """
    tiles, which, corners = _tiles()
    if not 1 <= count <= len(tiles):
        raise DataError("crops-invalid", f"{count} crops", f"from 1 to the {len(tiles)} there are")
    chosen = np.random.default_rng(seed).choice(len(tiles), size=count, replace=False)
    return Photographs(tiles[chosen], which[chosen], corners[chosen])


def _tiles() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Every tile with contrast, in the order of photographs, rows, columns."""
    tiles, which, corners = [], [], []
    for index, image in enumerate(_images()):
        pixels = image.astype(np.float64) / 255
        for row in range(0, pixels.shape[0] - SIDE + 1, SIDE):
            for column in range(0, pixels.shape[1] - SIDE + 1, SIDE):
                tile = pixels[row : row + SIDE, column : column + SIDE].transpose(2, 0, 1)
                contrast = float(np.sqrt(tile.var(axis=(1, 2)).mean()))
                if contrast >= _LEAST_CONTRAST:
                    tiles.append(tile.astype(np.float32))
                    which.append(index)
                    corners.append((row, column))
    return np.stack(tiles), np.array(which, dtype=np.int64), np.array(corners, dtype=np.int64)


def _images() -> list[npt.NDArray[np.uint8]]:
    try:
        from sklearn.datasets import load_sample_image
    except ImportError as missing:
        raise MissingExtraError("scikit-learn", "attacks") from missing
    try:
        return [np.asarray(load_sample_image(name)) for name in PHOTOGRAPHS]
    except ImportError as missing:
        raise MissingExtraError("Pillow", "attacks") from missing
