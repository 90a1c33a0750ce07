"""What an inversion found, from several starts, within a time; and how the best start is chosen.

The best start is the one with the smallest *matching loss*, the distance of gradients that the attacker
computes. To choose by the distance to the true image would be to look at the answer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from secagg_attacks.inversion.errors import InversionError

__all__ = ["Attempt", "Deadline", "Ended", "OnStep", "Reconstruction", "Restart", "best_of"]

Ended: TypeAlias = Literal["steps", "converged", "diverged", "seconds"]
"""Why a search ended: all its steps done; nothing left to gain; numbers no longer finite; its time was over.
Of the last two, the best so far is kept."""

OnStep: TypeAlias = Callable[[int, int], None]
"""Called with the steps done and the most there can be, over all restarts."""


@dataclass(frozen=True)
class Deadline:
    """A moment of the monotonic clock, in seconds; infinity for none."""

    at: float

    @classmethod
    def after(cls, seconds: float | None) -> Deadline:
        """Raises InversionError `seconds-invalid` unless it lies ahead."""
        if seconds is None:
            return cls(math.inf)
        if not seconds > 0:
            raise InversionError(
                "seconds-invalid", f"a time of {seconds} s", "more than 0, or None for no limit"
            )
        return cls(time.monotonic() + seconds)

    @property
    def passed(self) -> bool:
        return time.monotonic() >= self.at


@dataclass(frozen=True, eq=False)
class Attempt:
    """One search: its best images, their matching loss (infinite where it broke down), steps done."""

    images: Tensor
    matching_loss: float
    steps: int
    ended: Ended


@dataclass(frozen=True)
class Restart:
    """What is kept of a search that may not have been the best. seed: of its first images."""

    seed: int
    matching_loss: float
    steps: int
    ended: Ended


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """images: float64, of the shape asked for. labels: int64 (n,), of the images in their order.

    matching_loss: of the restart that was chosen, in the attack's own measure. restarts: every one that was
    begun, in order; empty for an attack that computes and does not search. ended: "seconds" where time cut
    the search short, so that the images are only the best so far. labels_recovered: not given, but found.
    """

    images: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    matching_loss: float
    restarts: tuple[Restart, ...]
    chosen: int
    ended: Ended
    labels_recovered: bool

    @property
    def steps(self) -> int:
        """Steps done, over all restarts."""
        return sum(restart.steps for restart in self.restarts)


def best_of(
    search: Callable[[int, Deadline, OnStep], Attempt],
    labels: Tensor,
    labels_recovered: bool,
    *,
    seed: int,
    restarts: int,
    steps: int,
    seconds: float | None,
    on_step: OnStep | None,
) -> Reconstruction:
    """Searches from `restarts` starts, each with a seed of its own, and takes the smallest matching loss.

    search: (seed, deadline, on_step) -> Attempt; it does one step at least, however late it is. `seconds`
    bound all restarts together; those that it leaves no time for are not begun.
    Raises InversionError `restarts-invalid`, `steps-invalid`, `seconds-invalid`, `inversion-diverged`.
    """
    if restarts < 1:
        raise InversionError("restarts-invalid", f"{restarts} restarts", "1 or more")
    if steps < 1:
        raise InversionError("steps-invalid", f"{steps} steps", "1 or more")
    deadline = Deadline.after(seconds)
    begun: list[Restart] = []
    best: Attempt | None = None
    chosen = 0
    for index, word in enumerate(np.random.SeedSequence(seed).generate_state(restarts)):
        if begun and deadline.passed:
            break

        def progress(done: int, _most: int, before: int = index * steps) -> None:
            if on_step is not None:
                on_step(before + done, restarts * steps)

        found = search(int(word), deadline, progress)
        begun.append(Restart(int(word), found.matching_loss, found.steps, found.ended))
        if math.isfinite(found.matching_loss) and (best is None or found.matching_loss < best.matching_loss):
            best, chosen = found, index
    if best is None:
        raise InversionError(
            "inversion-diverged",
            f"none of {len(begun)} restarts came to a finite matching loss",
            "another seed, or float64; a model whose gradient explodes cannot be inverted",
        )
    cut_short = len(begun) < restarts or any(restart.ended == "seconds" for restart in begun)
    return Reconstruction(
        images=best.images.detach().double().numpy().copy(),
        labels=labels.numpy().astype(np.int64),
        matching_loss=best.matching_loss,
        restarts=tuple(begun),
        chosen=chosen,
        ended="seconds" if cut_short else best.ended,
        labels_recovered=labels_recovered,
    )
