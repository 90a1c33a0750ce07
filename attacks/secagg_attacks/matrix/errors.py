"""What a matrix refuses."""

from __future__ import annotations

from secagg.errors import SecaggError

__all__ = ["MatrixError"]


class MatrixError(SecaggError):
    """A table that cannot be made as asked for."""

    exit_code = 2
