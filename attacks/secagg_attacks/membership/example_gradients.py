"""The gradient that each example alone gives a model's loss, and how long it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

import secagg.torch
from secagg_attacks.local_training import BUFFERS
from secagg_attacks.membership.confidence import Floats
from secagg_attacks.model_calls import calling_the_model
from secagg_attacks.target import Examples, Loss, Target, TargetError
from secagg_attacks.views import Arrays

__all__ = ["CHUNK", "example_gradients", "gradient_norms"]

CHUNK: Final = 1 << 22
"""Numbers of per-example gradients held at a time."""


def gradient_norms(target: Target, weights: Arrays, examples: Examples) -> Floats:
    """The norm of each example's gradient, negated, under a model of any weights: float64 (examples,).

    After local steps members move the model that they made less than others do. What is not a number counts
    as the largest there is. Raises TargetError `model-not-attackable`.
    """
    model = target.fresh().eval()
    secagg.torch.load(model, weights, local=BUFFERS if target.buffers == "unknown" else ())
    names = [name for name, _ in model.named_parameters()]
    x, y = examples
    size = max(1, CHUNK // sum(parameter.numel() for parameter in model.parameters()))
    norms = [
        example_gradients(model, target.loss, names, x[at : at + size], y[at : at + size]).norm(dim=1)
        for at in range(0, len(x), size)
    ]
    largest = float(np.finfo(np.float64).max)
    return np.asarray(-np.nan_to_num(torch.cat(norms).numpy(), nan=largest))


def example_gradients(model: nn.Module, loss: Loss, names: Sequence[str], x: Tensor, y: Tensor) -> Tensor:
    """Each example's own gradient by the parameters named, float64 (examples, parameters), on the CPU.

    All at once where torch can (`vmap`); models that it cannot take so, recurrent ones say, one by one.
    Raises TargetError `model-not-attackable`.
    """
    parameters = dict(model.named_parameters())
    chosen = {name: parameters[name].detach() for name in names}

    def of_one(values: dict[str, Tensor], one: Tensor, label: Tensor) -> Tensor:
        return loss(functional_call(model, values, (one[None],)), label[None])

    try:
        with calling_the_model():
            found = vmap(grad(of_one), in_dims=(None, 0, 0))(chosen, x, y)
    except TargetError:
        leaves = {name: value.requires_grad_() for name, value in chosen.items()}
        with calling_the_model():
            singles = [
                torch.autograd.grad(of_one(leaves, one, label), list(leaves.values()), materialize_grads=True)
                for one, label in zip(x, y, strict=True)
            ]
        found = {
            name: torch.stack(each) for name, each in zip(names, zip(*singles, strict=True), strict=True)
        }
    return torch.cat([found[name].reshape(len(x), -1).double() for name in names], dim=1).cpu()
