"""What shadow models say of an example, apart for those trained with it and those trained without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from secagg_attacks.membership.confidence import Floats
from secagg_attacks.membership.errors import MembershipError

__all__ = ["World", "same_examples", "within", "without"]


@dataclass(frozen=True, eq=False)
class World:
    """The shadows that saw an example, or those that did not.

    chosen: bool (models, examples), at least one True in each column. count: (examples,).
    """

    chosen: npt.NDArray[np.bool_]
    count: npt.NDArray[np.int64]

    def mean_of(self, values: Floats) -> Floats:
        """Mean of values (models, examples) over the chosen models: (examples,)."""
        return np.asarray(np.where(self.chosen, values, 0.0).sum(axis=0) / self.count)

    def variance_of(self, values: Floats, pooled: bool) -> Floats:
        """Unbiased variance about each example's own mean, over the chosen models: (examples,), all above 0.

        pooled: one for all examples, of residuals; a mean is taken off for each example, and a degree of
        freedom with it. Raises MembershipError `too-few-shadows`: no residual is left, or all are 0.
        """
        squares = np.where(self.chosen, values - self.mean_of(values), 0.0) ** 2
        freedom = self.count - 1
        if pooled:
            total = int(freedom.sum())
            variance = np.full(len(freedom), squares.sum() / total if total else 0.0)
        else:
            variance = squares.sum(axis=0) / np.maximum(freedom, 1)
        if not (variance > 0).all():
            still = int((variance <= 0).sum())
            raise MembershipError(
                "too-few-shadows",
                f"the shadows' confidence has no spread for {still} of {len(variance)} examples",
                "more shadow models, two with each example and two without; one model twice is no second one",
            )
        return np.asarray(variance)


def within(shadows: npt.ArrayLike, is_member: npt.ArrayLike) -> World:
    """Of shadows and is_member (models, examples), those trained with each example.

    Raises MembershipError `shadows-shape`, `never-in`.
    """
    return _world(shadows, is_member, True)


def without(shadows: npt.ArrayLike, is_member: npt.ArrayLike) -> World:
    """Those trained without each example. Raises MembershipError `shadows-shape`, `never-out`."""
    return _world(shadows, is_member, False)


def _world(shadows: npt.ArrayLike, is_member: npt.ArrayLike, trained_with: bool) -> World:
    values, member = np.asarray(shadows), np.asarray(is_member)
    if values.ndim != 2 or values.shape != member.shape or member.dtype != np.bool_ or _broken(values):
        raise MembershipError(
            "shadows-shape",
            f"shadows of shape {values.shape}, {_broken(values)} of them not finite; "
            f"their members of shape {member.shape} and type {member.dtype}",
            "(models, examples) both, phi finite, members as booleans",
        )
    chosen: npt.NDArray[np.bool_] = member if trained_with else ~member
    count = chosen.sum(axis=0)
    if not count.all():
        which, hint = ("none", "; the offline attack needs none with it") if trained_with else ("all", "")
        raise MembershipError(
            "never-in" if trained_with else "never-out",
            f"{int((count == 0).sum())} of {len(count)} examples are in {which} of the {len(values)} shadows",
            "complementary_pairs puts each example in half of them" + hint,
        )
    return World(chosen, count)


def same_examples(targets: npt.ArrayLike, shadows: npt.NDArray[Any]) -> Floats:
    """targets as float64 (..., examples). Raises MembershipError `targets-shape`."""
    given = np.asarray(targets, dtype=np.float64)
    if given.ndim < 1 or given.shape[-1] != shadows.shape[1] or _broken(given):
        raise MembershipError(
            "targets-shape",
            f"targets of shape {given.shape}, {_broken(given)} of them not finite, "
            f"and shadows of shape {shadows.shape}",
            "the same examples in the same order, all finite: (..., examples) and (models, examples)",
        )
    return given


def _broken(values: npt.NDArray[Any]) -> int:
    return int((~np.isfinite(values)).sum())
