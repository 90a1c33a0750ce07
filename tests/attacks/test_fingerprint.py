"""A target has one digest, and another target another."""

from __future__ import annotations

import subprocess
import sys
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from secagg_attacks.fingerprint import fingerprint
from tests.attacks.digit_targets import normalised, perceptron, target


def changed(part: str) -> Any:
    """A target that differs from `known` in one part."""
    known = target(normalised(), buffers="known")
    model = deepcopy(known.model)
    x, y = known.members
    if part == "a weight":
        with torch.no_grad():
            next(model.parameters()).view(-1)[0] += 1e-6
    elif part == "a buffer":
        next(model.buffers()).view(-1)[0] += 1
    elif part == "mode":
        model.eval()
    elif part == "the kind of a module":
        model = nn.Sequential(*model[:3], nn.Identity(), *model[3:])
    elif part == "members":
        x = x.flip(0)
    return target(
        model,
        buffers="unknown" if part == "buffers mode" else "known",
        train_xy=(x, y.flip(0) if part == "labels" else y),
        loss=nn.functional.multi_margin_loss if part == "loss" else nn.functional.cross_entropy,
        learning_rate=0.1 if part == "learning rate" else 0.5,
        fit=(lambda x, y, seed: model) if part == "fit" else None,
    )


def test_the_same_target_made_again_has_the_same_digest() -> None:
    assert fingerprint(changed("nothing")) == fingerprint(changed("nothing"))


@pytest.mark.parametrize(
    "part",
    [
        "a weight",
        "a buffer",
        "mode",
        "the kind of a module",
        "members",
        "labels",
        "buffers mode",
        "loss",
        "learning rate",
        "fit",
    ],
)
def test_a_target_that_differs_in_one_part_has_another_digest(part: str) -> None:
    assert fingerprint(changed(part)) != fingerprint(changed("nothing"))


class Scaled(nn.Module):
    """Settings of a module that does not print them."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.act = nn.functional.relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(x) * self.scale


def trained(
    x: torch.Tensor, y: torch.Tensor, seed: int, *, rate: float = 0.1, start: Any = None
) -> nn.Module:
    return perceptron()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"model": nn.Dropout(0.1)}, {"model": nn.Dropout(0.5)}),
        ({"model": nn.ZeroPad1d(0)}, {"model": nn.ConstantPad1d(0, 1.0)}),
        ({"model": Scaled(1.0)}, {"model": Scaled(2.0)}),
        ({"fit": partial(trained, rate=0.1)}, {"fit": partial(trained, rate=0.2)}),
        ({"fit": partial(trained, start=np.zeros(2000))}, {"fit": partial(trained, start=np.eye(2000, 1))}),
        ({"fit": partial(trained, start=torch.zeros(9))}, {"fit": partial(trained, start=torch.ones(9))}),
        ({"fit": trained}, {"fit": partial(trained)}),
        ({"loss": nn.CrossEntropyLoss()}, {"loss": nn.CrossEntropyLoss(label_smoothing=0.1)}),
        ({"loss": nn.CrossEntropyLoss(torch.ones(10).double())}, {"loss": nn.CrossEntropyLoss()}),
    ],
    ids=["dropout", "padding", "unprinted", "rate", "array", "tensor", "partial", "smoothing", "weights"],
)
def test_settings_of_modules_and_arguments_of_partials_count(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert digest_with(one) == digest_with(deepcopy(one))
    assert digest_with(one) != digest_with(other)


def digest_with(part: dict[str, Any]) -> str:
    return fingerprint(
        target(**{**part, "model": nn.Sequential(perceptron(), part["model"])} if "model" in part else part)
    )


def test_another_process_gives_the_same_digest() -> None:
    code = (
        "from functools import partial\n"
        "from tests.attacks.test_fingerprint import Scaled, digest_with, trained\n"
        "print(digest_with({'model': Scaled(1.0), 'fit': partial(trained, rate=0.2)}))"
    )
    here = digest_with({"model": Scaled(1.0), "fit": partial(trained, rate=0.2)})
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here


def test_the_type_of_the_weights_counts() -> None:
    digests = {fingerprint(target(perceptron(dtype=of))) for of in (torch.float32, torch.float64)}
    assert len(digests) == 2
