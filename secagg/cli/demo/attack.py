"""The analytic attack: one example, read out of the update it caused.

For a layer z = W x + b, the chain rule gives dL/dW_i = dL/dz_i * x and dL/db_i = dL/dz_i, so that x is the
ratio of the two in any row i that is not dead (Phong et al. 2018, IEEE TIFS 13(5), section III; Geiping et
al. 2020, arXiv 2003.14053, proposition 3.1). It needs no optimisation and no guess, only a gradient of a
single example. Because it is a ratio, nothing that scales the whole update hinders it: not the learning
rate, not clipping to a norm, not the example weight, not the encoding's scale.

With several examples in a batch it returns a mixture of them. This is the demo's illustration, not a
measure of what an update leaks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from secagg.cli.demo.digits import SHADES
from secagg.encoding.ring import centred
from secagg.errors import EncodingError, RunError

__all__ = ["Recovery", "analytic_attack", "arrays_of", "chance", "compare"]

Array: TypeAlias = npt.NDArray[np.floating[Any]]


def analytic_attack(
    gradient: Mapping[str, Array], weight: str = "hidden.weight", bias: str = "hidden.bias"
) -> npt.NDArray[np.float64]:
    """The input x, (inputs,), from the gradient of its layer: `weight`, (rows, inputs), and `bias`, (rows,).

    An update or any multiple of the gradient serves as well. Of all rows the one with the largest |db| is
    used: the ReLU of others may be dead, and theirs would be 0 / 0. Raises RunError `attack-dead-layer`
    when all are.
    """
    slopes = gradient[bias].astype(np.float64)
    row = int(np.abs(slopes).argmax())
    if slopes[row] == 0:
        raise RunError(
            "attack-dead-layer",
            f"every entry of '{bias}' is zero: no unit of the layer was active",
            "take another example, or another starting model",
        )
    recovered: npt.NDArray[np.float64] = gradient[weight][row].astype(np.float64) / slopes[row]
    return recovered


def arrays_of(
    vector: npt.NDArray[np.unsignedinteger[Any]], bits: int, layout: Sequence[tuple[str, tuple[int, ...]]]
) -> dict[str, npt.NDArray[np.float64]]:
    """A ring vector as named arrays of the integers it stands for, in units of one rounding step.

    layout: name and shape of each array in the order of the vector; what follows them (example weight,
    metrics) is left out. Raises EncodingError `vector-length` when the vector is shorter than its layout.
    """
    needed = sum(math.prod(shape) for _, shape in layout)
    if len(vector) < needed:
        raise EncodingError("vector-length", f"{needed} coordinates expected, {len(vector)} came")
    values = centred(vector, bits).astype(np.float64)
    arrays, start = {}, 0
    for name, shape in layout:
        stop = start + math.prod(shape)
        arrays[name] = values[start:stop].reshape(shape)
        start = stop
    return arrays


@dataclass(frozen=True, eq=False, repr=False)
class Recovery:
    """What an attack returned, clamped to the pixels' range [0, 1], and how near it is to the example.

    mse: over the pixels. right: the share of pixels whose nearest shade of the data's is the true one.
    """

    image: npt.NDArray[np.float64]
    mse: float
    right: float

    @property
    def psnr(self) -> float:
        """Peak signal-to-noise ratio in decibels, the peak being 1; infinite when nothing differs."""
        return math.inf if self.mse == 0 else -10 * math.log10(self.mse)


def compare(returned: Array, example: Array) -> Recovery:
    """Scores what an attack returned against the example, both of shape (pixels,)."""
    image = np.clip(returned.astype(np.float64), 0, 1)
    away = np.abs(image - example.astype(np.float64))
    return Recovery(image, float(np.square(away).mean()), float((away < 0.5 / SHADES).mean()))


def chance(example: Array) -> Recovery:
    """What a plain square scores without any update, each figure with the shade that is best for it.

    The mean shade has the smallest MSE; the commonest, which is paper, is right most often.
    """
    mean = compare(np.full(example.shape, example.mean()), example)
    commonest = np.bincount(np.rint(example * SHADES).astype(np.int64)).argmax() / SHADES
    return replace(mean, right=compare(np.full(example.shape, commonest), example).right)
