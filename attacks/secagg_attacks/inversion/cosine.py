"""Inverting gradients: the images whose gradient points the same way, and which look like images.

Minimises 1 - cos(∇, ∇*) + λ TV (Geiping et al. 2020, section 5) by signed Adam. Only the direction is
matched, so a gradient that was scaled or clipped as a whole gives the same images.

What goes wrong without saying so: the weight of the total variation is for its *mean* over pixels, and one
for its sum is thousands of times smaller; too heavy, it flattens texture, and the matching loss then stays
well above zero however long one waits; a network in train mode with BatchNorm matches statistics of the
guess, not of the client's batch; converged models have no gradient to invert, so report the training stage.
"""

from __future__ import annotations

import numpy.typing as npt
from torch import Tensor, nn

from secagg_attacks.inversion.descent import PUBLISHED, Descent, cosine_distance, descend
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
from secagg_attacks.inversion.reconstruction import Attempt, Deadline, OnStep, Reconstruction, best_of

__all__ = ["inverting_gradients"]


def inverting_gradients(
    module: nn.Module,
    gradient: Arrays,
    shape: Shape,
    labels: npt.ArrayLike | None = None,
    *,
    seed: int,
    restarts: int = 1,
    recipe: Descent = PUBLISHED,
    loss: Loss = nn.functional.cross_entropy,
    seconds: float | None = None,
    on_step: OnStep | None = None,
) -> Reconstruction:
    """Images (n, channels, height, width) whose gradient has the direction of the one seen, computed in the
    dtype of the model. matching_loss: 1 - cos, from 0 to 2; the restart with the least is taken.

    labels: of the batch, in the order of the images; None to recover them. seconds: for all restarts
    together, checked every step. Raises InversionError: what best_of, descend, matched_gradient and
    recover_labels raise.
    """
    model = model_of(module, loss)
    n = checked_shape(shape)[0]
    seen = matched_gradient(model, gradient)
    dtype = next(iter(seen.values())).dtype
    if labels is None:
        found = recover_labels(module, gradient, shape, seed=seed, loss=loss).labels
    y = checked_labels(found if labels is None else labels, n)

    def distance(images: Tensor) -> Tensor:
        return cosine_distance(model.gradient(images, y, differentiable=True), seen)

    def search(its_seed: int, deadline: Deadline, progress: OnStep) -> Attempt:
        return descend(distance, shape, dtype, recipe, its_seed, deadline, progress)

    return best_of(
        search,
        y,
        labels is None,
        seed=seed,
        restarts=restarts,
        steps=recipe.steps,
        seconds=seconds,
        on_step=on_step,
    )
