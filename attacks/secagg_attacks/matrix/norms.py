"""A clip norm such as a plan for a target would have: near the norms there are.

The steps that sums are rounded to are a share of the clip norm under CKKS, and attacks that divide small
numbers by small numbers feel them. A plan with a clip norm of a hundred times what updates measure would
blur them, and its table would praise the encryption for it.
"""

from __future__ import annotations

import math
from typing import Final

import torch

from secagg_attacks.model_calls import calling_the_model
from secagg_attacks.target import Target

__all__ = ["clip_norm_for"]

_ROOM: Final = 2.0
_LEAST: Final = 1e-3


def clip_norm_for(target: Target, examples: int) -> float:
    """Twice the L2 norm of the mean gradient of so many non-members, in eval mode; 1e-3 at the least.

    Raises TargetError `model-not-attackable`.
    """
    model = target.fresh().eval()
    x, y = (part[:examples] for part in target.nonmembers)
    with calling_the_model():
        parameters = [each for each in model.parameters() if each.requires_grad]
        slopes = torch.autograd.grad(target.loss(model(x), y), parameters, materialize_grads=True)
    norm = math.sqrt(sum(float((slope.double() ** 2).sum()) for slope in slopes))
    return max(_ROOM * norm, _LEAST)
