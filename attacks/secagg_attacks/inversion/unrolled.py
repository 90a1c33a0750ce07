"""Inverting a whole local training: the images that would have moved the weights as they were moved.

A client of FedAvg takes several steps of SGD before it answers, and its update is no gradient of anything.
The attacker plays those steps on its own guess and differentiates through all of them (Geiping et al. 2020,
section 6, "federated averaging"; Dimitrov et al. 2022, "Data leakage in federated averaging"), again matching
the direction of the update under total variation.

Labels are estimated from the update, not read from the victim: to read them is what makes such attacks look
better than they are. Which label was in which step stays unknown; the guess deals them out in ascending
order, and the harm that does is in the figures. Local steps, rate and batch size are taken as known, for the
plan says them. Report every figure with steps x batch: it falls quickly with both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy.typing as npt
import torch
from torch import Tensor, nn

from secagg_attacks.inversion.descent import PUBLISHED, Descent, cosine_distance, descend
from secagg_attacks.inversion.errors import InversionError
from secagg_attacks.inversion.gradients import (
    Arrays,
    Loss,
    Model,
    Shape,
    checked_labels,
    checked_shape,
    gradient_at,
    gradient_of_step,
    matched_gradient,
    model_of,
)
from secagg_attacks.inversion.labels import LabelEstimate, recover_labels
from secagg_attacks.inversion.reconstruction import Attempt, Deadline, OnStep, Reconstruction, best_of

__all__ = ["LocalSteps", "estimated_labels", "fedavg_inversion", "local_update"]


@dataclass(frozen=True)
class LocalSteps:
    """What a client does in a round: plain SGD, `epochs` times over its examples, in their order, `batch`
    at a time, the last of an epoch with what is left. Raises InversionError `training-invalid`."""

    learning_rate: float
    examples: int
    batch: int
    epochs: int = 1

    def __post_init__(self) -> None:
        if not self.learning_rate > 0 or min(self.examples, self.batch, self.epochs) < 1:
            raise InversionError(
                "training-invalid",
                f"{self}",
                "a learning rate above 0; examples, batch and epochs of 1 or more",
            )

    @property
    def steps(self) -> int:
        """SGD steps in a round."""
        return self.epochs * math.ceil(self.examples / self.batch)


def fedavg_inversion(
    module: nn.Module,
    update: Arrays,
    shape: Shape,
    training: LocalSteps,
    labels: npt.ArrayLike | None = None,
    *,
    seed: int,
    restarts: int = 1,
    recipe: Descent = PUBLISHED,
    loss: Loss = nn.functional.cross_entropy,
    seconds: float | None = None,
    on_step: OnStep | None = None,
) -> Reconstruction:
    """Images (training.examples, channels, height, width) whose local training gives the direction of
    `update`, weights after minus weights before. matching_loss: 1 - cos of the two updates.

    module: at the weights before. labels: in the order of training; None to estimate them (estimated_labels).
    The dtype is the model's. Time and memory grow with training.steps. Raises InversionError
    `training-invalid`, and what best_of, descend, matched_gradient and recover_labels raise.
    """
    model = model_of(module, loss)
    n = checked_shape(shape)[0]
    if n != training.examples:
        raise InversionError(
            "training-invalid", f"{n} images of {training.examples} examples", "one image for each example"
        )
    seen = matched_gradient(model, update)
    dtype = next(iter(seen.values())).dtype
    if labels is None:
        found = estimated_labels(module, update, shape, training, seed=seed, loss=loss).labels
    y = checked_labels(found if labels is None else labels, n)

    def distance(images: Tensor) -> Tensor:
        return cosine_distance(local_update(model, images, y, training, differentiable=True), seen)

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


def estimated_labels(
    module: nn.Module,
    update: Arrays,
    shape: Shape,
    training: LocalSteps,
    *,
    seed: int,
    loss: Loss = nn.functional.cross_entropy,
) -> LabelEstimate:
    """The labels of all examples, from the mean gradient of the steps, -update / (rate * steps).

    Exact only where the model hardly moves and the last batch is full. Raises as recover_labels does.
    """
    mean = gradient_of_step(update, training.learning_rate * training.steps)
    return recover_labels(module, mean, shape, seed=seed, loss=loss, update=update)


def local_update(
    model: Model, x: Tensor, y: Tensor, training: LocalSteps, *, differentiable: bool
) -> Mapping[str, Tensor]:
    """What training on x (examples, ...) and y moves each parameter by."""
    parameters = dict(model.parameters)
    for _ in range(training.epochs):
        for inputs, targets in zip(
            torch.split(x, training.batch), torch.split(y, training.batch), strict=True
        ):
            slopes = gradient_at(model, parameters, inputs, targets, differentiable=differentiable)
            parameters = {
                name: value - training.learning_rate * slopes[name] for name, value in parameters.items()
            }
    return {name: value - model.parameters[name] for name, value in parameters.items()}
