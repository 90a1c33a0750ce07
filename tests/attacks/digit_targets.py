"""Targets on scikit-learn's digits, small enough that a whole run takes a second."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from secagg_attacks.data.digits import digits
from secagg_attacks.target import Target

MEMBERS = 100
OTHERS = slice(800, 1400)


def perceptron(hidden: int = 32, dtype: torch.dtype = torch.float64) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10)).to(dtype)


def normalised() -> nn.Module:
    """A network with BatchNorm."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Linear(16, 10))


def target(model: nn.Module | None = None, **changes: Any) -> Target:
    """A fifth of the labels are wrong: those are remembered, and not learned."""
    data = digits(flipped=0.2, seed=1)
    parts: dict[str, Any] = {
        "train_xy": (data.images[:MEMBERS], data.y[:MEMBERS]),
        "nonmember_xy": (data.images[OTHERS], data.y[OTHERS]),
    }
    return Target(perceptron() if model is None else model, **{**parts, **changes})
