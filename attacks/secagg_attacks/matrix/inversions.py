"""Inversion as a cell: images from what reached the server, and whether they are of those clients' data.

Attacks on uploads take each client's, whatever protects it, for its update. Attacks through the mean take the
opened mean of n clients with one example each. The test against chance is of ranks: for each example, how
many non-members of the target are as near to what was reconstructed as the example itself; if the attack
knows nothing, that rank is uniform. Ranks are combined by Fisher's method (1932). The pool is large, and what
its being shared makes of their independence is of the order of one over its size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2

from secagg_attacks.federation import Federation
from secagg_attacks.images.chance import best_constant, random_guess
from secagg_attacks.images.matching import label_accuracy, match, success_rate
from secagg_attacks.images.measures import CEILING_PSNR
from secagg_attacks.inversion.analytic import analytic_linear
from secagg_attacks.inversion.cosine import inverting_gradients
from secagg_attacks.inversion.descent import Descent
from secagg_attacks.inversion.errors import InversionError
from secagg_attacks.inversion.gradients import gradient_of_step
from secagg_attacks.inversion.matching import deep_leakage
from secagg_attacks.inversion.reconstruction import Reconstruction
from secagg_attacks.inversion.unrolled import LocalSteps, fedavg_inversion
from secagg_attacks.local_training import FEDSGD, LocalTraining
from secagg_attacks.matrix.case import Case, Played
from secagg_attacks.matrix.column import Column
from secagg_attacks.matrix.errors import note_of
from secagg_attacks.results import Measurement
from secagg_attacks.target import Target
from secagg_attacks.views import Arrays as Update

__all__ = [
    "ANALYTIC_DB",
    "COLUMNS",
    "LEAKS_DB",
    "SMOOTH_DB",
    "analytic",
    "fedavg",
    "inverting",
    "smooth",
    "through_mean",
]

Floats: TypeAlias = npt.NDArray[np.float64]

ANALYTIC_DB: Final = 100.0
"""A mean squared error of 1e-10."""
SMOOTH_DB: Final = 40.0
"""1e-4."""
LEAKS_DB: Final = 27.0
_MOST_DB: Final = 200.0
_POOL: Final = 2000
_LEAST_SECONDS: Final = 1e-3
_NEXT_COHORT: Final = 10_007
"""Between the seeds of one table's cohorts, so that tables of neighbouring seeds share none."""
_RESAMPLES: Final = 2000
_CLIENTS: Final = 8
_FEDAVG: Final = LocalTraining(steps=4, batch=None, learning_rate=0.1)
_FEDAVG_EXAMPLES: Final = 4
_TOTAL_VARIATION: Final = 1e-3
"""For images of 8x8; 1e-2 suits 32x32."""
_NOT_FOR_THIS: Final = frozenset(
    {"analytic-needs-linear", "labels-need-linear", "model-without-parameters", "shape-not-images"}
)
_FEWEST_PIXELS: Final = 16


@dataclass(frozen=True, eq=False)
class _Group:
    """What was reconstructed together: originals and images (n, channels, height, width), labels (n,)."""

    originals: Floats
    images: Floats
    labels: float
    cut_short: bool
    failed: str


_Invert: TypeAlias = Callable[[Target, Update, tuple[int, ...], int, float | None], Reconstruction]
"""(target, update, shape of a batch, seed, seconds) -> what was found."""


def analytic(case: Case) -> Played:
    """One division for each upload: the input of a fully connected first layer."""

    def invert(target: Target, seen: Update, shape: tuple[int, ...], seed: int, _: Any) -> Reconstruction:
        return analytic_linear(target.model, gradient_of_step(seen, 1.0), shape, seed=seed, loss=target.loss)

    return _on_uploads(case, "analytic", invert, ANALYTIC_DB)


def smooth(case: Case) -> Played:
    """iDLG on each upload: L-BFGS from several starts."""
    scale = case.scale

    def invert(
        target: Target, seen: Update, shape: tuple[int, ...], seed: int, seconds: float | None
    ) -> Reconstruction:
        return deep_leakage(
            target.model,
            gradient_of_step(seen, 1.0),
            shape,
            seed=seed,
            restarts=scale.restarts,
            steps=scale.iterations,
            loss=target.loss,
            seconds=seconds,
        )

    return _on_uploads(case, "smooth", invert, SMOOTH_DB)


def inverting(case: Case) -> Played:
    """Inverting gradients on each upload."""
    return _on_uploads(case, "convolutional", _inverting(case), LEAKS_DB)


def fedavg(case: Case) -> Played:
    """Unrolled local training: each upload is of four steps on four examples, at rate 0.1."""
    training = LocalSteps(_FEDAVG.learning_rate, _FEDAVG_EXAMPLES, _FEDAVG_EXAMPLES, _FEDAVG.steps)

    def invert(
        target: Target, seen: Update, shape: tuple[int, ...], seed: int, seconds: float | None
    ) -> Reconstruction:
        return fedavg_inversion(
            target.model,
            seen,
            shape,
            training,
            seed=seed,
            recipe=_recipe(case, shape),
            loss=target.loss,
            seconds=seconds,
        )

    fewer = replace(case, scale=replace(case.scale, images=max(1, case.scale.images // _FEDAVG_EXAMPLES)))
    return _on_uploads(fewer, "convolutional", invert, LEAKS_DB, _FEDAVG, _FEDAVG_EXAMPLES)


def through_mean(clients: int) -> Callable[[Case], Played]:
    """Inverting gradients on the opened mean of so many clients; of few clients, on several cohorts' means,
    each a run of its own, so that there are as many images as elsewhere."""

    def attack(case: Case) -> Played:
        target = case.world.networks["convolutional"]
        if (why := _unfit(target, clients)) is not None:
            return case.not_applicable(why)
        cohorts = max(1, case.scale.images // clients)
        each = None if case.limit is None else max(case.limit / cohorts, _LEAST_SECONDS)
        groups, views = [], []
        for cohort in range(cohorts):
            seed = case.seed + cohort * _NEXT_COHORT
            federation = Federation(target, clients, per_client=1, seed=seed)
            view = case.memory.view(case.defence, ("convolutional", clients, 1, FEDSGD, seed), federation)
            mean = view.rounds[0].mean
            if mean is None:
                return case.not_applicable("no sum was opened")
            x, y = federation.examples_of()
            try:
                groups.append(_group(target, mean, x.numpy(), y.numpy(), seed, each, _inverting(case)))
            except InversionError as error:
                return case.not_applicable(note_of(error))
            views.append(view)
        return _measured(case, groups, target, LEAKS_DB, views[0].digest, views[0].threat)

    return attack


def _inverting(case: Case) -> _Invert:
    def invert(
        target: Target, seen: Update, shape: tuple[int, ...], seed: int, seconds: float | None
    ) -> Reconstruction:
        return inverting_gradients(
            target.model,
            gradient_of_step(seen, 1.0),
            shape,
            seed=seed,
            recipe=_recipe(case, shape),
            loss=target.loss,
            seconds=seconds,
        )

    return invert


def _recipe(case: Case, shape: tuple[int, ...]) -> Descent:
    large = min(shape[2:]) >= _FEWEST_PIXELS
    return Descent(steps=case.scale.steps, total_variation=1e-2 if large else _TOTAL_VARIATION)


def _unfit(target: Target, needed: int) -> str | None:
    if target.domain != "image":
        return "the target's inputs are no images, and reconstructions are measured as images"
    if len(target.members[0]) < needed or len(target.nonmembers[0]) < needed:
        return f"it takes {needed} members and as many non-members"
    return None


def _on_uploads(
    case: Case,
    network: str,
    invert: _Invert,
    must_reach: float,
    local: LocalTraining = FEDSGD,
    per_client: int = 1,
) -> Played:
    target = case.world.networks[network]
    if (why := _unfit(target, _CLIENTS * per_client)) is not None:
        return case.not_applicable(why)
    federation = Federation(target, _CLIENTS, local=local, per_client=per_client, seed=case.seed)
    view = case.memory.view(case.defence, (network, _CLIENTS, per_client, local), federation)
    names = federation.names[: case.scale.images]
    each = None if case.limit is None else max(case.limit / len(names), _LEAST_SECONDS)
    groups = []
    for done, name in enumerate(names):
        x, y = federation.examples_of(name)
        seen = view.rounds[0].uploads[name]
        try:
            groups.append(_group(target, seen, x.numpy(), y.numpy(), case.seed + done, each, invert))
        except InversionError as error:
            return case.not_applicable(note_of(error))
        if case.on_step is not None:
            case.on_step(done + 1, len(names))
    return _measured(case, groups, target, must_reach, view.digest, view.threat)


def _group(
    target: Target,
    seen: Update,
    x: npt.NDArray[Any],
    y: npt.NDArray[Any],
    seed: int,
    seconds: float | None,
    invert: _Invert,
) -> _Group:
    """Raises InversionError where the attack is not one for such a model."""
    originals = x.astype(np.float64)
    try:
        found = invert(target, seen, originals.shape, seed, seconds)
    except InversionError as error:
        if error.code in _NOT_FOR_THIS:
            raise
        grey = np.full_like(originals, 0.5)
        return _Group(originals, grey, 0.0, False, error.code)
    images = np.clip(np.nan_to_num(found.images, nan=0.5), 0.0, 1.0)
    order = match(originals, images).order
    return _Group(originals, images[order], label_accuracy(y, found.labels), found.ended == "seconds", "")


def _measured(
    case: Case, groups: Sequence[_Group], target: Target, must_reach: float, digest: str, threat: Any
) -> Played:
    originals = np.concatenate([group.originals for group in groups])
    images = np.concatenate([group.images for group in groups])
    pool = target.nonmembers[0][:_POOL].numpy().astype(np.float64)
    pairs = [match(group.originals, group.images) for group in groups]
    psnrs = np.minimum(np.concatenate([pair.psnr for pair in pairs]), _MOST_DB)
    constant = float(np.median(np.minimum(best_constant(originals).psnr, _MOST_DB)))
    guess = float(np.median(random_guess(originals, pool, case.seed).psnr))
    low, high = _interval_of_median(psnrs, case.seed)
    reached = success_rate(psnrs, LEAKS_DB)
    failed = [group.failed for group in groups if group.failed]
    notes = [f"the attack gave nothing for {len(failed)} of {len(groups)} ({failed[0]})"] if failed else []
    measurement = Measurement(
        attack=case.attack,
        defence=case.defence.name,
        status="measured",
        seed=case.seed,
        figure="median PSNR, dB",
        value=float(np.median(psnrs)),
        low=low,
        high=high,
        n=len(originals),
        chance=max(constant, guess),
        ceiling=CEILING_PSNR,
        p_value=_p_value(groups, pool),
        must_reach=must_reach,
        leaks_at=LEAKS_DB,
        view=digest,
        threat=threat,
        cut_short=any(group.cut_short for group in groups),
        notes=tuple(notes),
        more={
            "median MSE": float(np.median(np.concatenate([pair.mse for pair in pairs]))),
            "median SSIM": float(np.median(np.concatenate([pair.ssim for pair in pairs]))),
            "labels found": float(np.mean([group.labels for group in groups])),
            "success at 27 dB": reached.share,
            "success, low": reached.interval.low,
            "success, high": reached.interval.high,
            "chance, best constant colour, dB": constant,
            "chance, another image, dB": guess,
        },
    )
    return measurement, {"originals": originals, "images": images, "psnr": psnrs}


def _p_value(groups: Sequence[_Group], pool: Floats) -> float:
    """Of ranks among the pool, by Fisher's method."""
    flat = pool.reshape(len(pool), -1)
    logs: list[float] = []
    for group in groups:
        found = group.images.reshape(len(group.images), -1)
        others = _nearest(flat, found)
        truth = group.originals.reshape(len(group.originals), -1)
        logs += [
            math.log((1 + int((others <= own).sum())) / (1 + len(others))) for own in _nearest(truth, found)
        ]
    return float(chi2.sf(-2 * sum(logs), 2 * len(logs)))


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


_IMAGES: Final = "how near a reconstruction comes to a client's image, after the best assignment"

_GEIPING: Final = "Geiping et al. 2020"

COLUMNS: Final = (
    Column("analytic", "Analytic", "inversion", "upload", "analytic", analytic, 1.0, False, True,
           "Phong et al. 2018; Geiping et al. 2020, prop. 3.1", f"{_IMAGES}; one division"),
    Column("inverting", "Inverting gradients", "inversion", "upload", "inverting", inverting, 4.0, True, True,
           _GEIPING, _IMAGES),
    Column("idlg", "iDLG", "inversion", "upload", "idlg", smooth, 4.0, True, True,
           "Zhu et al. 2019; Zhao et al. 2020", _IMAGES),
    Column("fedavg", "FedAvg", "inversion", "upload", "fedavg", fedavg, 4.0, True, True,
           "Geiping et al. 2020, unrolled", f"{_IMAGES}; four local steps on four examples"),
    *(Column(f"mean-{n}", f"Through the mean of {n}", "inversion", "sum", "inverting", through_mean(n),
             weight, True, True, _GEIPING, f"{_IMAGES}; from the opened mean")
      for n, weight in ((2, 2.0), (4, 2.0), (8, 3.0), (32, 6.0))),
)  # fmt: skip
