"""Which fully connected layer sees the input itself, and which gives the logits.

Found by running the model once on noise and looking at what each layer was given and gave, for the order in
which a module lists its layers need not be the order in which it calls them. It is run in eval mode, for in
train mode BatchNorm cannot normalise a single input. Of a model that is itself a linear layer, that layer's
name is "".
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn

from secagg_attacks.inversion.errors import InversionError
from secagg_attacks.inversion.gradients import Model, Shape
from secagg_attacks.model_calls import calling_the_model

__all__ = ["input_layer", "logit_layer", "parameters_of"]


def parameters_of(layer: str) -> tuple[str, str]:
    """The names of a layer's weight and bias; layer: its own, "" for the model itself."""
    return (f"{layer}.weight", f"{layer}.bias") if layer else ("weight", "bias")


def input_layer(model: Model, shape: Shape) -> str:
    """The name of the linear layer, with a bias, whose input is the flattened image itself.

    Raises InversionError `analytic-needs-linear`, TargetError `model-not-attackable`.
    """
    probe, calls, _ = _run(model, shape)
    flat = probe.flatten(1)
    for name, (given, _) in calls.items():
        biased = parameters_of(name)[1] in model.parameters
        if biased and given.ndim == 2 and torch.equal(given, flat):
            return name
    raise InversionError(
        "analytic-needs-linear",
        "no fully connected layer with a bias is given the input as it is",
        "inverting gradients makes do with any model",
    )


def logit_layer(model: Model, shape: Shape) -> str:
    """The name of the linear layer whose output is what the model gives.

    Raises InversionError `labels-need-linear`, TargetError `model-not-attackable`.
    """
    _, calls, out = _run(model, shape)
    for name, (_, gave) in calls.items():
        if gave.shape == out.shape and torch.equal(gave, out):
            return name
    raise InversionError(
        "labels-need-linear",
        "the model's logits do not come from a fully connected layer",
        "give the labels",
    )


def _run(model: Model, shape: Shape) -> tuple[Tensor, Mapping[str, tuple[Tensor, Tensor]], Tensor]:
    calls: dict[str, tuple[Tensor, Tensor]] = {}
    probed = deepcopy(model.module).eval()
    names = {module: name for name, module in probed.named_modules()}

    def keep(module: nn.Module, given: tuple[Tensor, ...], gave: Tensor) -> None:
        calls[names[module]] = (given[0].detach(), gave.detach())

    for module in names:
        if isinstance(module, nn.Linear):
            module.register_forward_hook(keep)
    dtype = next(iter(model.parameters.values())).dtype
    probe = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)
    with torch.no_grad(), calling_the_model():
        out = probed(probe)
    return probe, calls, out
