"""Calls into a model that somebody else wrote, and what PyTorch cannot do with it.

Attacks differentiate a model twice, or for each example by itself. Some models give logits and train, and
cannot be taken so: flash attention, say, has no second derivative, and some refuse a batch of one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from secagg.errors import SecaggError
from secagg_attacks.target import TargetError

__all__ = ["calling_the_model"]


@contextmanager
def calling_the_model() -> Iterator[None]:
    """Any exception of the model's, or of PyTorch's, becomes TargetError `model-not-attackable`; this
    library's own stay what they are."""
    try:
        yield
    except SecaggError:
        raise
    except Exception as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise TargetError(
            "model-not-attackable",
            f"the model cannot be taken as this attack needs it: {first}",
            "a model that takes a batch of one, and whose parts can all be differentiated twice; of "
            "attention, the plain kernel (torch.nn.attention.sdpa_kernel(SDPBackend.MATH) in its forward)",
        ) from error
