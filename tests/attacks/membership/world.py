"""A small world to attack: two dozen networks on six hundred digits, a fifth of them mislabelled."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from secagg_attacks.data.digits import CLASSES, digits
from secagg_attacks.membership.confidence import phi
from secagg_attacks.membership.mlps import Recipe, train_mlps
from secagg_attacks.membership.splits import complementary_pairs

TARGETS = 8
MODELS = 24
EXAMPLES = 600


@dataclass(frozen=True, eq=False)
class Trained:
    """logits (models, examples, classes), phi and is_member (models, examples), y and clean (examples,)."""

    logits: npt.NDArray[np.float32]
    phi: npt.NDArray[np.float64]
    is_member: npt.NDArray[np.bool_]
    y: npt.NDArray[np.int64]
    clean: npt.NDArray[np.int64]

    @property
    def shadows(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        return self.phi[:-TARGETS], self.is_member[:-TARGETS]

    @property
    def targets(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        return self.phi[-TARGETS:], self.is_member[-TARGETS:]


@cache
def trained() -> Trained:
    data = digits(flipped=0.2, seed=0)
    x, y, clean = data.x[:EXAMPLES], data.y[:EXAMPLES], data.clean[:EXAMPLES]
    is_member = complementary_pairs(MODELS, EXAMPLES, seed=0)
    networks = train_mlps(x, y, is_member, CLASSES, seed=0, recipe=Recipe(hidden=(64,), epochs=150))
    logits = networks.logits(x)
    return Trained(logits, phi(logits, y), is_member, y, clean)
