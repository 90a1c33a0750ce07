"""Calls into a model that somebody else wrote, and what PyTorch cannot do with it.

Attacks differentiate a model twice, or for each example by itself. Some models give logits and train, and
cannot be taken so: flash attention, say, has no second derivative.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from secagg_attacks.target import TargetError

__all__ = ["calling_the_model"]


@contextmanager
def calling_the_model() -> Iterator[None]:
    """RuntimeError of PyTorch, NotImplementedError among them, becomes TargetError `model-not-attackable`."""
    try:
        yield
    except RuntimeError as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise TargetError(
            "model-not-attackable",
            f"PyTorch cannot do with this model what the attack needs: {first}",
            "a model whose parts can all be differentiated twice; of attention, the plain kernel "
            "(torch.nn.attention.sdpa_kernel(SDPBackend.MATH) within its forward)",
        ) from error
