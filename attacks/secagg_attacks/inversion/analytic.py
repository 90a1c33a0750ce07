"""The input of a fully connected first layer, exactly, by one division.

For one example, ∇Wᵢ = ∇bᵢ x for every neuron i that took part (Phong et al. 2018, section 3; Geiping et al.
2020, proposition 3.1): x̂ = ∇Wᵢ / ∇bᵢ, at the row with the largest |∇bᵢ|, which loses the least to
rounding. In a batch each row is a weighted mean of its inputs, and exact only where one alone made its
neuron fire.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from secagg_attacks.inversion.errors import InversionError
from secagg_attacks.inversion.gradients import (
    Arrays,
    Loss,
    Shape,
    checked_labels,
    checked_shape,
    matched_gradient,
    model_of,
)
from secagg_attacks.inversion.labels import recover_labels
from secagg_attacks.inversion.layers import input_layer, parameters_of
from secagg_attacks.inversion.reconstruction import Reconstruction

__all__ = ["analytic_linear"]


def analytic_linear(
    module: nn.Module,
    gradient: Arrays,
    shape: Shape,
    labels: npt.ArrayLike | None = None,
    *,
    seed: int = 0,
    loss: Loss = nn.functional.cross_entropy,
) -> Reconstruction:
    """Inputs of shape (n, ...) from the rows with the n largest |∇bᵢ| of the layer that sees them; n is at
    most the number of its rows that have a gradient. All in float64; seed: of label recovery for batches.

    labels: of the batch; None to recover them, of one example by the sign of the last layer's ∇b.
    matching_loss: Σ‖∇ - ∇*‖² over the parameters seen. Raises InversionError `analytic-needs-linear`,
    `analytic-no-bias-gradient`, and what matched_gradient and recover_labels raise.
    """
    model = model_of(module, loss, torch.float64)
    n = checked_shape(shape)[0]
    seen = matched_gradient(model, gradient)
    layer = input_layer(model, shape)
    names = parameters_of(layer)
    if not all(name in seen for name in names):
        raise InversionError(
            "analytic-no-bias-gradient",
            f"the gradient lacks {' or '.join(names)}",
            "both, of the first layer",
        )
    weight, bias = (seen[name] for name in names)
    order = torch.argsort(bias.abs(), descending=True, stable=True)[:n]
    if len(order) < n or not bool(bias[order].all()):
        raise InversionError(
            "analytic-no-bias-gradient",
            f"{int((bias != 0).sum())} rows of {names[1]} have a gradient, and {n} inputs are asked for",
            "fewer inputs than rows; a layer whose neurons fired",
        )
    images = (weight[order] / bias[order, None]).reshape(shape)
    if labels is None:
        found = recover_labels(module, gradient, shape, seed=seed, loss=loss).labels
    y = checked_labels(found if labels is None else labels, n)
    guess = model.gradient(images, y, differentiable=False)
    distance = sum(float(((guess[name] - seen[name]) ** 2).sum()) for name in seen)
    return Reconstruction(
        images=images.numpy().copy(),
        labels=y.numpy().astype(np.int64),
        matching_loss=distance,
        restarts=(),
        chosen=0,
        ended="converged",
        labels_recovered=labels is None,
    )
