"""First-order search for images: Adam on the sign of the gradient, kept inside the range of pixels.

The optimiser of "Inverting gradients" (Geiping et al. 2020, section 5 and appendix A): the sign makes every
pixel move at the same rate however small its gradient, which is what carries it through networks with ReLU;
after each step pixels are projected back into their box; the rate falls to a tenth at 3/8, 5/8 and 7/8.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from secagg_attacks.inversion.errors import InversionError
from secagg_attacks.inversion.gradients import Shape
from secagg_attacks.inversion.reconstruction import Attempt, Deadline, Ended, OnStep
from secagg_attacks.model_calls import calling_the_model

__all__ = ["PUBLISHED", "Descent", "Distance", "cosine_distance", "descend", "total_variation"]

Distance: TypeAlias = Callable[[Tensor], Tensor]
"""Images -> a scalar that can be differentiated."""

_MILESTONES: Final = (3 / 8, 5 / 8, 7 / 8)
_TINY: Final = 1e-30


@dataclass(frozen=True)
class Descent:
    """steps of Adam at `learning_rate`; total_variation: the weight of the images' mean total variation (1e-2
    suits 32x32); box: the least and the largest value of a pixel, where images begin, uniformly, and stay."""

    steps: int = 1500
    learning_rate: float = 0.1
    total_variation: float = 1e-2
    box: tuple[float, float] = (0.0, 1.0)


PUBLISHED: Final = Descent()
"""The settings of the paper, for images of 32x32."""


def descend(
    distance: Distance,
    shape: Shape,
    dtype: torch.dtype,
    recipe: Descent,
    seed: int,
    deadline: Deadline,
    progress: OnStep,
) -> Attempt:
    """The images with the least distance + weight * total variation that were met; matching_loss is their
    distance alone. Raises InversionError `shape-not-images`, if total variation is asked for of other
    inputs, and TargetError `model-not-attackable`."""
    if recipe.total_variation and (len(shape) != 4 or min(shape[2:]) < 2):
        raise InversionError(
            "shape-not-images",
            f"inputs of shape {tuple(shape)} have no total variation",
            "(n, channels, height, width), two pixels or more each way; else Descent(total_variation=0)",
        )
    low, high = recipe.box
    generator = torch.Generator().manual_seed(seed)
    images = low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)
    images = images.to(dtype).requires_grad_()
    optimizer = torch.optim.Adam([images], lr=recipe.learning_rate, fused=True)
    falls = {math.floor(share * recipe.steps) for share in _MILESTONES}
    best, least, its_distance = images.detach().clone(), math.inf, math.inf
    done = 0
    ended: Ended = "steps"
    while done < recipe.steps:
        apart = distance(images)
        smooth = total_variation(images) if recipe.total_variation else torch.zeros_like(apart)
        objective = apart + recipe.total_variation * smooth
        with calling_the_model():
            (slope,) = torch.autograd.grad(objective, images)
        value = float(objective.detach())
        if value < least:
            best, least, its_distance = images.detach().clone(), value, float(apart.detach())
        if not math.isfinite(value) or not bool(torch.isfinite(slope).all()):
            ended = "diverged"
            break
        images.grad = slope.sign()
        optimizer.step()
        with torch.no_grad():
            images.clamp_(low, high)
        done += 1
        progress(done, recipe.steps)
        if done in falls:
            optimizer.param_groups[0]["lr"] *= 0.1
        if done < recipe.steps and deadline.passed:
            ended = "seconds"
            break
    return Attempt(best, its_distance, done, ended)


def total_variation(images: Tensor) -> Tensor:
    """Mean absolute difference of vertical neighbours plus that of horizontal ones: (n, c, h, w) -> a
    scalar."""
    down = (images[..., 1:, :] - images[..., :-1, :]).abs().mean()
    across = (images[..., :, 1:] - images[..., :, :-1]).abs().mean()
    return down + across


def cosine_distance(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> Tensor:
    """1 - cos of the angle between two vectors, each given in parts; over the names of `other`.

    It has one derivative, by `one`.
    """
    names = tuple(other)
    found: Tensor = _CosineDistance.apply(
        tuple(other[name] for name in names), *(one[name] for name in names)
    )  # type: ignore[no-untyped-call]
    return found


class _CosineDistance(torch.autograd.Function):
    """Written out, for the gradients of a large layer are passed over many times otherwise."""

    @staticmethod
    def forward(ctx: Any, other: tuple[Tensor, ...], *one: Tensor) -> Tensor:
        product = _dot(one, other)
        square = _dot(one, one).clamp_min(_TINY)
        lengths = square.sqrt() * _dot(other, other).clamp_min(_TINY).sqrt()
        ctx.other = other
        ctx.save_for_backward(product, square, lengths, *one)
        return 1 - product / lengths

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        product, square, lengths, *one = ctx.saved_tensors
        along, back = float(-slope / lengths), float(slope * product / (lengths * square))
        return None, *(
            torch.mul(own, back).add_(part, alpha=along) for own, part in zip(one, ctx.other, strict=True)
        )


def _dot(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    parts = [torch.dot(a.reshape(-1), b.reshape(-1)) for a, b in zip(one, other, strict=True)]
    return torch.stack(parts).sum()
