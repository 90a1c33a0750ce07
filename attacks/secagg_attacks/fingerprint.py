"""One digest for a target, so that a table begun on one model is not gone on with on another.

It is of what is attacked: weights, buffers, the kinds of modules, both data sets, and the target's settings.
It is not of code: two forward methods of one class, or two losses of one name, give the same digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor

from secagg_attacks.target import Target

__all__ = ["fingerprint"]


def fingerprint(target: Target) -> str:
    """SHA-256, in hex; of each tensor its name, dtype, shape and bytes."""
    digest = hashlib.sha256(repr(_settings(target)).encode())
    for name, tensor in _tensors(target):
        digest.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        plain = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(plain.numpy().tobytes())
    return digest.hexdigest()


def _settings(target: Target) -> tuple[object, ...]:
    modules = tuple((name, _named(type(part)), part.training) for name, part in target.model.named_modules())
    trained = tuple(name for name, value in target.model.named_parameters() if value.requires_grad)
    code = tuple(
        _named(part if hasattr(part, "__qualname__") else type(part)) for part in (target.loss, target.fit)
    )
    return modules, trained, code, target.learning_rate, target.domain, target.buffers, target.classes


def _named(what: object) -> str:
    return f"{getattr(what, '__module__', '')}.{getattr(what, '__qualname__', '')}"


def _tensors(target: Target) -> Iterator[tuple[str, Tensor]]:
    yield from ((f"parameter {name}", value) for name, value in target.model.named_parameters())
    yield from ((f"buffer {name}", value) for name, value in target.model.named_buffers())
    for name, (x, y) in (("members", target.members), ("nonmembers", target.nonmembers)):
        yield f"{name} x", x
        yield f"{name} y", y
