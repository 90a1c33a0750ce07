"""What a victim does: its gradient and its local training, by PyTorch's own autograd and SGD."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn


def gradient(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    own = deepcopy(model)
    nn.functional.cross_entropy(own(x), y).backward()
    return {name: parameter.grad for name, parameter in own.named_parameters() if parameter.grad is not None}


def trained(
    model: nn.Module, x: Tensor, y: Tensor, learning_rate: float, batch: int, epochs: int
) -> dict[str, Tensor]:
    """Weights after minus weights before."""
    own = deepcopy(model)
    optimizer = torch.optim.SGD(own.parameters(), lr=learning_rate)
    for _ in range(epochs):
        for at in range(0, len(x), batch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(own(x[at : at + batch]), y[at : at + batch]).backward()
            optimizer.step()
    start = dict(model.named_parameters())
    return {name: value.detach() - start[name].detach() for name, value in own.named_parameters()}


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)
