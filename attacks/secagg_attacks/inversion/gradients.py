"""The gradient that was seen, and the gradient that a guess would have given, in the same form.

A gradient, or an update, is a mapping of the names of a model's parameters to arrays. One plain SGD step of
rate r moves the weights by -r times the gradient; of an update of several steps that is their mean gradient
only roughly. Models are worked on as copies, in the mode, train or eval, that they come in: BatchNorm in
train mode normalises a guess by its own batch, in eval mode by its buffers, and which of them the client used
belongs to the threat model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.func import functional_call

from secagg_attacks.inversion.errors import InversionError
from secagg_attacks.model_calls import calling_the_model

__all__ = [
    "Arrays",
    "Loss",
    "Model",
    "Shape",
    "checked_labels",
    "checked_shape",
    "gradient_at",
    "gradient_of_step",
    "matched_gradient",
    "model_of",
]

Arrays: TypeAlias = "Mapping[str, Tensor] | Mapping[str, npt.NDArray[Any]]"
"""Names of parameters to arrays of their shapes."""

Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(logits, labels) -> the mean loss of a batch, a scalar."""

Shape: TypeAlias = tuple[int, ...]
"""Of a batch of inputs: (n, channels, height, width), or (n, features)."""


@dataclass(frozen=True, eq=False)
class Model:
    """A copy of a model: its module, and those of the module's parameters by name that are trained."""

    module: nn.Module
    parameters: dict[str, Tensor]
    loss: Loss

    def gradient(self, x: Tensor, y: Tensor, *, differentiable: bool) -> dict[str, Tensor]:
        """Of the mean loss of a batch, by parameter."""
        return gradient_at(self, self.parameters, x, y, differentiable=differentiable)


def gradient_at(
    model: Model, parameters: Mapping[str, Tensor], x: Tensor, y: Tensor, *, differentiable: bool
) -> dict[str, Tensor]:
    """The gradient at other parameters than the model's own. Raises TargetError `model-not-attackable`."""
    with calling_the_model():
        own = parameters is model.parameters
        out = model.module(x) if own else functional_call(model.module, dict(parameters), (x,))
        value = model.loss(out, y)
        # A parameter that takes no part has a gradient of zero, as an SGD step would have it.
        found = torch.autograd.grad(
            value, list(parameters.values()), create_graph=differentiable, materialize_grads=True
        )
    return dict(zip(parameters, found, strict=True))


def model_of(module: nn.Module, loss: Loss, dtype: torch.dtype | None = None) -> Model:
    """A copy, in `dtype` or the module's own. Raises InversionError `model-without-parameters`."""
    copy = deepcopy(module)
    if dtype is not None:
        copy = copy.to(dtype)
    parameters: dict[str, Tensor] = {
        name: parameter for name, parameter in copy.named_parameters() if parameter.requires_grad
    }
    if not parameters:
        raise InversionError("model-without-parameters", "nothing of the model is trained", "requires_grad")
    return Model(copy, parameters, loss)


def gradient_of_step(update: Arrays, learning_rate: float) -> dict[str, npt.NDArray[np.float64]]:
    """The gradient of one SGD step, from what it moved the weights by: float64.

    Raises InversionError `learning-rate-invalid`.
    """
    if not learning_rate > 0:
        raise InversionError("learning-rate-invalid", f"a rate of {learning_rate}", "more than 0")
    return {name: np.asarray(array, dtype=np.float64) / -learning_rate for name, array in update.items()}


def matched_gradient(model: Model, gradient: Arrays) -> dict[str, Tensor]:
    """What was seen, in the model's dtype and order. Buffers that travel with an update, as
    `buffers.<name>`, are left out.

    Parameters that are not in it stayed at home, and are not matched. Raises InversionError `gradient-names`,
    `gradient-shape`, `gradient-not-finite`, `gradient-zero`.
    """
    buffers = {f"buffers.{name}" for name, _ in model.module.named_buffers()}
    unknown = sorted(set(gradient) - set(model.parameters) - buffers)
    shared = [name for name in model.parameters if name in gradient]
    if unknown or not shared:
        raise InversionError(
            "gradient-names",
            f"the model has no {', '.join(unknown)}"
            if unknown
            else "no array is of a parameter of the model",
            f"the names of its parameters: {', '.join(model.parameters)}",
        )
    found = {}
    for name in shared:
        own = model.parameters[name]
        array = torch.as_tensor(gradient[name]).detach().to(own.dtype)
        if array.shape != own.shape:
            raise InversionError(
                "gradient-shape", f"{name} is {tuple(array.shape)}", f"as in the model: {tuple(own.shape)}"
            )
        if not bool(torch.isfinite(array).all()):
            raise InversionError(
                "gradient-not-finite", f"{name} holds numbers that are not finite", "finite ones"
            )
        found[name] = array
    if not any(bool(array.any()) for array in found.values()):
        raise InversionError(
            "gradient-zero",
            "every number of the gradient is 0",
            "a client that learned something: a model that has converged has no gradient to invert",
        )
    return found


def checked_labels(labels: npt.ArrayLike | Tensor, n: int) -> Tensor:
    """int64 (n,). Raises InversionError `labels-shape`."""
    found = torch.as_tensor(labels)
    if found.shape != (n,) or found.is_floating_point() or bool((found < 0).any()):
        raise InversionError(
            "labels-shape",
            f"labels are {tuple(found.shape)}, {found.dtype}",
            f"integers from 0, one for each of {n} inputs",
        )
    return found.long()


def checked_shape(shape: Shape) -> Shape:
    """Raises InversionError `shape-invalid`."""
    if len(shape) < 2 or min(shape) < 1:
        raise InversionError("shape-invalid", f"inputs of shape {tuple(shape)}", "(n, ...), all 1 or more")
    return tuple(shape)
