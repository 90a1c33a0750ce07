"""Sums to attack: gradients of a batch, and means that real rounds opened."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from secagg_attacks.data.digits import digits
from secagg_attacks.defences import Defence
from secagg_attacks.federation import Federation
from secagg_attacks.local_training import FEDSGD, LocalTraining
from secagg_attacks.target import Target
from secagg_attacks.views import RoundView

SHAPE = (1, 8, 8)
MEMBERS = 400
Floats = npt.NDArray[np.float64]


def images() -> tuple[Floats, npt.NDArray[np.int64]]:
    """Digits as float64 (1797, 1, 8, 8), and their classes."""
    all_of_them = digits()
    return all_of_them.images.astype(np.float64), all_of_them.clean


def gradient_of(model: nn.Module, x: npt.ArrayLike, y: npt.ArrayLike) -> dict[str, Floats]:
    """Of the mean cross-entropy, by parameter."""
    loss = nn.functional.cross_entropy(model(torch.as_tensor(np.asarray(x))), torch.as_tensor(np.asarray(y)))
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters)
    return {name: part.numpy() for name, part in zip(names, found, strict=True)}


def federation(
    model: nn.Module,
    clients: int,
    *,
    per_client: int = 1,
    rounds: int = 1,
    local: LocalTraining = FEDSGD,
    seed: int = 0,
) -> Federation:
    """Digits in the hands of clients; the first 400 are dealt, the rest nobody has."""
    x, y = images()
    target = Target(model, (x[:MEMBERS], y[:MEMBERS]), (x[MEMBERS:], y[MEMBERS:]))
    return Federation(target, clients, rounds, local, per_client, seed)


def opened(of: Federation, kind: str = "masks") -> tuple[RoundView, ...]:
    """Every round as the server saw it, played on the real participants and sessions."""
    return of.observe(Defence(kind)).rounds  # type: ignore[arg-type]
