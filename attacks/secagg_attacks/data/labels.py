"""Labels made wrong on purpose: what cannot be learned and is remembered instead, so that it is found."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from secagg_attacks.data.errors import DataError

__all__ = ["mislabelled"]


def mislabelled(clean: npt.NDArray[np.int64], classes: int, share: float, seed: int) -> npt.NDArray[np.int64]:
    """A copy of labels (n,) from 0 to classes - 1 with a share of them (rounded) wrong.

    The examples are drawn without replacement, each wrong label uniformly from the others.
    Raises DataError `flipped-invalid`.
    """
    if not 0 <= share <= 1:
        raise DataError("flipped-invalid", f"a share of {share} labels to flip", "from 0 to 1")
    generator = np.random.default_rng(seed)
    wrong = generator.choice(len(clean), size=round(share * len(clean)), replace=False)
    y = clean.copy()
    y[wrong] = (clean[wrong] + generator.integers(1, classes, size=len(wrong))) % classes
    return y
