"""What a defence costs the model: accuracy on examples nobody trained on, and the noise's account.

Of a run of its own, that trains as one would: every client has all the examples there are for it, and there
are several rounds. The noise is calibrated to all of them, so that its epsilon is the row's, here and in the
shorter runs that are attacked.
"""

from __future__ import annotations

import time
from typing import Final

import numpy as np
import torch

import secagg.torch
from secagg_attacks.federation import Federation
from secagg_attacks.local_training import BUFFERS
from secagg_attacks.matrix.case import Case
from secagg_attacks.matrix.memberships_asked import local_of, view_of
from secagg_attacks.results import Row
from secagg_attacks.statistics.intervals import wilson

__all__ = ["row_of"]

_ROUNDS: Final = 5
_STEPS: Final = 10
_EXAMPLES: Final = 40
"""Of a client, at most."""


def row_of(case: Case) -> Row:
    """case.on_step may end it, between the clients' trainings. Raises TargetError `federation-examples`, and
    what the run raises."""
    begin = time.monotonic()
    target, clients = case.world.target, case.scale.clients
    local = local_of(case, _STEPS)
    federation = Federation(
        target,
        clients,
        rounds=1 if local.own_fit else _ROUNDS,  # a fit begins anew, and has nothing of the round before
        local=local,
        per_client=min(_EXAMPLES, len(target.members[0]) // clients),
        seed=case.seed,
    )
    view = view_of(case, ("utility", federation.seed), federation)
    model = target.fresh().eval()
    secagg.torch.load(model, view.final, local=BUFFERS if target.buffers == "unknown" else ())
    x, y = target.nonmembers
    with torch.no_grad():
        right = int((model(x).argmax(dim=1) == y).sum())
    interval = wilson(right, len(y))
    account = view.accounts[0] if view.accounts else None
    return Row(
        defence=case.defence.name,
        clients=clients,
        accuracy=right / len(y),
        low=interval.low,
        high=interval.high,
        chance=float(np.bincount(y.numpy()).max() / len(y)),
        unit=account.unit if account else "",
        delta=account.delta if account else None,
        epsilon=account.server if account else None,
        view=view.digest,
        seconds=time.monotonic() - begin,
    )
