"""Inversion of uploads as cells: each client's upload, whatever protects it, is taken for its update."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from secagg_attacks.federation import Federation
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
from secagg_attacks.matrix.reconstructions import LEAKS_DB, Invert, measured, reconstructed, too_few
from secagg_attacks.target import Target
from secagg_attacks.views import Arrays

__all__ = [
    "ANALYTIC_DB",
    "CLIENTS",
    "COLUMNS",
    "LEAST_SECONDS",
    "SMOOTH_DB",
    "analytic",
    "analytically",
    "by_search",
    "fedavg",
    "inverting",
    "smooth",
]

ANALYTIC_DB: Final = 100.0
"""A mean squared error of 1e-10."""
SMOOTH_DB: Final = 40.0
"""1e-4."""
CLIENTS: Final = 8
LEAST_SECONDS: Final = 1e-3

_FEDAVG: Final = LocalTraining(steps=4, batch=None, learning_rate=0.1)
_FEDAVG_EXAMPLES: Final = 4
_TOTAL_VARIATION: Final = 1e-3
"""For images of 8x8; 1e-2 suits 32x32."""
_FEWEST_PIXELS: Final = 16


def analytic(case: Case) -> Played:
    """One division for each upload: the input of a fully connected first layer."""
    return _on_uploads(case, "analytic", analytically, ANALYTIC_DB)


def smooth(case: Case) -> Played:
    """iDLG on each upload: L-BFGS from several starts."""
    scale = case.scale

    def invert(
        target: Target, seen: Arrays, shape: tuple[int, ...], seed: int, seconds: float | None
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
    return _on_uploads(case, "convolutional", by_search(case), LEAKS_DB)


def fedavg(case: Case) -> Played:
    """Unrolled local training: each upload is of four steps on four examples, at rate 0.1."""
    training = LocalSteps(_FEDAVG.learning_rate, _FEDAVG_EXAMPLES, _FEDAVG_EXAMPLES, _FEDAVG.steps)

    def invert(
        target: Target, seen: Arrays, shape: tuple[int, ...], seed: int, seconds: float | None
    ) -> Reconstruction:
        return fedavg_inversion(
            target.model,
            seen,
            shape,
            training,
            seed=seed,
            recipe=_recipe(case, target),
            loss=target.loss,
            seconds=seconds,
        )

    fewer = replace(case, scale=replace(case.scale, images=max(1, case.scale.images // _FEDAVG_EXAMPLES)))
    return _on_uploads(fewer, "convolutional", invert, LEAKS_DB, _FEDAVG, _FEDAVG_EXAMPLES)


def analytically(
    target: Target, seen: Arrays, shape: tuple[int, ...], seed: int, _: float | None
) -> Reconstruction:
    """`analytic_linear` on the update of one step of rate 1."""
    return analytic_linear(target.model, gradient_of_step(seen, 1.0), shape, seed=seed, loss=target.loss)


def by_search(case: Case) -> Invert:
    """Inverting gradients, as the case's scale and the target's inputs have it."""

    def invert(
        target: Target, seen: Arrays, shape: tuple[int, ...], seed: int, seconds: float | None
    ) -> Reconstruction:
        return inverting_gradients(
            target.model,
            gradient_of_step(seen, 1.0),
            shape,
            seed=seed,
            recipe=_recipe(case, target),
            loss=target.loss,
            seconds=seconds,
        )

    return invert


def _recipe(case: Case, target: Target) -> Descent:
    """Tabular data are no smoother in one order of features than in another, and lie in no box of 0 to 1."""
    steps = case.scale.steps
    if target.domain != "image":
        known = target.nonmembers[0]
        return Descent(steps, total_variation=0.0, box=(float(known.min()), float(known.max())))
    large = min(target.members[0].shape[2:]) >= _FEWEST_PIXELS
    return Descent(steps, total_variation=1e-2 if large else _TOTAL_VARIATION)


def _on_uploads(
    case: Case,
    network: str,
    invert: Invert,
    must_reach: float,
    local: LocalTraining = FEDSGD,
    per_client: int = 1,
) -> Played:
    target = case.world.networks[network]
    if (why := too_few(target, CLIENTS * per_client)) is not None:
        return case.not_applicable(why)
    federation = Federation(target, CLIENTS, local=local, per_client=per_client, seed=case.seed)
    view = case.memory.view(case.defence, (network, CLIENTS, per_client, local), federation)
    names = federation.names[: case.scale.images]
    each = None if case.limit is None else max(case.limit / len(names), LEAST_SECONDS)
    groups = []
    for done, name in enumerate(names):
        x, y = federation.examples_of(name)
        seen = view.rounds[0].uploads[name]
        try:
            groups.append(reconstructed(target, seen, x.numpy(), y.numpy(), case.seed + done, each, invert))
        except InversionError as error:
            return case.not_applicable(note_of(error))
        if case.on_step is not None:
            case.on_step(done + 1, len(names))
    return measured(case, groups, target, must_reach, view.digest, view.threat)


_IMAGES: Final = "how near a reconstruction comes to a client's example, after the best assignment"

COLUMNS: Final = (
    Column("analytic", "Analytic", "inversion", "upload", "analytic", analytic, 0.3, False, True,
           "Phong et al. 2018; Geiping et al. 2020, prop. 3.1", f"{_IMAGES}; one division"),
    Column("inverting", "Inverting gradients", "inversion", "upload", "inverting", inverting, 4.0, True, True,
           "Geiping et al. 2020", _IMAGES),
    Column("idlg", "iDLG", "inversion", "upload", "idlg", smooth, 4.0, True, True,
           "Zhu et al. 2019; Zhao et al. 2020", _IMAGES),
    Column("fedavg", "FedAvg", "inversion", "upload", "fedavg", fedavg, 4.0, True, True,
           "Geiping et al. 2020, unrolled", f"{_IMAGES}; four local steps on four examples"),
)  # fmt: skip
