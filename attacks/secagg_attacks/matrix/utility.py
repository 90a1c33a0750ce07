"""What a defence costs the model: accuracy on examples nobody trained on, and the noise's account."""

from __future__ import annotations

import time

import numpy as np
import torch

import secagg.torch
from secagg_attacks.local_training import BUFFERS
from secagg_attacks.matrix.case import Case
from secagg_attacks.matrix.memberships import federation_of
from secagg_attacks.results import Row
from secagg_attacks.statistics.intervals import wilson

__all__ = ["row_of"]


def row_of(case: Case) -> Row:
    """Of the run that the membership attacks are made on."""
    begin = time.monotonic()
    federation = federation_of(case)
    view = case.memory.view(case.defence, ("membership",), federation)
    target = federation.target
    model = target.fresh().eval()
    secagg.torch.load(model, view.final, local=BUFFERS if target.buffers == "unknown" else ())
    x, y = target.nonmembers
    with torch.no_grad():
        right = int((model(x).argmax(dim=1) == y).sum())
    interval = wilson(right, len(y))
    account = view.accounts[0] if view.accounts else None
    return Row(
        defence=case.defence.name,
        clients=federation.clients,
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
