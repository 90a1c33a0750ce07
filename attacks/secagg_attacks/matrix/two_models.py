"""Two models in one round as a cell: what a malicious server that silences all but one client gets to see.

Pasquini, Francati, Ateniese 2022. Without protection the sum is the victim's own update. Under masks and
ciphertexts nothing may be opened: keys are bound to the model that each client was given. A cell of value 0
there names the code that the clients refused with.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from typing import Final

import numpy as np
import torch

from secagg.weights import Weights
from secagg_attacks.federation import Federation
from secagg_attacks.inversion.errors import InversionError
from secagg_attacks.inversion.through_sum.inconsistent import play, silenced, victims_input
from secagg_attacks.matrix.case import Case, Played
from secagg_attacks.matrix.column import Column
from secagg_attacks.matrix.errors import note_of
from secagg_attacks.matrix.examples_found import EXACTLY, share_found
from secagg_attacks.matrix.inversions import CLIENTS
from secagg_attacks.matrix.norms import clip_norm_for
from secagg_attacks.matrix.reconstructions import too_few
from secagg_attacks.views import ThreatModel

__all__ = ["COLUMNS", "MET", "against", "two_models"]

_VICTIMS: Final = 4
MET: Final = replace(EXACTLY, wins_at=0.5)
"""An attack on chosen victims has every one of them, or none: few are enough to tell."""
_ACCEPTED: Final = "roster-accepted"


def two_models(case: Case) -> Played:
    """Each of a few clients is the victim of a round of its own; the server tells each what it expects."""
    target = case.world.networks["analytic"]
    if (why := too_few(target, CLIENTS)) is not None:
        return case.not_applicable(why)
    federation = Federation(target, CLIENTS, per_client=1, seed=case.seed)
    try:
        silent = silenced(target.model, federation.initial, tuple(target.members[0].shape[1:]))
    except InversionError as error:
        return case.not_applicable(note_of(error))
    return against(case, federation, silent)


def against(case: Case, federation: Federation, silent: Weights) -> Played:
    """The cell of a server that hands `silent` to all but the victim.

    A client that goes on with a roster signed under another model than its own would have its sum opened:
    its example counts as found, whatever else is seen, and the note says so.
    """
    target = federation.target
    shape = tuple(target.members[0].shape[1:])
    plan = case.defence.plan(replace(federation.terms(), clip_norm=clip_norm_for(target, 1)))
    victims = federation.names[: min(_VICTIMS, case.scale.images)]
    heard = hashlib.sha256()
    images, codes, accepted = [np.zeros((0, *shape))], Counter[str](), 0
    for done, victim in enumerate(victims):
        try:
            ended = play(plan, federation.initial, silent, federation.trains(), victim)
            heard.update(ended.transcript.encode())
            if ended.blocked:
                codes[f"blocked: {ended.code}"] += 1
            else:
                images.append(victims_input(target.model, ended, shape)[None])
        except InversionError as error:
            accepted += error.code == _ACCEPTED
            codes[f"FAILURE: {error.code}" if error.code == _ACCEPTED else error.code] += 1
        if case.on_step is not None:
            case.on_step(done + 1, len(victims))
    x = torch.cat([federation.examples_of(victim)[0] for victim in victims])
    notes = tuple(f"{said}, {count} of {len(victims)} victims" for said, count in sorted(codes.items()))
    threat = ThreatModel(adversary="malicious", buffers=target.buffers)
    return share_found(
        case, target, x, np.concatenate(images), MET, heard.hexdigest(), threat, notes, conceded=accepted
    )


COLUMNS: Final = (
    Column("two-models", "Inconsistent models", "inversion", "run", "two-models", two_models, 0.3, False,
           True, "Pasquini, Francati, Ateniese 2022",
           "share of victims whose example a server with two models reads exactly; must be blocked"),
)  # fmt: skip
