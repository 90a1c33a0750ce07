"""Deep leakage from gradients: the images whose gradient is nearest, by second-order search.

Minimises Σ‖∇ - ∇*‖² over the images with L-BFGS (Zhu et al. 2019, DLG); the labels are not searched for but
recovered from the sign of the last layer's gradient (Zhao et al. 2020, iDLG).

What goes wrong without saying so: with ReLU, whose second derivative is zero, L-BFGS stalls near 10 dB (use
sigmoid or tanh, or inverting gradients); without a line search it diverges, so the strong Wolfe one is not an
option here but the rule; in float32 the matching loss bottoms out early, so everything is float64; a start of
standard normal noise saturates the units, so images begin uniform within their range; and a model that has
converged has hardly a gradient to invert, so the training stage belongs beside every figure.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, TypeAlias

import numpy.typing as npt
import torch
from torch import Tensor, nn

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
from secagg_attacks.inversion.reconstruction import (
    Attempt,
    Deadline,
    Ended,
    OnStep,
    Reconstruction,
    best_of,
)
from secagg_attacks.model_calls import calling_the_model

__all__ = ["deep_leakage"]

Distance: TypeAlias = Callable[[Tensor], Tensor]
"""Images -> a scalar that can be differentiated."""

_HISTORY: Final = 100
_AT_ONCE: Final = 10
_EVALUATIONS: Final = 25
"""The most that a line search may take for one iteration."""
_STALLED: Final = 1e-9
"""A relative gain over `_AT_ONCE` iterations below which there is none."""
_EXACT: Final = 1e-24
"""A matching loss, as a share of the gradient's own square, that float64 cannot tell from 0."""


def deep_leakage(
    module: nn.Module,
    gradient: Arrays,
    shape: Shape,
    labels: npt.ArrayLike | None = None,
    *,
    seed: int,
    restarts: int = 8,
    steps: int = 800,
    loss: Loss = nn.functional.cross_entropy,
    seconds: float | None = None,
    on_step: OnStep | None = None,
) -> Reconstruction:
    """Inputs of shape (n, ...) that reproduce a gradient of their mean loss, searched for in float64 from
    `restarts` starts, one after the other; the smallest matching loss, Σ‖∇ - ∇*‖², is taken.

    labels: of the batch, in the order of the images; None to recover them. steps: L-BFGS iterations a
    restart. seconds: for all of it; checked every ten iterations. Raises InversionError: what best_of,
    matched_gradient and recover_labels raise; TargetError `model-not-attackable`.
    """
    model = model_of(module, loss, torch.float64)
    n = checked_shape(shape)[0]
    seen = matched_gradient(model, gradient)
    if labels is None:
        found = recover_labels(module, gradient, shape, seed=seed, loss=loss).labels
    y = checked_labels(found if labels is None else labels, n)
    exact = _EXACT * sum(float((part**2).sum()) for part in seen.values())

    def distance(images: Tensor) -> Tensor:
        guess = model.gradient(images, y, differentiable=True)
        return torch.stack([((guess[name] - seen[name]) ** 2).sum() for name in seen]).sum()

    def search(its_seed: int, deadline: Deadline, progress: OnStep) -> Attempt:
        generator = torch.Generator().manual_seed(its_seed)
        start = torch.rand(shape, generator=generator, dtype=torch.float64)
        return _lbfgs(distance, start, steps, exact, deadline, progress)

    return best_of(
        search,
        y,
        labels is None,
        seed=seed,
        restarts=restarts,
        steps=steps,
        seconds=seconds,
        on_step=on_step,
    )


def _lbfgs(
    distance: Distance, start: Tensor, steps: int, exact: float, deadline: Deadline, progress: OnStep
) -> Attempt:
    images = start.clone().requires_grad_()
    # No tolerances: whether it has converged is judged below, on the scale of the loss itself.
    optimizer = torch.optim.LBFGS(
        [images],
        max_iter=_AT_ONCE,
        max_eval=_AT_ONCE * _EVALUATIONS,
        history_size=_HISTORY,
        tolerance_grad=0,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        value = distance(images)
        with calling_the_model():
            (images.grad,) = torch.autograd.grad(value, images)
        return value.detach()

    best, least = start, math.inf
    done = 0
    ended: Ended = "steps"
    while done < steps:
        now = min(_AT_ONCE, steps - done)
        optimizer.param_groups[0]["max_iter"] = now
        optimizer.step(closure)  # type: ignore[no-untyped-call]
        done += now
        progress(done, steps)
        value = float(distance(images).detach())
        if not math.isfinite(value):
            ended = "diverged"
            break
        before = least
        if value < least:
            best, least = images.detach().clone(), value
        if value <= exact or least > before * (1 - _STALLED):
            ended = "converged"
            break
        if done < steps and deadline.passed:
            ended = "seconds"
            break
    return Attempt(best, least, done, ended)
