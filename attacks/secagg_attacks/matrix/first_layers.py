"""Attacks that read examples out of a fully connected first layer, as cells: traps, SRATTA, cocktail party.

Each is played on the opened sum of all clients, and again on every client's upload as it reached the server.
Uploads are of several examples each, so that there is something to take apart, and the sum is of the same
run. Clip norms are near the norms there are: clipping scales a client's update as a whole, which no quotient
and no unmixing notices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

import numpy as np

from secagg_attacks.federation import Federation
from secagg_attacks.inversion.errors import InversionError
from secagg_attacks.inversion.through_sum.cocktail import unmix
from secagg_attacks.inversion.through_sum.sratta import Observed, sratta
from secagg_attacks.inversion.through_sum.traps import catch, set_trap
from secagg_attacks.local_training import LocalTraining
from secagg_attacks.matrix.case import Case, Played
from secagg_attacks.matrix.column import Column
from secagg_attacks.matrix.errors import note_of
from secagg_attacks.matrix.examples_found import ALIKE, EXACTLY, Rule, share_found
from secagg_attacks.matrix.inversions import CLIENTS
from secagg_attacks.matrix.norms import clip_norm_for
from secagg_attacks.matrix.pictures import Floats
from secagg_attacks.matrix.reconstructions import POOL, too_few
from secagg_attacks.target import Target
from secagg_attacks.views import View

__all__ = ["COLUMNS", "Reading", "cocktail", "grid_of", "on_sum", "on_uploads", "recovery", "trapped"]

_TRAP_ROWS: Final = 128
_TRAP_EXAMPLES: Final = 4
_SRATTA_EXAMPLES: Final = 2
_SRATTA_ROUNDS: Final = 8
_SRATTA_STEPS: Final = 4
_SRATTA_RATE: Final = 0.5
_SRATTA_ROOM: Final = 4.0
"""Times a single gradient's norm, for local training goes on for several steps."""
_MIXED_EXAMPLES: Final = 2
_GRIDS: Final = (1, 15, 16, 255)
"""Steps from 0 to 1: binary data, 4 bits, counts up to 16, 8 bits."""
_NOT_FOR_THIS: Final = frozenset(
    {"analytic-needs-linear", "model-without-parameters", "examples-invalid", "image-shape"}
)


@dataclass(frozen=True, eq=False)
class Reading:
    """An attack on a run: the federation, the norm its updates are clipped to, and what the attack makes of
    what was seen of each round and of the number of examples behind it: images (k, *shape)."""

    federation: Federation
    clip_norm: float
    read: Callable[[Sequence[Observed], int], Floats]
    rule: Rule
    adversary: Literal["honest-but-curious", "malicious"] = "honest-but-curious"


_Prepare: TypeAlias = Callable[[Case], "Reading | str"]
"""The attack on a case's target, or why there is none."""


def trapped(case: Case) -> Reading | str:
    """Robbing the Fed: the server has put an imprint layer in front of the model."""
    target = case.world.networks["analytic"]
    if (why := too_few(target, CLIENTS * _TRAP_EXAMPLES)) is not None:
        return why
    trap = set_trap(target.model, target.nonmembers[0][:POOL].numpy(), _TRAP_ROWS, case.seed)
    shape = tuple(target.members[0].shape[1:])
    bait = replace(target, model=trap)
    return Reading(
        Federation(bait, CLIENTS, per_client=_TRAP_EXAMPLES, seed=case.seed),
        clip_norm_for(bait, _TRAP_EXAMPLES),
        lambda seen, _: catch(trap, seen[0].update, shape).images,
        EXACTLY,
        "malicious",
    )


def recovery(case: Case) -> Reading | str:
    """SRATTA: rounds of several local steps."""
    target = case.world.networks["analytic"]
    if (why := too_few(target, CLIENTS * _SRATTA_EXAMPLES)) is not None:
        return why
    local = LocalTraining(_SRATTA_STEPS, batch=1, learning_rate=_SRATTA_RATE)
    shape, levels = tuple(target.members[0].shape[1:]), grid_of(target)
    return Reading(
        Federation(target, CLIENTS, _SRATTA_ROUNDS, local, _SRATTA_EXAMPLES, case.seed),
        _SRATTA_ROOM * clip_norm_for(target, _SRATTA_EXAMPLES),
        lambda seen, _: sratta(target.model, seen, shape, levels).images,
        EXACTLY,
    )


def cocktail(case: Case) -> Reading | str:
    """The cocktail party attack: it knows how many examples were mixed."""
    key = ("mixing", case.seed)
    if key not in case.memory.kept:
        case.memory.kept[key] = case.world.mixing()
    target: Target = case.memory.kept[key]
    if target.domain != "image":
        return "the inputs are no images, and only neighbouring pixels tell voices apart here"
    if (why := too_few(target, CLIENTS * _MIXED_EXAMPLES)) is not None:
        return why
    channels, height, width = target.members[0].shape[1:]
    return Reading(
        Federation(target, CLIENTS, per_client=_MIXED_EXAMPLES, seed=case.seed),
        clip_norm_for(target, _MIXED_EXAMPLES),
        lambda seen, examples: (
            unmix(target.model, seen[0].update, (channels, height, width), case.seed, examples).images
        ),
        ALIKE,
    )


def on_sum(prepare: _Prepare) -> Callable[[Case], Played]:
    """The attack on what was opened in each round."""

    def attack(case: Case) -> Played:
        reading = prepare(case)
        if isinstance(reading, str):
            return case.not_applicable(reading)
        view = _run(case, reading)
        seen = [Observed(each.model, each.mean) for each in view.rounds if each.mean is not None]
        if not seen:
            return case.not_applicable("no sum was opened")
        return _played(case, reading, view, [seen])

    return attack


def on_uploads(prepare: _Prepare) -> Callable[[Case], Played]:
    """The attack on each client's uploads, whatever protects them."""

    def attack(case: Case) -> Played:
        reading = prepare(case)
        if isinstance(reading, str):
            return case.not_applicable(reading)
        view = _run(case, reading)
        of_each = [
            [Observed(each.model, each.uploads[name]) for each in view.rounds]
            for name in reading.federation.names
        ]
        return _played(case, reading, view, of_each)

    return attack


def grid_of(target: Target) -> int | None:
    """How many steps the inputs' values have from 0 to 1, judged by the non-members; None: on no grid."""
    known = target.nonmembers[0][:POOL].double().numpy()
    for levels in _GRIDS:
        steps = known * levels
        if float(np.abs(steps - np.rint(steps)).max()) < 1e-3 and known.min() >= 0 and known.max() <= 1:
            return levels
    return None


def _run(case: Case, reading: Reading) -> View:
    terms = replace(reading.federation.terms(), clip_norm=reading.clip_norm)
    key = (case.attack.removesuffix(_UPLOAD), "first layer")
    return case.memory.view(case.defence, key, reading.federation, terms)


def _played(case: Case, reading: Reading, view: View, of_each: Sequence[Sequence[Observed]]) -> Played:
    federation = reading.federation
    x, _ = federation.examples_of()
    images, failed = [np.zeros((0, *x.shape[1:]))], []
    for done, seen in enumerate(of_each):
        try:
            images.append(reading.read(seen, len(x) // len(of_each)))
        except InversionError as error:
            if error.code in _NOT_FOR_THIS:
                return case.not_applicable(note_of(error))
            failed.append(error.code)
        if case.on_step is not None:
            case.on_step(done + 1, len(of_each))
    notes = (f"the attack gave nothing for {len(failed)} of {len(of_each)} ({failed[0]})",) if failed else ()
    return share_found(
        case,
        federation.target,
        x,
        np.concatenate(images),
        reading.rule,
        view.digest,
        replace(view.threat, adversary=reading.adversary),
        notes,
    )


_UPLOAD: Final = "-upload"
_READ: Final = "share of the clients' examples that the server reads"
_ATTACKS: Final = (
    ("traps", "Trap weights", trapped, 0.3, "Fowl et al. 2022", f"{_READ} exactly; it chose the model"),
    ("sratta", "SRATTA", recovery, 1.0, "Marchand et al. 2023", f"{_READ} exactly; eight rounds"),
    ("cocktail", "Cocktail party", cocktail, 0.4, "Kariyappa et al. 2023", f"{_READ}, looks alone"),
)

COLUMNS: Final = (
    *(Column(name, title, "inversion", "sum", name, on_sum(prepare), weight, False, True, source,
             f"{says}; out of the opened sum")
      for name, title, prepare, weight, source, says in _ATTACKS),
    *(Column(f"{name}{_UPLOAD}", f"{title}, one upload", "inversion", "upload", name, on_uploads(prepare),
             weight, False, False, source, f"{says}; out of one client's upload")
      for name, title, prepare, weight, source, says in _ATTACKS),
)  # fmt: skip
