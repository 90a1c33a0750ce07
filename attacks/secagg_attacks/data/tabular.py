"""scikit-learn's 569 breast masses, benign or malignant, each by 30 numbers: a table that needs no download.

The Wisconsin diagnostic set (Street, Wolberg, Mangasarian 1993) lies inside scikit-learn, which is imported
when it is asked for. Columns differ by factors of a hundred thousand, and are brought to mean 0 and
deviation 1 over the whole table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from secagg.errors import MissingExtraError
from secagg_attacks.data.labels import mislabelled

__all__ = ["CLASSES", "FEATURES", "Tumours", "breast_cancer"]

FEATURES: Final = 30
CLASSES: Final = 2


@dataclass(frozen=True, eq=False)
class Tumours:
    """x: float32 (569, 30), each column of mean 0 and deviation 1. y: int64 (569,), 0 malignant, 1 benign,
    some flipped. clean: before that."""

    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.int64]
    clean: npt.NDArray[np.int64]


def breast_cancer(flipped: float = 0.0, seed: int = 0) -> Tumours:
    """All of them in scikit-learn's order, a share `flipped` with the wrong label, as `mislabelled` says.

    Raises DataError `flipped-invalid`, MissingExtraError without scikit-learn.
    """
    try:
        from sklearn.datasets import load_breast_cancer
    except ImportError as missing:
        raise MissingExtraError("scikit-learn", "attacks") from missing
    table, labels = load_breast_cancer(return_X_y=True)
    clean = labels.astype(np.int64)
    x = (table - table.mean(axis=0)) / table.std(axis=0)
    return Tumours(x.astype(np.float32), mislabelled(clean, CLASSES, flipped, seed), clean)
