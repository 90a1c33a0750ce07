"""scikit-learn's 1 797 handwritten digits, some of them mislabelled on purpose.

A model learns the digits so well that it treats those it saw and those it did not alike: there is next to
nothing to find. A mislabelled example cannot be learned, only remembered, and is found. The images come
inside scikit-learn, which is imported when they are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from secagg.errors import MissingExtraError
from secagg_attacks.data.errors import DataError
from secagg_attacks.data.labels import mislabelled

__all__ = ["CLASSES", "PIXELS", "SIDE", "DataError", "Digits", "digits"]

SIDE: Final = 8
PIXELS: Final = SIDE * SIDE
CLASSES: Final = 10
_INK: Final = 16


@dataclass(frozen=True, eq=False)
class Digits:
    """x: float32 (1797, 64) from 0 (paper) to 1 (ink). y: int64 (1797,), some flipped. clean: before that."""

    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.int64]
    clean: npt.NDArray[np.int64]

    @property
    def images(self) -> npt.NDArray[np.float32]:
        """x as (1797, 1, 8, 8): channels, height, width."""
        return self.x.reshape(-1, 1, SIDE, SIDE)


def digits(flipped: float = 0.0, seed: int = 0) -> Digits:
    """All digits in scikit-learn's order, a share `flipped` of them (rounded) with a wrong label.

    Which, and with what, is as `mislabelled` says.
    Raises DataError `flipped-invalid`, MissingExtraError without scikit-learn.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as missing:
        raise MissingExtraError("scikit-learn", "attacks") from missing
    images, labels = load_digits(return_X_y=True)
    clean = labels.astype(np.int64)
    y = mislabelled(clean, CLASSES, flipped, seed)
    return Digits((images / _INK).astype(np.float32), y, clean)
