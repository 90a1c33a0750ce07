"""The demo's data: scikit-learn's handwritten digits, shared out so that no client is like another.

The split is the label skew of Li et al. 2022 (arXiv 2102.02079): of each class, the clients get shares
drawn from a symmetric Dirichlet distribution. A small `alpha` leaves a client with much of a few digits
and next to nothing of the others, which is what makes training alone fail here.

Nothing is downloaded: the 1 797 images come inside scikit-learn, which is imported only when they are asked
for. This is not a data loader for users; theirs is whatever their train function does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from secagg.errors import MissingExtraError, RunError

__all__ = [
    "CLASSES",
    "MINIMUM",
    "PIXELS",
    "SHADES",
    "SIDE",
    "Digits",
    "Examples",
    "clients",
    "digits",
    "split",
]

SIDE: Final = 8
PIXELS: Final = SIDE * SIDE
CLASSES: Final = 10
SHADES: Final = 16
"""A pixel of the data is a multiple of 1 / SHADES, from 0 (paper) to 1 (ink)."""

MINIMUM: Final = 20
"""The fewest examples a client has; an update from less would be mostly noise."""

_TEST_EVERY: Final = 4  # one image in four of each class is held out

Indices: TypeAlias = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Examples:
    """Images, float32 in [0, 1] of shape (m, 64), and their labels, int64 of shape (m,).

    The repr shows nothing: how many examples a client has is its own business.
    """

    images: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return "Examples()"

    def take(self, indices: Indices) -> Examples:
        return Examples(self.images[indices], self.labels[indices])


@dataclass(frozen=True, eq=False)
class Digits:
    """What may be learned from, and the common test set that nobody trains on."""

    train: Examples
    test: Examples


@cache
def digits() -> Digits:
    """All 1 797 digits. Every fourth image of each class is for testing: stratified, the same on any machine.

    Raises `MissingExtraError` where scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as missing:
        raise MissingExtraError("scikit-learn", "demo") from missing
    images, labels = load_digits(return_X_y=True)
    every = Examples((images / SHADES).astype(np.float32), labels.astype(np.int64))
    every.images.flags.writeable = every.labels.flags.writeable = False
    held_out = np.zeros(len(every), dtype=bool)
    for digit in range(CLASSES):
        held_out[np.flatnonzero(every.labels == digit)[::_TEST_EVERY]] = True
    return Digits(every.take(np.flatnonzero(~held_out)), every.take(np.flatnonzero(held_out)))


def split(
    labels: npt.NDArray[np.int64],
    count: int,
    alpha: float,
    rng: np.random.Generator,
    minimum: int = MINIMUM,
) -> tuple[Indices, ...]:
    """Share the examples out: each index to exactly one of `count` clients, `minimum` or more to each.

    A client left short by the draw is given examples, at random, of whoever then has the most.
    Raises RunError `split-impossible` (too few examples for that) or `split-alpha` (not above 0).
    """
    if count < 1 or minimum < 0 or count * minimum > len(labels):
        raise RunError(
            "split-impossible",
            f"{count} clients with at least {minimum} examples each do not fit {len(labels)} examples",
            "fewer clients, or a smaller minimum",
        )
    if not 0 < alpha < math.inf:
        raise RunError(
            "split-alpha",
            f"alpha must be a number above 0 and is {alpha}",
            "0.1 is a strong skew, 100 is hardly any",
        )
    owner = np.empty(len(labels), dtype=np.intp)
    for label in np.unique(labels):
        mine = rng.permutation(np.flatnonzero(labels == label))
        ends = np.cumsum(rng.dirichlet(np.full(count, alpha)))[:-1] * len(mine)
        for client, indices in enumerate(np.split(mine, np.rint(ends).astype(np.intp))):
            owner[indices] = client
    while (sizes := np.bincount(owner, minlength=count)).min() < minimum:
        poorest, richest = sizes.argmin(), sizes.argmax()
        owner[rng.choice(np.flatnonzero(owner == richest))] = poorest
    return tuple(np.flatnonzero(owner == client) for client in range(count))


def clients(names: Sequence[str], alpha: float, seed: int) -> dict[str, Examples]:
    """The training digits shared out among `names`; the same seed gives the same shares in every process."""
    train = digits().train
    shares = split(train.labels, len(names), alpha, np.random.default_rng(seed))
    return {name: train.take(indices) for name, indices in zip(names, shares, strict=True)}
