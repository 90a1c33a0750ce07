"""A clinic's own table and model as a target: 30 numbers of a breast mass, benign or malignant.

secagg attack membership --target tabular:target
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from torch import nn

from secagg_attacks.target import Target

MEMBERS = 160
MISLABELLED = 0.2


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 2))


def fit(x: torch.Tensor, y: torch.Tensor, seed: int) -> nn.Module:
    """A model trained anew, as the clinic trains it."""
    model = network(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(200):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model


def target() -> Target:
    x, y = load_breast_cancer(return_X_y=True)
    x = ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float32)
    random = np.random.default_rng(0)
    # Clean labels are learned, and hardly anything is remembered; wrong ones are what there is to find.
    y = np.where(random.random(len(y)) < MISLABELLED, 1 - y, y)
    order = random.permutation(len(y))
    members, others = order[:MEMBERS], order[MEMBERS:]
    return Target(
        network(0),
        (x[members], y[members]),
        (x[others], y[others]),
        fit=fit,
        domain="tabular",
        name="breast masses",
    )
