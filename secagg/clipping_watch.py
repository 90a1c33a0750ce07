"""Tells the operator when a plan's clip norm cuts most of what clients send.

It changes nothing by itself: a norm that follows the updates is `adaptive_norm`, and costs privacy budget.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from secagg.encoding.codec import CLIPPED_FRACTION

__all__ = ["ClippingWatch"]

_log = logging.getLogger("secagg.server")

_ROUNDS: Final = 3


class ClippingWatch:
    """Counts rounds in a row in which more than half of the clients were clipped."""

    def __init__(self, clip_norm: float) -> None:
        self._clip_norm = clip_norm
        self._rounds = 0

    def after(self, metrics: Mapping[str, float]) -> Mapping[str, float]:
        """What to log after a round with these metrics; empty but in the third such round."""
        fraction = metrics.get(CLIPPED_FRACTION, 0.0)
        self._rounds = self._rounds + 1 if fraction > 0.5 else 0
        if self._rounds != _ROUNDS:
            return {}
        suggested = 2 * self._clip_norm
        _log.warning(
            "more than half of the clients were clipped for three rounds; try clip_norm = %g", suggested
        )
        return {"clipped_fraction": fraction, "clip_norm": self._clip_norm, "suggested": suggested}
