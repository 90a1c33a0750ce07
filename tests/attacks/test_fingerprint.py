"""A target has one digest, and another target another."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

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


def test_the_type_of_the_weights_counts() -> None:
    digests = {
        fingerprint(target(perceptron(dtype=of))) for of in (torch.float32, torch.float64, torch.bfloat16)
    }
    assert len(digests) == 3
