"""What a gradient inversion refuses."""

from __future__ import annotations

from secagg.errors import SecaggError

__all__ = ["InversionError"]


class InversionError(SecaggError):
    """A gradient, a model or a request that an attack can make nothing of; the hint says what would do."""

    exit_code = 2
