"""A target's inputs as pictures, so that all reconstructions are measured alike.

An image is its own picture. Of tabular data a picture is one row of pixels, a feature each, scaled so that 0
and 1 are the least and the largest value that the feature has among the target's non-members: decibels then
say how small an error is beside the feature's range.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from secagg_attacks.target import Target

__all__ = ["Floats", "Pictures"]

Floats: TypeAlias = npt.NDArray[np.float64]

_BEYOND: Final = 1.0
"""How far a feature may lie outside of the range that was seen, in units of it."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """low, span: of each feature, (features,); None for images."""

    low: Floats | None
    span: Floats | None

    @classmethod
    def of(cls, target: Target) -> Pictures:
        if target.domain == "image":
            return cls(None, None)
        known = _rows(target.nonmembers[0].numpy())
        low = known.min(axis=0)
        span = known.max(axis=0) - low
        return cls(low, np.where(span > 0, span, 1.0))

    def drawn(self, inputs: npt.NDArray[Any]) -> Floats:
        """Inputs (n, ...) as float64 (n, channels, height, width)."""
        if self.low is None or self.span is None:
            return inputs.astype(np.float64)
        return ((_rows(inputs) - self.low) / self.span)[:, None, None, :]

    def clipped(self, inputs: npt.NDArray[Any]) -> Floats:
        """What an attack gave, drawn, with what cannot be an input brought back into its range."""
        beyond = 0.0 if self.low is None else _BEYOND
        drawn = self.drawn(np.asarray(inputs))
        return np.clip(np.nan_to_num(drawn, nan=0.5), -beyond, 1 + beyond)


def _rows(inputs: npt.NDArray[Any]) -> Floats:
    return inputs.reshape(len(inputs), math.prod(inputs.shape[1:])).astype(np.float64)
