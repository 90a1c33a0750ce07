"""What a loader of data refuses."""

from __future__ import annotations

from secagg.errors import SecaggError

__all__ = ["DataError"]


class DataError(SecaggError):
    """Data that cannot be had as asked for."""

    exit_code = 2
