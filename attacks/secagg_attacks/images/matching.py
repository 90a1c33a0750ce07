"""Which reconstruction is of which image: the assignment with the least squared error, and what it comes to.

The gradient of a batch does not say in which order its images were; a batch is therefore measured after the
best assignment of one to the other (Kuhn 1955, "the Hungarian method"). That helps a guess as well as an
attack, so chance levels are matched the same way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from secagg_attacks.images.errors import ImagesError
from secagg_attacks.images.measures import Floats, compared, mse, psnr, ssim
from secagg_attacks.statistics.intervals import Interval, wilson

__all__ = ["Matched", "SuccessRate", "label_accuracy", "match", "success_rate"]


@dataclass(frozen=True, eq=False)
class Matched:
    """order: which reconstruction was assigned to each original, int64 (n,). mse, psnr, ssim: of each
    pair."""

    order: npt.NDArray[np.int64]
    mse: Floats
    psnr: Floats
    ssim: Floats


@dataclass(frozen=True)
class SuccessRate:
    """successes of n images reached `least` dB; share, with Wilson's 95 % interval."""

    successes: int
    n: int
    least: float
    share: float
    interval: Interval[float]


def match(originals: npt.ArrayLike, reconstructions: npt.ArrayLike) -> Matched:
    """Assigns a batch of reconstructions to its originals, both (n, channels, height, width), and measures.

    Raises ImagesError `images-shape`, `images-not-finite`.
    """
    one, other = compared(originals, reconstructions)
    flat_one, flat_other = one.reshape(len(one), -1), other.reshape(len(other), -1)
    cost = np.stack([((flat_other - image) ** 2).mean(axis=1) for image in flat_one])
    order = np.asarray(linear_sum_assignment(cost)[1], dtype=np.int64)
    matched = other[order]
    return Matched(order, mse(one, matched), psnr(one, matched), ssim(one, matched))


def label_accuracy(labels: npt.ArrayLike, recovered: npt.ArrayLike) -> float:
    """The share of labels (n,) that are among the recovered (n,), whatever the order, each counted once.

    Raises ImagesError `labels-shape`.
    """
    truth, found = np.asarray(labels), np.asarray(recovered)
    if truth.ndim != 1 or truth.shape != found.shape or not truth.size:
        raise ImagesError(
            "labels-shape", f"labels are {truth.shape}, recovered {found.shape}", "both (n,), n at least 1"
        )
    classes = np.union1d(truth, found)
    both = sum(min(int((truth == label).sum()), int((found == label).sum())) for label in classes)
    return both / len(truth)


def success_rate(psnrs: npt.ArrayLike, least: float) -> SuccessRate:
    """How many images reach `least` dB: of psnrs (n,). Raises StatisticsError `counts-invalid` for none."""
    values = np.asarray(psnrs, dtype=np.float64)
    successes, n = int((values >= least).sum()), values.size
    interval = wilson(successes, n)
    return SuccessRate(successes, n, least, successes / n, interval)
