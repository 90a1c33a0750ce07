"""What the attacks of a table are played on: one target, or scikit-learn's digits with networks to suit.

On the digits every inversion has a network that it is known to work on: a perceptron for the analytic one,
sigmoids for L-BFGS, convolutions with ReLU for first-order search. The cocktail party attack needs pictures
of more than 64 pixels to tell voices apart by, and has crops of photographs in place of the digits. On a
target of somebody's own there is one network, and an attack that it does not suit is not applicable, or fails
on the unprotected view and so shows nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from secagg_attacks.data.digits import CLASSES, PIXELS, SIDE, digits
from secagg_attacks.data.photographs import photographs
from secagg_attacks.models import mlp, relu_convnet, sigmoid_lenet
from secagg_attacks.target import Target

__all__ = ["DIGITS", "World", "digits_world", "world_of"]

DIGITS: Final = "digits"
_MEMBERS: Final = 320
_FLIPPED: Final = 0.2
_HIDDEN: Final = 128
_CROPS: Final = 256
_CROPS_DEALT: Final = 64
_MIXING_ROWS: Final = 32


@dataclass(frozen=True, eq=False)
class World:
    """target: of membership, utility and audit. networks: targets of inversions by the name of the network,
    "analytic", "smooth" or "convolutional"; the same data in each. mixing: makes the target of the cocktail
    party attack, which may be of other data."""

    name: str
    target: Target
    networks: Mapping[str, Target]
    about: str
    mixing: Callable[[], Target]


def digits_world(seed: int) -> World:
    """320 digits to train on, in an order drawn by the seed, and 1 477 more; a fifth of the labels wrong."""
    data = digits(flipped=_FLIPPED, seed=seed)
    order = np.random.default_rng(seed).permutation(len(data.y))
    members, others = order[:_MEMBERS], order[_MEMBERS:]

    def target(model: torch.nn.Module) -> Target:
        return Target(
            model,
            (data.images[members], data.y[members]),
            (data.images[others], data.y[others]),
            name=DIGITS,
        )

    return World(
        DIGITS,
        target(mlp((PIXELS, _HIDDEN, CLASSES), seed, torch.float32)),
        {
            "analytic": target(mlp((PIXELS, _HIDDEN, CLASSES), seed)),
            "smooth": target(sigmoid_lenet(1, SIDE, CLASSES, seed)),
            "convolutional": target(relu_convnet(1, SIDE, CLASSES, seed)),
        },
        "scikit-learn's digits, 8x8, 20 % of the labels wrong on purpose; untrained networks",
        lambda: _crops(seed),
    )


def world_of(target: Target) -> World:
    """The same target for every attack."""
    return World(
        target.name,
        target,
        dict.fromkeys(("analytic", "smooth", "convolutional"), target),
        f"{target.name}: {target.domain} data, {len(target.members[0])} members, as given",
        lambda: target,
    )


def _crops(seed: int) -> Target:
    """Grey crops of two photographs, 1x32x32, of classes that mean nothing: 64 to train on and 192 more."""
    grey = photographs(_CROPS, seed).x.astype(np.float64).mean(axis=1, keepdims=True)
    labels = np.arange(_CROPS) % CLASSES
    return Target(
        mlp((grey[0].size, _MIXING_ROWS, CLASSES), seed),
        (grey[:_CROPS_DEALT], labels[:_CROPS_DEALT]),
        (grey[_CROPS_DEALT:], labels[_CROPS_DEALT:]),
        name="crops",
    )
