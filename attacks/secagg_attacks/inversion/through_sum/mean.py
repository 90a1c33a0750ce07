"""What inversion makes of a mean: attacks on one client's gradient, on what n clients opened together.

The mean of the gradients of n clients that take one step on one example each is the gradient of a batch of n:
secure aggregation makes of a server that could invert single updates one that must invert batches. How much
that takes from it is a matter of n and of nothing else that masks do, and is measured here. The two attacks
are `analytic_linear`, whose quotients are mixtures as soon as examples share a row, and `inverting_gradients`
(Geiping et al. 2020, arXiv 2003.14053, who still make out single images of a batch of 100), which searches
for n times as many pixels in a gradient that has no more numbers.

What a figure says: PSNR of each example after the best assignment of reconstructions to examples, for this
model, untrained or as it is, these examples and this many steps. What it does not say: that nothing more
could be had; an attack that fails is no proof, a trap (`traps`) reads the same sums exactly. A client with a
batch of its own adds its size to n.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy.typing as npt
from torch import nn

from secagg_attacks.images.chance import Guessed, best_constant, random_guess
from secagg_attacks.images.matching import Matched, match
from secagg_attacks.inversion.analytic import analytic_linear
from secagg_attacks.inversion.cosine import inverting_gradients
from secagg_attacks.inversion.descent import PUBLISHED, Descent
from secagg_attacks.inversion.errors import InversionError
from secagg_attacks.inversion.gradients import Arrays, gradient_of_step
from secagg_attacks.inversion.reconstruction import OnStep, Reconstruction

__all__ = ["MeanAttack", "ThroughMean", "invert_mean", "measured"]

MeanAttack: TypeAlias = Literal["analytic", "inverting-gradients"]


@dataclass(frozen=True, eq=False)
class ThroughMean:
    """n examples, what was made of them, and what a guess would have: flat colours, and other images."""

    reached: Matched
    flat: Matched
    guessed: Guessed


def invert_mean(
    model: nn.Module,
    mean_update: Arrays,
    examples: int,
    shape: tuple[int, ...],
    attack: MeanAttack,
    *,
    seed: int,
    learning_rate: float = 1.0,
    labels: npt.ArrayLike | None = None,
    recipe: Descent = PUBLISHED,
    seconds: float | None = None,
    on_step: OnStep | None = None,
) -> Reconstruction:
    """The examples behind the mean update of clients that took one SGD step: float64 (examples, *shape).

    examples: of all clients together. shape: of one. learning_rate: of the step. labels: of all, in any
    order; None to recover them. recipe, seconds, on_step: of the search; "analytic" does not search.
    Raises InversionError `examples-invalid`, and what the attack raises.
    """
    if examples < 1:
        raise InversionError("examples-invalid", f"{examples} examples", "1 or more")
    gradient = gradient_of_step(mean_update, learning_rate)
    batch = (examples, *shape)
    if attack == "analytic":
        return analytic_linear(model, gradient, batch, labels, seed=seed)
    return inverting_gradients(
        model, gradient, batch, labels, seed=seed, recipe=recipe, seconds=seconds, on_step=on_step
    )


def measured(
    originals: npt.ArrayLike, reconstruction: Reconstruction, pool: npt.ArrayLike, seed: int
) -> ThroughMean:
    """Each example beside what was made of it, and both levels of chance, matched the same way.

    originals, pool: (n, channels, height, width), (m, ...): the examples, and images of the same set to guess
    from. Raises ImagesError `images-shape`, `images-not-finite`, `pool-too-small`.
    """
    return ThroughMean(
        match(originals, reconstruction.images), best_constant(originals), random_guess(originals, pool, seed)
    )
