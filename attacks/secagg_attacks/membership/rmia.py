"""RMIA (Zarifzadeh, Liu and Shokri 2024, Low-cost high-power membership inference attacks).

An example is held against others of its kind that the model did not train on, the population z. Its score is
the share of z that it dominates: p(x | model) / p(x) >= gamma * p(z | model) / p(z), where p( ) is what
shadow models say on average. A score is thus a count of z, and false alarms fewer than one in |z| look all
the same to it: rates below 10 / |z| are not told (`finest_fpr`), and figures refuse them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from secagg_attacks.membership.confidence import Floats, probability
from secagg_attacks.membership.errors import MembershipError
from secagg_attacks.membership.evidence import same_examples, within, without

__all__ = ["Rmia", "ratios_offline", "ratios_online", "rmia"]

NEEDED: Final = 10
"""Members of the population that must be false alarms at the lowest rate that is told."""

_SMALLEST: Final = np.finfo(np.float64).tiny


@dataclass(frozen=True, eq=False)
class Rmia:
    """scores: float64 (targets, examples), 0 to 1. finest_fpr: the lowest false-positive rate they tell."""

    scores: Floats
    finest_fpr: float


def ratios_online(targets: npt.ArrayLike, shadows: npt.ArrayLike, is_member: npt.NDArray[np.bool_]) -> Floats:
    """p(x | target) / p(x), p(x) halfway between the means of shadows with x and of shadows without it.

    targets: phi (..., examples). shadows: phi (models, examples); is_member: of the shadows, same shape.
    Returns the shape of targets.
    Raises MembershipError `shadows-shape`, `targets-shape`, `never-in`, `never-out`.
    """
    values = probability(shadows)
    ins, outs = within(values, is_member), without(values, is_member)
    phi = same_examples(targets, values)
    return _over(probability(phi), (ins.mean_of(values) + outs.mean_of(values)) / 2)


def ratios_offline(
    targets: npt.ArrayLike,
    shadows: npt.ArrayLike,
    is_member: npt.NDArray[np.bool_],
    a: float = 0.3,
) -> Floats:
    """p(x | target) / p(x), where models with x are guessed from those without (section 3.2 and appendix B).

    p(x) = ((1 + a) p_out(x) + (1 - a)) / 2: with a = 1 the in-models are as sure as the out-models, with
    a = 0 they are certain. Arguments and errors as of ratios_online, but for `never-in`; `a-invalid`.
    """
    if not 0 <= a <= 1:
        raise MembershipError(
            "a-invalid", f"a = {a}", "from 0 to 1; 0.3, where models fit what they train on"
        )
    values = probability(shadows)
    outs = without(values, is_member)
    phi = same_examples(targets, values)
    return _over(probability(phi), ((1 + a) * outs.mean_of(values) + (1 - a)) / 2)


def rmia(
    ratios: npt.ArrayLike,
    population: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    gamma: float = 1.0,
) -> Rmia:
    """The share of the population that each example dominates by a factor `gamma` or more.

    ratios: (targets, examples). population: ratios (targets, |z|) of examples that none of the targets
    trained on, or that `weights` of 0 leave out where one did; weights: (targets, |z|), or (|z|,), 0 or more:
    how often each is met. |z| is then the number of weights above 0, of the target that has the fewest.

    Raises MembershipError `population-shape`, `population-empty`, `gamma-invalid`.
    """
    value = np.atleast_2d(np.asarray(ratios, dtype=np.float64))
    others = np.atleast_2d(np.asarray(population, dtype=np.float64))
    share = np.ones(others.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    if (
        value.ndim != 2
        or others.ndim != 2
        or len(value) != len(others)
        or share.shape[-1:] != others.shape[1:]
    ):
        raise MembershipError(
            "population-shape",
            f"ratios of shape {value.shape}, a population of {others.shape}, weights of {share.shape}",
            "(targets, examples), (targets, |z|), and (|z|,) or (targets, |z|)",
        )
    share = np.broadcast_to(share, others.shape)
    if not bool((share >= 0).all()) or not bool((share > 0).any(axis=1).all()):
        raise MembershipError(
            "population-empty",
            "a target has no population, or one of negative weight",
            "examples that it did not train on, 10 for each false alarm in the rate you want",
        )
    if not gamma >= 1:
        raise MembershipError("gamma-invalid", f"gamma = {gamma}", "1 or more")
    scores = np.stack([_dominated(own / gamma, z, w) for own, z, w in zip(value, others, share, strict=True)])
    return Rmia(scores, NEEDED / int((share > 0).sum(axis=1).min()))


def _dominated(own: Floats, others: Floats, weights: Floats) -> Floats:
    order = np.argsort(others)
    reached = np.append(0.0, np.cumsum(weights[order]))
    return np.asarray(reached[np.searchsorted(others[order], own, side="right")] / reached[-1])


def _over(numerator: Floats, denominator: Floats) -> Floats:
    return np.asarray(numerator / np.maximum(denominator, _SMALLEST))
