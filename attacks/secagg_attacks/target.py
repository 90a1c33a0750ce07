"""What is attacked: a model, the data it is trained on, and data like it that it never sees.

People name their own: any torch module that gives logits, any arrays. A target says nothing of how an attack
goes about it. What an attack cannot do without is asked for here, before anything has been trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from secagg.errors import SecaggError

__all__ = ["Buffers", "Data", "Domain", "Examples", "Fit", "Loss", "Target", "TargetError"]

Examples: TypeAlias = tuple[Tensor, Tensor]
"""Inputs (n, ...), floating, and labels (n,), int64."""

Data: TypeAlias = tuple[Tensor | npt.NDArray[Any], Tensor | npt.NDArray[Any]]
"""The same as people give them: tensors or arrays, labels of any integer type."""

Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(logits, labels) -> the mean loss of a batch, a scalar."""

Fit: TypeAlias = Callable[[Tensor, Tensor, int], nn.Module]
"""(x, y, seed) -> a newly trained model of the same kind."""

Domain: TypeAlias = Literal["image", "tabular"]
Buffers: TypeAlias = Literal["none", "known", "unknown"]

_PROBED: Final = 64
_ROUNDING: Final = 1e-4


class TargetError(SecaggError):
    """A target that cannot be attacked as it is; the hint says what to change."""

    exit_code = 2


@dataclass(frozen=True, eq=False, repr=False)
class Target:
    """A model and its data.

    model: a torch module, logits out, (n, classes); attacks work on copies of it. train_xy, nonmember_xy:
    what it was, or will be, trained on, and examples of the same kind it never saw; kept as tensors of the
    model's dtype, on its device. loss: mean over a batch. fit: trains such a model anew. Clients train with
    it where membership is asked, and so do the shadow models; all of them are handed the same seed, so that
    they begin from the same first weights and their mean is a model. Without it, and under DP-SGD, clients
    train by plain SGD at `learning_rate`, from the model as given. domain: what
    an input is; of "image", (n, channels, height, width) from 0 to 1. buffers: BatchNorm's running
    statistics, of models that have any: "known" if updates carry them, "unknown" if they stay with the
    clients. name: in reports. classes: how many the model tells apart.

    Raises TargetError `target-data`, `target-labels`, `target-nonmembers`, `target-logits`,
    `target-probabilities`, `target-loss`, `target-buffers`, `target-learning-rate`.
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
        like = next((p for p in self.model.parameters() if p.is_floating_point()), torch.zeros(()))
        _check_rate(self.learning_rate)
        members = _checked(self.train_xy, "train_xy", self.domain, like)
        others = _checked(self.nonmember_xy, "nonmember_xy", self.domain, like)
        _check_alike(members, others)
        logits = _logits_of(self.model, members[0][:_PROBED])
        _check_labels(logits.shape[1], members, others)
        _check_loss(self.loss, logits, members[1][:_PROBED])
        if self.buffers == "none" and _has_running_statistics(self.model):
            raise TargetError(
                "target-buffers",
                "the model has BatchNorm, and nothing says whether an attack knows its running statistics",
                'buffers = "known" if updates carry them (as secagg.torch.arrays does), else "unknown"',
            )
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


def _checked(data: Data, name: str, domain: str, like: Tensor) -> Examples:
    """Inputs of the model's dtype and device, and labels."""
    try:
        given, labels = data
    except (TypeError, ValueError) as error:
        raise TargetError(
            "target-labels",
            f"{name} is no pair of inputs and labels",
            f"{name} = (x, y), y the class of each x",
        ) from error
    if labels is None:
        raise TargetError("target-labels", f"{name} has no labels", "y: one integer class for each input")
    try:
        x, y = torch.as_tensor(given), torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TargetError(
            "target-data", f"{name} is not made of arrays of numbers", "torch tensors or NumPy arrays"
        ) from error
    if x.ndim < 2 or not x.is_floating_point() or not bool(torch.isfinite(x).all()):
        raise TargetError(
            "target-data",
            f"{name}: inputs of shape {tuple(x.shape)} and type {x.dtype}, all finite or not",
            "finite floating numbers of shape (n, ...); of bytes, x / 255",
        )
    if y.is_floating_point() or y.dtype == torch.bool or y.ndim != 1 or len(x) != len(y):
        raise TargetError(
            "target-labels",
            f"{name}: labels of shape {tuple(y.shape)} and type {y.dtype} for {len(x)} inputs",
            "one integer class for each input",
        )
    if not len(x):
        raise TargetError(
            "target-data" if name == "train_xy" else "target-nonmembers",
            f"{name} is empty",
            "membership is told apart between members and non-members; hold some data back from training",
        )
    if domain == "image" and (x.ndim != 4 or float(x.min()) < 0 or float(x.max()) > 1):
        raise TargetError(
            "target-data",
            f"{name}: inputs of shape {tuple(x.shape)} from {float(x.min()):g} to {float(x.max()):g}, "
            "and an image is (channels, height, width) with values from 0 to 1",
            'scale and reshape them, or say domain = "tabular"',
        )
    return x.to(like), y.to(like.device, torch.int64)


def _check_alike(members: Examples, others: Examples) -> None:
    if members[0].shape[1:] != others[0].shape[1:]:
        raise TargetError(
            "target-data",
            f"an input of train_xy is {tuple(members[0].shape[1:])}, one of nonmember_xy "
            f"{tuple(others[0].shape[1:])}",
            "both must be what the model takes",
        )


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
