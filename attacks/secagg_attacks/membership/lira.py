"""LiRA, the likelihood ratio (Carlini et al. 2022, Membership inference attacks from first principles).

For each example, phi is normally distributed over models trained with it, and, elsewhere, over models trained
without it. Shadow models give both. Online (algorithm 1) compares the two densities at the attacked model's
phi; offline (section IV.E) has only models without the example and asks how unlikely so large a phi is.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr

from secagg_attacks.membership.confidence import Floats
from secagg_attacks.membership.errors import MembershipError
from secagg_attacks.membership.evidence import same_examples, within, without

__all__ = ["OWN_VARIANCE_FROM", "Variance", "lira_offline", "lira_online"]

Variance = Literal["auto", "pooled", "example"]

OWN_VARIANCE_FROM: Final = 64
"""Shadows from which each example's own variance is estimated well enough; below, one is pooled for all."""


def lira_online(
    targets: npt.ArrayLike,
    shadows: npt.ArrayLike,
    is_member: npt.NDArray[np.bool_],
    variance: Variance = "auto",
) -> Floats:
    """log N(phi; mu_in, sigma_in) - log N(phi; mu_out, sigma_out), of every target and example.

    targets: phi (..., examples). shadows: phi (models, examples) of models trained like the targets;
    is_member: what each of them was trained on. variance: "pooled" is of *residuals*, each example's own
    mean taken off; "auto" pools below OWN_VARIANCE_FROM shadows. Returns the shape of targets.

    Raises MembershipError `shadows-shape`, `targets-shape`, `never-in`, `never-out`, `too-few-shadows`,
    `variance-invalid`.
    """
    values = np.asarray(shadows, dtype=np.float64)
    ins, outs = within(values, is_member), without(values, is_member)
    phi = same_examples(targets, values)
    pooled = _pools(variance, len(values))
    return _log_normal(phi, ins.mean_of(values), ins.variance_of(values, pooled)) - _log_normal(
        phi, outs.mean_of(values), outs.variance_of(values, pooled)
    )


def lira_offline(
    targets: npt.ArrayLike,
    shadows: npt.ArrayLike,
    is_member: npt.NDArray[np.bool_],
    variance: Variance = "pooled",
) -> Floats:
    """log Phi((phi - mu_out) / sigma_out): one-sided, from shadows without the example.

    Arguments, shape and errors as of lira_online, but for `never-in`: all of is_member may be False.
    With a pooled variance the score rises with phi - mu_out, and the variance changes no ranking.
    """
    values, outs = np.asarray(shadows, dtype=np.float64), without(shadows, is_member)
    phi = same_examples(targets, values)
    spread = np.sqrt(outs.variance_of(values, _pools(variance, len(values))))
    return np.asarray(log_ndtr((phi - outs.mean_of(values)) / spread))


def _pools(variance: Variance, shadows: int) -> bool:
    if variance not in get_args(Variance):
        raise MembershipError(
            "variance-invalid",
            f"no variance is called {variance!r}",
            f"one of {', '.join(get_args(Variance))}",
        )
    return variance == "pooled" or (variance == "auto" and shadows < OWN_VARIANCE_FROM)


def _log_normal(value: Floats, mean: Floats, variance: Floats) -> Floats:
    """Log density, but for the constant that both sides of a ratio have."""
    return np.asarray(-((value - mean) ** 2) / (2 * variance) - np.log(variance) / 2)
