"""Who trains on what: pairs of models that share the examples out between them.

Of each pair, one model is trained on a random half of the examples and the other on the rest (Carlini et
al. 2022, section IV). Every example is then in exactly half of the models, so that no example lacks
models with it, or without it, however few models there are.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from secagg_attacks.membership.errors import MembershipError

__all__ = ["complementary_pairs"]


def complementary_pairs(models: int, examples: int, seed: int) -> npt.NDArray[np.bool_]:
    """Which model is trained on which example: bool (models, examples); rows 2 i and 2 i + 1 are a pair.

    The first of a pair has the smaller half where the number of examples is odd. Raises MembershipError
    `models-odd`, `too-few-examples`.
    """
    if models < 2 or models % 2:
        raise MembershipError("models-odd", f"{models} models are no pairs", "an even number, 2 or more")
    if examples < 2:
        raise MembershipError("too-few-examples", f"{examples} examples cannot be shared out", "2 or more")
    ranks = np.random.default_rng(seed).permuted(
        np.broadcast_to(np.arange(examples), (models // 2, examples)), axis=1
    )
    first = ranks < examples // 2
    return np.stack([first, ~first], axis=1).reshape(models, examples)
