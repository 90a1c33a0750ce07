"""The confidence that attacks compare: the logit of the probability a model gives an example's own label.

phi = log(p / (1 - p)) = z_y - logsumexp(z of every other class) (Carlini et al. 2022, section IV.C). Over
models it is close to normally distributed where p is not, and no digit of it is lost near p = 1, where
members are. It carries all that the cross-entropy and p say: both are computed from it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from secagg_attacks.membership.errors import MembershipError

__all__ = ["bounded", "cross_entropy", "phi", "probability"]

Floats = npt.NDArray[np.float64]

_LARGEST: Final = 1e100
"""Squares of it, and sums of those, are still finite."""


def bounded(logits: npt.ArrayLike) -> Floats:
    """Logits that phi takes, of a model that may be no model: what is not a number becomes 0, what is beyond
    1e100 becomes that. Whatever a masked vector makes of a network is then a score, and is not refused."""
    return np.clip(np.nan_to_num(np.asarray(logits, dtype=np.float64), nan=0.0), -_LARGEST, _LARGEST)


def phi(logits: npt.ArrayLike, labels: npt.ArrayLike) -> Floats:
    """The scaled logit of the true class, float64, in nats.

    logits: (..., examples, classes), finite; labels: (examples,) integers from 0, the same for every model.
    Returns (..., examples). Raises MembershipError `logits-invalid`, `labels-invalid`.
    """
    given, label = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    if given.ndim < 2 or given.shape[-1] < 2:
        raise MembershipError(
            "logits-invalid",
            f"logits of shape {given.shape}",
            "(..., examples, classes), with two classes at least; of a single output z, [0, z]",
        )
    if not bool(np.isfinite(given).all()):
        raise MembershipError(
            "logits-invalid",
            f"{int((~np.isfinite(given)).sum())} of {given.size} logits are not finite",
            "a model whose training diverged tells nothing; train it with a smaller learning rate",
        )
    examples, classes = given.shape[-2:]
    if label.dtype.kind not in "iu" or label.shape != (examples,):
        raise MembershipError(
            "labels-invalid",
            f"labels of shape {label.shape} and type {label.dtype} for {examples} examples",
            "one integer class for each example",
        )
    if label.size and (int(label.min()) < 0 or int(label.max()) >= classes):
        raise MembershipError(
            "labels-invalid",
            f"labels from {int(label.min())} to {int(label.max())}, and there are {classes} logits",
            "classes count from 0",
        )
    at = np.broadcast_to(label.astype(np.intp)[:, None], (*given.shape[:-1], 1))
    own = np.take_along_axis(given, at, axis=-1)[..., 0]
    others = given.copy()
    np.put_along_axis(others, at, -np.inf, axis=-1)
    largest = others.max(axis=-1)
    others -= largest[..., None]
    return np.asarray(own - largest - np.log(np.exp(others).sum(axis=-1)))


def cross_entropy(confidence: npt.ArrayLike) -> Floats:
    """-log p of each phi: the loss of one example, without a mean."""
    return np.logaddexp(0.0, -np.asarray(confidence, dtype=np.float64))


def probability(confidence: npt.ArrayLike) -> Floats:
    """p of each phi, from 0 to 1."""
    return np.asarray(expit(np.asarray(confidence, dtype=np.float64)))
