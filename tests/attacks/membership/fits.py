"""Ways to train a model that a worker process can import."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn


def softmax_regression(x: Tensor, y: Tensor, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Linear(x.shape[1], 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model


def fails(x: Tensor, y: Tensor, seed: int) -> nn.Module:
    raise RuntimeError("out of paper")


def dies(x: Tensor, y: Tensor, seed: int) -> nn.Module:
    os._exit(3)


def gives_nan(x: Tensor, y: Tensor, seed: int) -> nn.Module:
    model = nn.Linear(x.shape[1], 3)
    nn.init.constant_(model.weight, float("nan"))
    return model


def gives_one_column(x: Tensor, y: Tensor, seed: int) -> nn.Module:
    return nn.Flatten(0)
