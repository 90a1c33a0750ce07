"""The fully connected layer that sees the inputs, and what its update holds: mixtures of them.

Of a layer z = W x + b the gradients are dW = sum_i delta_i x_i^T and db = sum_i delta_i, over the examples i
of all clients alike: a row of dW is a mixture of inputs, and the same row of db is the sum of its
coefficients. An update of one local step is a multiple of them, one of several steps is another such mixture.
Every attack of this package that computes and does not search starts here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from secagg_attacks.inversion.errors import InversionError
from secagg_attacks.inversion.gradients import Arrays, checked_shape, matched_gradient, model_of
from secagg_attacks.inversion.layers import input_layer, parameters_of

__all__ = ["Floats", "Mixture", "first_layer", "quotients"]

Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Mixture:
    """The weights (rows, features) and biases (rows,) of a layer, or their update; float64."""

    weight: Floats
    bias: Floats


def first_layer(model: nn.Module, arrays: Arrays, shape: tuple[int, ...]) -> Mixture:
    """The part of `arrays` (a gradient, an update, or the weights themselves) that is the first layer's.

    shape: of one input. Raises InversionError `analytic-needs-linear`, `gradient-names`, `gradient-shape`,
    `gradient-not-finite`, `gradient-zero`, `shape-invalid`.
    """
    copy = model_of(model, nn.functional.cross_entropy, torch.float64)
    name = input_layer(copy, checked_shape((1, *shape)))
    found = matched_gradient(copy, arrays)
    parts = []
    for key in parameters_of(name):
        if key not in found:
            raise InversionError("gradient-names", f"'{key}' is missing", "both arrays of the first layer")
        parts.append(found[key].numpy())
    return Mixture(*parts)


def quotients(mixture: Mixture, silent: float = 1e-9) -> tuple[npt.NDArray[np.int64], Floats]:
    """Each row of the weights over its bias: the input, where a single one reached the row.

    Rows whose |bias| is below `silent` times the largest are left out: nothing reached them, or what did
    cancels. Returns the rows that are left (k,) and their quotients (k, features).
    """
    size = np.abs(mixture.bias)
    rows = np.flatnonzero(size > silent * size.max(initial=0.0))
    return rows, mixture.weight[rows] / mixture.bias[rows, None]
