"""Attacks that train nothing, or next to nothing: the loss, the loss beside what it should be, a coin.

Scores are higher where an example is taken for a member.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from secagg_attacks.membership.confidence import Floats, cross_entropy
from secagg_attacks.membership.evidence import same_examples, without

__all__ = ["calibrated_loss", "coin", "loss_threshold"]


def loss_threshold(targets: npt.ArrayLike) -> Floats:
    """The loss, negated (Yeom et al. 2018, section 3.2): members have small losses.

    targets: phi of the attacked models, of any shape; returns the same shape. It knows no example's
    difficulty, and so finds the easy ones: hardly better than a coin where false alarms must be few.
    """
    return -cross_entropy(targets)


def calibrated_loss(
    targets: npt.ArrayLike, shadows: npt.ArrayLike, is_member: npt.NDArray[np.bool_]
) -> Floats:
    """How far the loss is below the mean loss of models that never saw the example.

    Watson et al. 2022, On the importance of difficulty calibration in membership inference attacks.

    targets: phi (..., examples). shadows: phi (models, examples); is_member: of the shadows, same shape.
    Returns the shape of targets.
    Raises MembershipError `shadows-shape`, `targets-shape`, `never-out`.
    """
    losses = cross_entropy(shadows)
    difficulty = without(losses, is_member).mean_of(losses)
    return difficulty - cross_entropy(same_examples(targets, losses))


def coin(shape: tuple[int, ...], seed: int) -> Floats:
    """Uniform scores that know nothing: what every other attack must beat."""
    return np.random.default_rng(seed).random(shape)
