"""What is measured of reconstructions: how near they come, and whether they are of those clients' data.

The test against chance is of ranks: for each example, how many non-members of the target are as near to what
was reconstructed as the example itself; if the attack knows nothing, that rank is uniform. Ranks are combined
by Fisher's method (1932). The pool is shared, and large: what that makes of their independence is of the
order of the number of examples over its size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2, hypergeom

from secagg_attacks.images.chance import best_constant, random_guess
from secagg_attacks.images.matching import label_accuracy, match, success_rate
from secagg_attacks.inversion.errors import InversionError
from secagg_attacks.inversion.reconstruction import Reconstruction
from secagg_attacks.matrix.case import Case, Played
from secagg_attacks.matrix.cautions import by_trace_alone, least_rank_p_value, too_few_to_tell
from secagg_attacks.matrix.pictures import Floats, Pictures
from secagg_attacks.results import Measurement
from secagg_attacks.target import Target
from secagg_attacks.views import Arrays, ThreatModel

__all__ = [
    "LEAKS_DB",
    "MOST_DB",
    "POOL",
    "Group",
    "Invert",
    "measured",
    "met_by_luck",
    "rank_p_value",
    "reconstructed",
    "too_few",
]

LEAKS_DB: Final = 27.0
MOST_DB: Final = 200.0
"""What equal arrays are counted as: a mean squared error of 1e-20."""
POOL: Final = 2000
"""Non-members that chance is measured on, at most."""

_RESAMPLES: Final = 2000
_BY_RANK: Final = "by rank nearer to the truth than to others; in dB no better than a guess"
_NOT_FOR_THIS: Final = frozenset(
    {"analytic-needs-linear", "labels-need-linear", "model-without-parameters", "shape-not-images"}
)

Invert: TypeAlias = Callable[[Target, Arrays, tuple[int, ...], int, float | None], Reconstruction]
"""(target, update, shape of a batch, seed, seconds) -> what was found."""


@dataclass(frozen=True, eq=False)
class Group:
    """What was reconstructed together, as pictures: originals and images (n, channels, height, width), each
    image beside its original. labels: the share found. steps: of a search, 0 without one. failed: the code of
    an attack that gave nothing, whose images are grey then."""

    originals: Floats
    images: Floats
    labels: float
    steps: int
    cut_short: bool
    failed: str


def reconstructed(
    target: Target,
    seen: Arrays,
    x: npt.NDArray[Any],
    y: npt.NDArray[Any],
    seed: int,
    seconds: float | None,
    invert: Invert,
) -> Group:
    """The attack on one update that is of the examples x, y. Raises InversionError where it is none for such
    a model."""
    pictures = Pictures.of(target)
    originals = pictures.drawn(x)
    try:
        found = invert(target, seen, x.shape, seed, seconds)
    except InversionError as error:
        if error.code in _NOT_FOR_THIS:
            raise
        return Group(originals, np.full_like(originals, 0.5), 0.0, 0, False, error.code)
    images = pictures.clipped(found.images)
    order = match(originals, images).order
    labels = label_accuracy(y, found.labels)
    return Group(originals, images[order], labels, found.steps, found.ended == "seconds", "")


def too_few(target: Target, needed: int) -> str | None:
    """Why there is no such cell, if the target has not as many members, and non-members to compare with."""
    if len(target.members[0]) < needed or len(target.nonmembers[0]) < needed:
        return f"it takes {needed} members and as many non-members"
    return None


def measured(
    case: Case,
    groups: Sequence[Group],
    target: Target,
    must_reach: float,
    digest: str,
    threat: ThreatModel,
) -> Played:
    """The cell: the median PSNR over all images, beside what two guesses reach."""
    originals = np.concatenate([group.originals for group in groups])
    images = np.concatenate([group.images for group in groups])
    pool = Pictures.of(target).drawn(target.nonmembers[0][:POOL].numpy())
    pairs = [match(group.originals, group.images) for group in groups]
    psnrs = np.minimum(np.concatenate([pair.psnr for pair in pairs]), MOST_DB)
    words, constant = _without_a_look(target, originals, pool)
    guess = float(np.median(random_guess(originals, pool, case.seed).psnr))
    low, high = _interval_of_median(psnrs, case.seed)
    reached = success_rate(psnrs, LEAKS_DB)
    failed = [group.failed for group in groups if group.failed]
    notes = [f"the attack gave nothing for {len(failed)} of {len(groups)} ({failed[0]})"] if failed else []
    value, chance = float(np.median(psnrs)), max(constant, guess)
    p_value = rank_p_value(((group.originals, group.images) for group in groups), pool)
    notes += by_trace_alone(p_value, value, chance, _BY_RANK)
    notes += too_few_to_tell(value, must_reach, least_rank_p_value(len(originals), len(pool)))
    more = {
        "median MSE": float(np.median(np.concatenate([pair.mse for pair in pairs]))),
        "labels found": float(np.mean([group.labels for group in groups])),
        "success at 27 dB": reached.share,
        "success, low": reached.interval.low,
        "success, high": reached.interval.high,
        f"chance, {words}, dB": constant,
        "chance, another image, dB": guess,
    }
    if target.domain == "image":
        more["median SSIM"] = float(np.median(np.concatenate([pair.ssim for pair in pairs])))
    if any(group.steps for group in groups):
        more["steps of each search, mean"] = float(np.mean([group.steps for group in groups]))
    measurement = Measurement(
        attack=case.attack,
        defence=case.defence.name,
        status="measured",
        seed=case.seed,
        figure="median PSNR, dB",
        value=value,
        low=low,
        high=high,
        n=len(originals),
        chance=chance,
        ceiling=MOST_DB,
        p_value=p_value,
        must_reach=must_reach,
        leaks_at=LEAKS_DB,
        view=digest,
        threat=threat,
        cut_short=any(group.cut_short for group in groups),
        notes=tuple(notes),
        more=more,
        also=(_recognised(groups, pool),),
    )
    shown = {"originals": originals, "images": images} if target.domain == "image" else {}
    return measurement, {**shown, "psnr": psnrs}


def _without_a_look(target: Target, originals: Floats, pool: Floats) -> tuple[str, float]:
    """The median PSNR of one guess for all examples: of images the best flat one, and of a table, whose
    features have nothing in common, the mean of the non-members."""
    if target.domain == "image":
        words, guess = "best constant colour", best_constant(originals)
    else:
        words = "mean of non-members"
        guess = match(originals, np.broadcast_to(pool.mean(axis=0), originals.shape))
    return words, float(np.median(np.minimum(guess.psnr, MOST_DB)))


def rank_p_value(pairs: Iterable[tuple[Floats, Floats]], pool: Floats) -> float:
    """Of ranks among the pool, by Fisher's method. pairs: originals and what was given for them, (n, ...) and
    (k, ...), k above 0."""
    flat = pool.reshape(len(pool), -1)
    logs: list[float] = []
    for originals, images in pairs:
        found = images.reshape(len(images), -1)
        others = _nearest(flat, found)
        truth = originals.reshape(len(originals), -1)
        logs += [
            math.log((1 + int((others <= own).sum())) / (1 + len(others))) for own in _nearest(truth, found)
        ]
    return float(chi2.sf(-2 * sum(logs), 2 * len(logs)))


def met_by_luck(found: int, by_luck: int, members: int, others: int) -> float:
    """How likely as many members, or more, were among those found, were they as likely to be as others
    (Fisher's exact test, one-sided)."""
    return float(hypergeom.sf(found - 1, members + others, found + by_luck, members))


def _recognised(groups: Sequence[Group], pool: Floats) -> float:
    """Fisher's exact test of how many are met at LEAKS_DB, beside those of the pool that are: a median does
    not show one image among eight."""
    worst = 10 ** (-LEAKS_DB / 10)
    flat = pool.reshape(len(pool), -1)
    others, own = np.zeros(len(flat), dtype=np.bool_), 0
    for group in groups:
        found = group.images.reshape(len(group.images), -1)
        others |= _nearest(flat, found) <= worst
        own += int((_nearest(group.originals.reshape(len(found), -1), found) <= worst).sum())
    return met_by_luck(own, int(others.sum()), sum(len(group.originals) for group in groups), len(flat))


def _nearest(images: Floats, found: Floats) -> Floats:
    """Mean squared distance of each image to the nearest of what was found: (n,)."""
    best = np.full(len(images), np.inf)
    for one in found:
        best = np.minimum(best, ((images - one) ** 2).mean(axis=1))
    return best


def _interval_of_median(values: Floats, seed: int) -> tuple[float, float]:
    """The percentile bootstrap over images, 95 %."""
    drawn = np.random.default_rng(seed).choice(values, size=(_RESAMPLES, len(values)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return float(low), float(high)
