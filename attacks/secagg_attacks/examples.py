"""Examples as people give them, checked and made tensors: a target's data.

Tensors are taken, and whatever NumPy reads as an array of numbers: arrays, lists, frames of pandas. They are
brought to the CPU, and inputs to the model's own type.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from secagg.errors import SecaggError

__all__ = ["Data", "Examples", "TargetError", "check_alike", "checked"]

Examples: TypeAlias = tuple[Tensor, Tensor]
"""Inputs (n, ...), floating, and labels (n,), int64."""

Data: TypeAlias = tuple[Tensor | npt.NDArray[Any], Tensor | npt.NDArray[Any]]
"""The same as people give them: tensors or arrays, labels of any integer type."""


class TargetError(SecaggError):
    """A target that cannot be attacked as it is; the hint says what to change."""

    exit_code = 2


def checked(data: Data, name: str, domain: str, dtype: torch.dtype) -> Examples:
    """Inputs (n, ...) of that dtype, the model's, and labels (n,), both on the CPU. name: as they are called.

    domain: of "image", inputs are (n, channels, height, width) from 0 to 1. Raises TargetError `target-data`,
    `target-labels`, `target-nonmembers`.
    """
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
    x, y = _inputs(given, name, dtype), _labels(labels, name)
    if len(x) != len(y):
        raise TargetError(
            "target-labels",
            f"{name}: {len(y)} labels for {len(x)} inputs",
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
    return x, y


def _inputs(given: object, name: str, dtype: torch.dtype) -> Tensor:
    found = _tensor(given)
    if not isinstance(found, Tensor):
        raise TargetError(
            "target-data",
            f"{name}: inputs of the type {found} are no array of numbers",
            "torch tensors or NumPy arrays",
        )
    x = found.to(dtype)
    if x.ndim < 2 or not found.is_floating_point() or not bool(torch.isfinite(x).all()):
        raise TargetError(
            "target-data",
            f"{name}: inputs of shape {tuple(found.shape)} and type {found.dtype}, all finite or not",
            "finite floating numbers of shape (n, ...), within the model's own type; of bytes, x / 255",
        )
    return x


def _labels(given: object, name: str) -> Tensor:
    found = _tensor(given)
    if not isinstance(found, Tensor):
        raise TargetError(
            "target-labels",
            f"{name}: labels of the type {found} are no array of numbers",
            "one integer class for each input; of names, numpy.unique(names, return_inverse=True)[1]",
        )
    if found.is_floating_point() or found.dtype == torch.bool or found.ndim != 1:
        raise TargetError(
            "target-labels",
            f"{name}: labels of shape {tuple(found.shape)} and type {found.dtype}",
            "one integer class for each input: shape (n,)",
        )
    return found.to(torch.int64)


def _tensor(given: object) -> Tensor | str:
    """On the CPU and without a gradient; of what is no array of numbers, the name of its type.

    NumPy reads whatever says how it is an array, as the frames of pandas do.
    """
    if isinstance(given, Tensor):
        return given.detach().cpu()
    try:
        array = np.array(given, order="C")
    except (TypeError, ValueError, RuntimeError):
        return type(given).__name__
    try:
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
    except TypeError:
        return f"{type(given).__name__} (an array of {array.dtype})"


def check_alike(members: Examples, others: Examples) -> None:
    """Raises TargetError `target-data` where inputs differ in shape."""
    if members[0].shape[1:] != others[0].shape[1:]:
        raise TargetError(
            "target-data",
            f"an input of train_xy is {tuple(members[0].shape[1:])}, one of nonmember_xy "
            f"{tuple(others[0].shape[1:])}",
            "both must be what the model takes",
        )
