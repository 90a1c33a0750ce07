"""What is attacked: a model, the data it is trained on, and data like it that it never sees.

People name their own: any torch module that gives logits, any arrays. A target says nothing of how an attack
goes about it. What an attack cannot do without is asked for here, before anything has been trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from secagg_attacks.examples import Data, Examples, TargetError, check_alike, checked

__all__ = ["Buffers", "Data", "Domain", "Examples", "Fit", "Loss", "Target", "TargetError"]

Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(logits, labels) -> the mean loss of a batch, a scalar."""

Fit: TypeAlias = Callable[[Tensor, Tensor, int], nn.Module]
"""(x, y, seed) -> a newly trained model of the same kind."""

Domain: TypeAlias = Literal["image", "tabular"]
Buffers: TypeAlias = Literal["none", "known", "unknown"]

_PROBED: Final = 64
_ROUNDING: Final = 1e-4
_PRECISIONS: Final = (torch.float32, torch.float64)


@dataclass(frozen=True, eq=False, repr=False)
class Target:
    """A model and its data.

    model: a torch module of float32 or float64, logits out, (n, classes); attacks work on copies of it, on
    the CPU: of one that is elsewhere, a copy is kept there. train_xy, nonmember_xy: what it was, or will be,
    trained on, and examples of the same kind it never saw; kept as tensors of the model's dtype, on the CPU.
    loss: mean over a batch. fit: trains such a model anew. Clients train with it where membership is asked,
    and so do the shadow models; all of them are handed the same seed, so that they begin from the same first
    weights and their mean is a model. Without it, and under DP-SGD, clients train by plain SGD at
    `learning_rate`, from the model as given. domain: what an input is; of "image", (n, channels, height,
    width) from 0 to 1. buffers: BatchNorm's running statistics, of models that have any: "known" if updates
    carry them, "unknown" if they stay with the clients. name: in reports. classes: how many the model tells
    apart.

    Raises TargetError `target-data`, `target-labels`, `target-nonmembers`, `target-precision`,
    `target-logits`, `target-probabilities`, `target-loss`, `target-buffers`, `target-learning-rate`.
    """

    model: nn.Module
    train_xy: Data
    nonmember_xy: Data
    loss: Loss = nn.functional.cross_entropy
    fit: Fit | None = None
    domain: Domain = "image"
    buffers: Buffers = "none"
    name: str = "target"
    learning_rate: float = 0.5
    classes: int = field(init=False)

    def __post_init__(self) -> None:
        _check_rate(self.learning_rate)
        dtype = _precision_of(self.model)
        model = _on_the_cpu(self.model)
        members = checked(self.train_xy, "train_xy", self.domain, dtype)
        others = checked(self.nonmember_xy, "nonmember_xy", self.domain, dtype)
        check_alike(members, others)
        logits = _logits_of(model, members[0][:_PROBED])
        _check_labels(logits.shape[1], members, others)
        _check_loss(self.loss, logits, members[1][:_PROBED])
        if self.buffers == "none" and _has_running_statistics(model):
            raise TargetError(
                "target-buffers",
                "the model has BatchNorm, and nothing says whether an attack knows its running statistics",
                'buffers = "known" if updates carry them (as secagg.torch.arrays does), else "unknown"',
            )
        object.__setattr__(self, "model", model)
        object.__setattr__(self, "train_xy", members)
        object.__setattr__(self, "nonmember_xy", others)
        object.__setattr__(self, "classes", logits.shape[1])

    @property
    def members(self) -> Examples:
        """Inputs and labels of the training data."""
        return self.train_xy  # type: ignore[return-value] # made tensors of when it was checked

    @property
    def nonmembers(self) -> Examples:
        """Inputs and labels that the model is not trained on."""
        return self.nonmember_xy  # type: ignore[return-value]

    def fresh(self) -> nn.Module:
        """A copy of the model, in the state it was given in."""
        return deepcopy(self.model)

    def __repr__(self) -> str:
        return f"Target({self.name!r}, {self.domain}, {len(self.members[0])} members)"


def _check_rate(rate: float) -> None:
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
        raise TargetError(
            "target-learning-rate",
            f"a learning rate of {rate!r}",
            "a finite number above 0; 0.5 suits small networks of plain layers, 0.01 many larger ones",
        )


def _precision_of(model: nn.Module) -> torch.dtype:
    """That of the model's first parameter; all of it must be of a type that updates have."""
    found = [each.dtype for each in (*model.parameters(), *model.buffers()) if each.is_floating_point()]
    for dtype in found:
        if dtype not in _PRECISIONS:
            raise TargetError(
                "target-precision",
                f"the model holds {dtype}, and updates are of float32 or float64",
                "model.float() or model.double(); the data are brought to the same type",
            )
    return found[0] if found else torch.get_default_dtype()


def _on_the_cpu(model: nn.Module) -> nn.Module:
    """The model itself, or a copy of one that is elsewhere."""
    if all(each.device.type == "cpu" for each in (*model.parameters(), *model.buffers())):
        return model
    return deepcopy(model).cpu()


def _has_running_statistics(model: nn.Module) -> bool:
    return any(isinstance(part, _BatchNorm) and part.track_running_stats for part in model.modules())


def _logits_of(model: nn.Module, x: Tensor) -> Tensor:
    """What the model gives for some inputs, if those can be logits."""
    probe = deepcopy(model).eval()
    try:
        with torch.no_grad():
            out = probe(x)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise TargetError(
            "target-data",
            f"the model does not take inputs of shape {tuple(x.shape)}: {error}",
            "train_xy and nonmember_xy hold what the model's forward takes",
        ) from error
    if not isinstance(out, Tensor) or out.ndim != 2 or len(out) != len(x) or out.shape[1] < 2:
        given = f"shape {tuple(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
        raise TargetError(
            "target-logits",
            f"for {len(x)} inputs the model gives {given}",
            "one logit for each class: (n, classes), two classes at least",
        )
    if not bool(torch.isfinite(out).all()):
        raise TargetError(
            "target-logits",
            f"for {len(x)} inputs the model gives logits that are not finite",
            "a model whose training did not diverge, and inputs scaled as in its training",
        )
    if bool((out >= 0).all()) and bool(((out.sum(dim=1) - 1).abs() < _ROUNDING).all()):
        raise TargetError(
            "target-probabilities",
            "the model gives probabilities: each row is positive and adds up to one",
            "leave the softmax out, and let the loss have the logits; attacks compute from them",
        )
    return out


def _check_labels(classes: int, *parts: Examples) -> None:
    for _, y in parts:
        if int(y.min()) < 0 or int(y.max()) >= classes:
            raise TargetError(
                "target-labels",
                f"labels from {int(y.min())} to {int(y.max())}, and the model has {classes} classes",
                "classes count from 0",
            )


def _check_loss(loss: Loss, logits: Tensor, y: Tensor) -> None:
    try:
        value = loss(logits, y)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise TargetError(
            "target-loss", f"the loss does not take logits and labels: {error}", "loss(logits, labels)"
        ) from error
    if not isinstance(value, Tensor) or value.ndim != 0 or not bool(torch.isfinite(value)):
        shown = (
            f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        )
        raise TargetError(
            "target-loss", f"the loss gives {shown}", "the mean over the batch, a finite scalar"
        )
