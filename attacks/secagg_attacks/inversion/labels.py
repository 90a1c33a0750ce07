"""The labels of a batch, from the gradient of the layer that gives the logits.

With a mean cross-entropy over n examples, the gradient of that layer's bias is, for class i,

    ∇bᵢ = p̄ᵢ - cᵢ / n

with p̄ᵢ the batch's mean softmax probability and cᵢ how many of its labels are i. For one example, the only
negative entry is its label (Zhao et al. 2020, iDLG, section 3). A negative entry is certain: the class is
in the batch. Counts need p̄, which only the batch itself would tell; like LLG+ (Wainakh et al. 2022,
section 4) it is estimated here by images the attacker has or makes, and that estimate is good for models at
the start of training and gets worse as they learn. Without a bias, n different labels are taken to be the
rows of the weights' gradient with the smallest entries (Yin et al. 2021, section 3.2), which needs features
that are never negative (ReLU, sigmoid) and finds no label twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.func import functional_call

from secagg_attacks.inversion.errors import InversionError
from secagg_attacks.inversion.gradients import (
    Arrays,
    Loss,
    Model,
    Shape,
    checked_shape,
    matched_gradient,
    model_of,
)
from secagg_attacks.inversion.layers import logit_layer, parameters_of
from secagg_attacks.model_calls import calling_the_model

__all__ = ["LabelEstimate", "count_labels", "distinct_labels", "recover_labels", "single_label"]

Floats: TypeAlias = npt.NDArray[np.float64]

_DUMMIES: Final = 256


@dataclass(frozen=True, eq=False)
class LabelEstimate:
    """labels: int64 (n,), ascending; counts: int64 (classes,), how many of each.

    certain: bool (classes,), the classes whose presence follows from a sign and not from an estimate.
    method: "bias" by ∇b and estimated probabilities, "sign" for a single example, "rows" by ∇W, "distinct".
    """

    labels: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    certain: npt.NDArray[np.bool_]
    method: Literal["sign", "bias", "rows", "distinct"]


def recover_labels(
    module: nn.Module,
    gradient: Arrays,
    shape: Shape,
    *,
    seed: int,
    loss: Loss = nn.functional.cross_entropy,
    auxiliary: Tensor | None = None,
    update: Arrays | None = None,
) -> LabelEstimate:
    """The labels behind the mean gradient of a batch of shape (n, ...).

    auxiliary: images like the client's, for p̄; without, uniform noise from `seed`. update: what training
    moved the weights by, if `gradient` is the mean over several steps; p̄ is then the mean of before and
    after. Raises InversionError `labels-need-linear`, `labels-ambiguous`, and as matched_gradient does.
    """
    model = model_of(module, loss)
    n = checked_shape(shape)[0]
    seen = matched_gradient(model, gradient)
    layer = logit_layer(model, shape)
    weight, bias = (seen.get(name) for name in parameters_of(layer))
    if bias is not None:
        entries = bias.double().numpy()
        negative = entries < 0
        if n == 1:
            label = np.array([int(np.argmin(entries))])
            return _estimate(label, len(entries), negative, "sign")
        mean = _probabilities(model, shape, seed, auxiliary, update)
        counts = count_labels(entries, mean, n)
        return _estimate(np.repeat(np.arange(len(counts)), counts), len(counts), negative, "bias")
    if weight is None:
        raise InversionError(
            "labels-ambiguous",
            f"the gradient lacks {' and '.join(parameters_of(layer))}, of the layer that gives the logits",
            "give the labels",
        )
    rows = weight.double().numpy()
    nothing = np.zeros(len(rows), dtype=np.bool_)
    if n == 1:
        return _estimate(np.array([single_label(rows)]), len(rows), nothing, "rows")
    return _estimate(distinct_labels(rows, n), len(rows), nothing, "distinct")


def single_label(rows: npt.ArrayLike) -> int:
    """The label of one example, from ∇W (classes, features) of the last layer: iDLG, without a bias.

    ∇W is p - onehot(y) times the features: the label's row points against every other row, whatever the
    features' signs. Raises InversionError `labels-ambiguous` where two classes, or several examples, leave
    no row, or more than one, that does.
    """
    gradient = np.asarray(rows, dtype=np.float64)
    products = gradient @ gradient.T
    np.fill_diagonal(products, 0)
    against = np.flatnonzero((products <= 0).all(axis=1) & (np.abs(gradient).sum(axis=1) > 0))
    if len(against) != 1:
        raise InversionError(
            "labels-ambiguous",
            f"{len(against)} rows of {len(gradient)} point against all others, and one should",
            "a single example and three classes or more; else give the labels",
        )
    return int(against[0])


def distinct_labels(rows: npt.ArrayLike, n: int) -> npt.NDArray[np.int64]:
    """n different labels, ascending, from ∇W (classes, features): Yin et al. 2021, equation 6.

    Raises InversionError `labels-ambiguous` for more examples than classes.
    """
    gradient = np.asarray(rows, dtype=np.float64)
    if n > len(gradient):
        raise InversionError(
            "labels-ambiguous",
            f"{n} examples of {len(gradient)} classes cannot all differ, and the last layer has no bias",
            "give the labels",
        )
    return np.sort(np.argsort(gradient.min(axis=1), kind="stable")[:n]).astype(np.int64)


def count_labels(bias_gradient: npt.ArrayLike, probabilities: npt.ArrayLike, n: int) -> npt.NDArray[np.int64]:
    """How many of n labels are of each class: n (p̄ᵢ - ∇bᵢ), made whole numbers that add up to n.

    Both (classes,). A class with a negative gradient gets one first, the most negative first if there are
    more of them than n; the rest goes, one at a time, to the class that lacks most. Exact for exact p̄.
    """
    gradient = np.asarray(bias_gradient, dtype=np.float64)
    expected = n * (np.asarray(probabilities, dtype=np.float64) - gradient)
    counts = np.zeros(len(gradient), dtype=np.int64)
    present = np.flatnonzero(gradient < 0)
    counts[present[np.argsort(gradient[present], kind="stable")][:n]] = 1
    for _ in range(n - int(counts.sum())):
        counts[np.argmax(expected - counts)] += 1
    return counts


def _estimate(
    labels: npt.NDArray[np.integer],
    classes: int,
    certain: npt.NDArray[np.bool_],
    method: Literal["sign", "bias", "rows", "distinct"],
) -> LabelEstimate:
    return LabelEstimate(
        labels.astype(np.int64), np.bincount(labels, minlength=classes).astype(np.int64), certain, method
    )


def _probabilities(
    model: Model, shape: Shape, seed: int, auxiliary: Tensor | None, update: Arrays | None
) -> Floats:
    """p̄ of the images the attacker has, before training and, if an update is known, also after it."""
    first = next(iter(model.parameters.values()))
    if auxiliary is None:
        generator = torch.Generator().manual_seed(seed)
        auxiliary = torch.rand((_DUMMIES, *shape[1:]), generator=generator, dtype=torch.float64)
    states = [model.parameters]
    if update is not None:
        moved = matched_gradient(model, update)
        states.append(
            {
                name: value + moved.get(name, torch.zeros_like(value))
                for name, value in model.parameters.items()
            }
        )
    with torch.no_grad(), calling_the_model():
        means = [
            torch.softmax(
                functional_call(model.module, state, (auxiliary.to(first.dtype),)).double(), 1
            ).mean(0)
            for state in states
        ]
    return np.asarray(torch.stack(means).mean(0).numpy(), dtype=np.float64)
