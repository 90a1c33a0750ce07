"""The cocktail party attack: a batch's inputs unmixed from one gradient, or from the mean of many.

Kariyappa, Guo, Maeng, Xiong, Suh, Qureshi, Lee 2023 (arXiv 2209.05578). The gradient of a fully
connected first layer is dW = A X: rows of A X are mixtures of the n inputs, as microphones at a party hear
mixtures of voices. Images are far from Gaussian and mixtures are less so: independent component analysis
finds the unmixing. It matters not whose the examples are: n clients with one example each are a batch of n.

Two differences from the paper, which descends on negentropy + total variation + a penalty on alike rows.
Here the analysis runs on the differences between neighbouring pixels, which the same unmixing undoes (mixing
is linear) and which are sparse where the image is smooth; symmetric FastICA (Hyvarinen 1999) keeps the rows
apart by itself. And the bias gradient db = A 1 gives what independent component analysis cannot, the sign and
the scale: the unmixing that gives s x for dW gives s for db (`_in_range` says where that is trusted).

Threat model: honest but curious; n may be known, or is read from the rank of dW. At most as many examples
as the layer has rows. What is found is an estimate that wears off as n grows, not exact as a trap's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import nn

from secagg_attacks.inversion.errors import InversionError
from secagg_attacks.inversion.gradients import Arrays
from secagg_attacks.inversion.reconstruction import OnStep
from secagg_attacks.inversion.through_sum.first_layer import Floats, first_layer

__all__ = ["Unmixed", "examples_in", "unmix"]


@dataclass(frozen=True, eq=False)
class Unmixed:
    """images: float64 (n, *shape), clipped to 0..1, in no order. steps: iterations done. settled: whether the
    unmixing had stopped to move.
    """

    images: Floats
    steps: int
    settled: bool


def unmix(
    model: nn.Module,
    update: Arrays,
    shape: tuple[int, int, int],
    seed: int,
    examples: int | None = None,
    steps: int = 500,
    on_step: OnStep | None = None,
) -> Unmixed:
    """The inputs behind a gradient, or behind a single local step's update, of any sign and scale.

    shape: (channels, height, width) of an image. seed: of the first unmixing. examples: how many; None: as
    many as `examples_in` counts. Raises InversionError `examples-invalid`, `image-shape`, `gradient-zero` of
    that layer, and what `first_layer` raises.
    """
    mixture = first_layer(model, update, shape)
    if len(shape) != 3 or int(np.prod(shape)) != mixture.weight.shape[1]:
        raise InversionError(
            "image-shape",
            f"images of shape {shape}, and the first layer sees {mixture.weight.shape[1]} numbers",
            "(channels, height, width) of what the layer sees, in the order of a flattened tensor",
        )
    if not mixture.weight.any():
        raise InversionError(
            "gradient-zero", "the first layer's gradient is 0 in every row", "examples that reach that layer"
        )
    n = examples_in(mixture.weight) if examples is None else examples
    if not 1 <= n <= min(mixture.weight.shape):
        raise InversionError(
            "examples-invalid",
            f"{n} examples in a layer's gradient of shape {mixture.weight.shape}",
            "one or more, and no more than the layer has rows or inputs",
        )
    left, scale, right = np.linalg.svd(mixture.weight, full_matrices=False)
    inside = (scale[:n] / scale[0])[:, None] * right[:n]
    heard = left[:, :n].T @ mixture.bias / scale[0]
    edges = _edges(inside.reshape(n, *shape))
    # Whitened, so that what is left to find is a rotation.
    whitening, spread, _ = np.linalg.svd(edges, full_matrices=False)
    whiten = (whitening / np.maximum(spread, spread[0] * 1e-12)).T * np.sqrt(edges.shape[1])
    rotation, done, settled = _fast_ica(whiten @ edges, seed, steps, on_step)
    unmixing = rotation @ whiten
    images = _in_range(unmixing @ inside, unmixing @ heard)
    return Unmixed(images.reshape(n, *shape), done, settled)


def examples_in(weight: Floats, silent: float = 1e-7) -> int:
    """How many independent inputs a layer's gradient (rows, features) is made of: its numerical rank.

    silent: singular values below this times the largest are rounding. An example without any gradient, or
    one that repeats another, is not counted.
    """
    scale = np.linalg.svd(weight, compute_uv=False)
    return int((scale > silent * scale.max(initial=0.0)).sum())


def _in_range(unmixed: Floats, loudness: Floats, beyond: float = 0.02) -> Floats:
    """Rows of pixels from 0 to 1, by their loudness, s of s x; clipped.

    What is left of other images in a row changes its loudness more than its looks. Where it takes the row out
    of the range (by more than `beyond`, root mean square), only its sign is used, and the middle 98 % of the
    row's values are stretched to fill the range.
    """
    scaled = unmixed / np.where(loudness == 0, 1.0, loudness)[:, None]
    clipped = np.clip(scaled, 0.0, 1.0)
    low, high = np.quantile(scaled, [0.01, 0.99], axis=1)
    stretched = (scaled - low[:, None]) / np.where(high > low, high - low, 1.0)[:, None]
    out = np.sqrt(((scaled - clipped) ** 2).mean(axis=1)) > beyond
    return np.where(out[:, None], np.clip(stretched, 0.0, 1.0), clipped)


def _edges(images: Floats) -> Floats:
    """Differences of neighbours, across and down: (n, *shape) -> (n, all of them)."""
    parts = [np.diff(images, axis=axis).reshape(len(images), -1) for axis in (-1, -2)]
    return np.concatenate(parts, axis=1)


def _fast_ica(
    white: Floats, seed: int, steps: int, on_step: OnStep | None, settles: float = 1e-9
) -> tuple[Floats, int, bool]:
    """Symmetric FastICA with the contrast log cosh (Hyvarinen 1999): a rotation (n, n)."""
    n, samples = white.shape
    rotation = _orthogonal(np.random.default_rng(seed).standard_normal((n, n)))
    for step in range(1, steps + 1):
        bent = np.tanh(rotation @ white)
        moved = bent @ white.T / samples - (1 - bent**2).mean(axis=1)[:, None] * rotation
        moved = _orthogonal(moved)
        change = float(np.abs(1 - np.abs((moved * rotation).sum(axis=1))).max())
        rotation = moved
        if on_step is not None:
            on_step(step, steps)
        if change < settles:
            return rotation, step, True
    return rotation, steps, False


def _orthogonal(matrix: Floats) -> Floats:
    """The nearest rotation: symmetric decorrelation."""
    left, _, right = np.linalg.svd(matrix)
    return np.asarray(left @ right)
