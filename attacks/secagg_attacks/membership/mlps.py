"""Dozens of small networks trained as one tensor program: a layer of all of them is one `torch.baddbmm`.

Attacks by shadow models need many models that differ in nothing but their training examples and first
weights. A small network leaves a processor idle between its small matrices; seventy of them side by
side do not. The networks know nothing of each other: no number of one enters another's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from secagg_attacks.membership.errors import MembershipError

__all__ = ["Mlps", "Recipe", "train_mlps"]


@dataclass(frozen=True)
class Recipe:
    """A multilayer perceptron and its training: Adam on the mean cross-entropy of all its examples at once,
    `epochs` steps, from normal weights of variance 2 / inputs (He et al. 2015) and biases of zero.

    hidden: the widths of its hidden layers; none make it softmax regression. weight_decay: this many times
    the weights are added to their gradient.
    """

    hidden: tuple[int, ...] = (128,)
    activation: Literal["relu", "tanh"] = "relu"
    epochs: int = 300
    learning_rate: float = 0.01
    weight_decay: float = 0.0


@dataclass(frozen=True, eq=False)
class Mlps:
    """Trained networks: for each layer, weights (models, in, out) and biases (models, 1, out), float32."""

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    activation: Literal["relu", "tanh"]

    def logits(self, x: npt.ArrayLike, at_once: int = 1024) -> npt.NDArray[np.float32]:
        """What every network gives for every input: (examples, features) -> (models, examples, classes).

        `at_once` inputs are in the works at a time.
        """
        inputs = torch.as_tensor(np.asarray(x, dtype=np.float32))
        models = len(self.weights[0])
        with torch.no_grad():
            parts = [
                _forward(part.expand(models, -1, -1), self.weights, self.biases, self.activation)
                for part in torch.split(inputs, at_once)
            ]
        return torch.cat(parts, dim=1).numpy()


def train_mlps(
    x: npt.NDArray[np.floating],
    y: npt.NDArray[np.integer],
    is_member: npt.NDArray[np.bool_],
    classes: int,
    seed: int,
    recipe: Recipe = Recipe(),
    on_step: Callable[[int, int], None] | None = None,
) -> Mlps:
    """One network for each row of is_member (models, examples), trained on the examples that it marks.

    x: (examples, features), y: (examples,) from 0 to classes - 1. on_step: called with epochs done and in
    all. The same seed, machine, number of threads and versions give the same networks.
    Raises MembershipError `model-without-examples`, `training-diverged`.
    """
    sizes = is_member.sum(axis=1)
    if not sizes.all():
        raise MembershipError(
            "model-without-examples",
            f"{int((sizes == 0).sum())} of {len(sizes)} models have no example to train on",
            "complementary_pairs gives each of them half",
        )
    inputs, labels, shares = _gathered(x, y, is_member)
    weights, biases = _initial((x.shape[1], *recipe.hidden, classes), len(is_member), seed)
    parameters = [*weights, *biases]
    optimizer = torch.optim.Adam(
        parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, foreach=True
    )
    for epoch in range(recipe.epochs):
        logits = _forward(inputs, weights, biases, recipe.activation)
        each = torch.nn.functional.cross_entropy(
            logits.reshape(-1, classes), labels.reshape(-1), reduction="none"
        )
        # The sum over models of their mean losses: a model's gradient is that of its own mean loss.
        loss = (each * shares.reshape(-1)).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if on_step is not None:
            on_step(epoch + 1, recipe.epochs)
    if not all(bool(torch.isfinite(parameter).all()) for parameter in parameters):
        raise MembershipError(
            "training-diverged",
            f"weights are no longer finite after {recipe.epochs} epochs",
            f"a learning rate below {recipe.learning_rate:g}",
        )
    return Mlps(tuple(w.detach() for w in weights), tuple(b.detach() for b in biases), recipe.activation)


def _gathered(
    x: npt.NDArray[np.floating], y: npt.NDArray[np.integer], is_member: npt.NDArray[np.bool_]
) -> tuple[Tensor, Tensor, Tensor]:
    """Each model's examples, filled up to the most that one has with examples of share 0."""
    sizes = is_member.sum(axis=1)
    longest = int(sizes.max())
    # Stable, so that a model's own examples come first, in their order.
    at = np.argsort(~is_member, axis=1, kind="stable")[:, :longest]
    own = np.arange(longest) < sizes[:, None]
    shares = np.where(own, 1 / sizes[:, None], 0.0).astype(np.float32)
    return (
        torch.from_numpy(np.asarray(x, dtype=np.float32)[at]),
        torch.from_numpy(np.asarray(y, dtype=np.int64)[at]),
        torch.from_numpy(shares),
    )


def _initial(sizes: tuple[int, ...], models: int, seed: int) -> tuple[list[Tensor], list[Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    weights = [
        torch.randn(models, inputs, outputs, generator=generator).mul_((2 / inputs) ** 0.5).requires_grad_()
        for inputs, outputs in pairwise(sizes)
    ]
    return weights, [torch.zeros(models, 1, outputs, requires_grad=True) for outputs in sizes[1:]]


def _forward(
    inputs: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], activation: Literal["relu", "tanh"]
) -> Tensor:
    """(models, examples, features) -> (models, examples, classes)."""
    curve = torch.relu if activation == "relu" else torch.tanh
    signal = inputs
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        if layer:
            signal = curve(signal)
        signal = torch.baddbmm(bias, signal, weight)
    return signal
