"""A model of pictures whose training cannot be repeated, so that the target has no `fit`.

secagg attack inversion --target images:target
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import nn

from secagg_attacks.target import Target


class Reader(nn.Module):
    """Two convolutions and a linear layer: (n, 1, 8, 8) -> (n, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.see = nn.Conv2d(1, 12, 5, stride=2, padding=2)
        self.look = nn.Conv2d(12, 12, 5, padding=2)
        self.read = nn.Linear(12 * 4 * 4, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = torch.sigmoid(self.look(torch.sigmoid(self.see(x))))
        return self.read(seen.flatten(1))


def target() -> Target:
    images, labels = load_digits(return_X_y=True)
    x = (images / 16).reshape(-1, 1, 8, 8)
    torch.manual_seed(0)
    model = Reader().double()
    return Target(model, (x[:320], labels[:320]), (x[320:], labels[320:]), name="digits, sigmoids")
