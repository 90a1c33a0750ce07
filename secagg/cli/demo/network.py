"""The demo's model: one hidden layer in NumPy, 64 - 32 - 10, trained by stochastic gradient descent.

Pure functions over a dict of named arrays, which is how weights come and go everywhere in this library.
It computes in the dtype of the weights: float32 in the demo, float64 where a test compares with finite
differences. Momentum starts at zero in each call: the optimiser's state is not part of what is averaged.

It is here so that the demo needs no framework. It is not a neural network library.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from secagg.cli.demo.digits import CLASSES, PIXELS

__all__ = ["LAYOUT", "MOMENTUM", "Weights", "accuracy", "gradient", "initial_weights", "loss", "train"]

Array: TypeAlias = npt.NDArray[np.floating[Any]]
Labels: TypeAlias = npt.NDArray[np.int64]
Weights: TypeAlias = dict[str, Array]

MOMENTUM: Final = 0.9
_HIDDEN: Final = 32
LAYOUT: Final[tuple[tuple[str, tuple[int, ...]], ...]] = (
    ("hidden.weight", (_HIDDEN, PIXELS)),
    ("hidden.bias", (_HIDDEN,)),
    ("output.weight", (CLASSES, _HIDDEN)),
    ("output.bias", (CLASSES,)),
)
"""Names and shapes, from the input upwards: 2 410 numbers in all."""


def initial_weights(seed: int) -> Weights:
    """He et al. 2015 (arXiv 1502.01852): normal with variance 2 / inputs; biases zero."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(0, np.sqrt(2 / shape[1]), shape).astype(np.float32)
        if len(shape) == 2
        else np.zeros(shape, dtype=np.float32)
        for name, shape in LAYOUT
    }


def loss(weights: Weights, x: Array, y: Labels) -> float:
    """The mean cross-entropy over `x`, shape (m, 64), in nats."""
    _, logits = _forward(weights, x)
    return float(-_log_softmax(logits)[np.arange(len(y)), y].mean())


def accuracy(weights: Weights, x: Array, y: Labels) -> float:
    """The share of `x`, shape (m, 64), whose largest logit is that of its label."""
    _, logits = _forward(weights, x)
    return float((logits.argmax(axis=1) == y).mean())


def gradient(weights: Weights, x: Array, y: Labels) -> Weights:
    """The gradient of the mean cross-entropy over `x`, shape (m, 64), by name."""
    return _loss_and_gradient(weights, x, y)[1]


def train(
    weights: Weights,
    x: Array,
    y: Labels,
    epochs: int,
    learning_rate: float,
    batch_size: int,
    rng: np.random.Generator,
    momentum: float = MOMENTUM,
) -> tuple[Weights, float]:
    """`epochs` passes of mini-batch SGD in the order `rng` draws.

    Returns new weights, the given ones untouched, and the mean loss of the last pass (zero without one).
    """
    weights = {name: array.copy() for name, array in weights.items()}
    velocity = {name: np.zeros_like(array) for name, array in weights.items()}
    mean = 0.0
    for _ in range(epochs):
        order = rng.permutation(len(y))
        total = 0.0
        for start in range(0, len(y), batch_size):
            batch = order[start : start + batch_size]
            batch_loss, slope = _loss_and_gradient(weights, x[batch], y[batch])
            for name, step in velocity.items():
                step *= momentum
                step -= learning_rate * slope[name]
                weights[name] += step
            total += batch_loss * len(batch)
        mean = total / len(y)
    return weights, mean


def _forward(weights: Weights, x: Array) -> tuple[Array, Array]:
    """The hidden layer after its ReLU, (m, 32), and the logits, (m, 10)."""
    hidden = np.maximum(x @ weights["hidden.weight"].T + weights["hidden.bias"], 0)
    return hidden, hidden @ weights["output.weight"].T + weights["output.bias"]


def _log_softmax(logits: Array) -> Array:
    shifted: Array = logits - logits.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


def _loss_and_gradient(weights: Weights, x: Array, y: Labels) -> tuple[float, Weights]:
    hidden, logits = _forward(weights, x)
    log_probabilities = _log_softmax(logits)
    rows = np.arange(len(y))
    at_logits = np.exp(log_probabilities)
    at_logits[rows, y] -= 1
    at_logits /= len(y)
    at_hidden = (at_logits @ weights["output.weight"]) * (hidden > 0)
    return float(-log_probabilities[rows, y].mean()), {
        "hidden.weight": at_hidden.T @ x,
        "hidden.bias": at_hidden.sum(axis=0),
        "output.weight": at_logits.T @ hidden,
        "output.bias": at_logits.sum(axis=0),
    }
