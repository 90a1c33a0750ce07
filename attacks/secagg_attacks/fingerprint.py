"""One digest for a target, so that a table begun on one model is not gone on with on another.

It is of what is attacked: weights, buffers, the kinds and the settings of modules, both data sets, the
target's settings, and the arguments of a `functools.partial`. It is not of code: two forward methods of one
class, or two functions of one name, give the same digest, and so does what a function closes over.
"""

from __future__ import annotations

import hashlib
import re
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from secagg_attacks.target import Target

__all__ = ["fingerprint"]

_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")
_PLAIN: Final = (bool, int, float, complex, str, bytes, tuple, list, type(None), torch.dtype, torch.Size)


def fingerprint(target: Target) -> str:
    """SHA-256, in hex; of each tensor its name, dtype, shape and bytes. The same in another process."""
    parts = (
        _said(target.model),
        _said(target.loss),
        _said(target.fit),
        (target.learning_rate, target.domain, target.buffers, target.classes),
        [_said(part) for part in (*target.members, *target.nonmembers)],
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _said(what: object) -> object:
    """What tells one thing from another: values whose repr is the same in every process."""
    match what:
        case partial():
            of = {name: _said(value) for name, value in sorted(what.keywords.items())}
            return "partial", _said(what.func), [_said(each) for each in what.args], of
        case Tensor():
            plain = what.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            return str(what.dtype), tuple(what.shape), hashlib.sha256(plain.numpy().tobytes()).hexdigest()
        case np.ndarray() if not what.dtype.hasobject:
            return str(what.dtype), what.shape, hashlib.sha256(what.tobytes()).hexdigest()
        case nn.Module():
            return _said_of_module(what)
        case _ if hasattr(what, "__qualname__"):
            return _named(what)
        case _:
            return _named(type(what)), _ADDRESS.sub("", repr(what))


def _said_of_module(model: nn.Module) -> object:
    """Settings are what a module prints, and its plain attributes: not every layer prints all of them."""
    return (
        _ADDRESS.sub("", repr(model)),
        [(name, _named(type(part)), _settings(part)) for name, part in model.named_modules()],
        [(name, value.requires_grad, _said(value)) for name, value in model.named_parameters()],
        [(name, _said(value)) for name, value in model.named_buffers()],
    )


def _settings(part: nn.Module) -> list[tuple[str, Any]]:
    own = vars(part).items()
    return sorted(
        (name, _said(value)) for name, value in own if not name.startswith("_") and isinstance(value, _PLAIN)
    )


def _named(what: object) -> str:
    return f"{getattr(what, '__module__', '')}.{getattr(what, '__qualname__', '')}"
