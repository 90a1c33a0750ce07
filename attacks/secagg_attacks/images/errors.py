"""What a measure of images refuses."""

from __future__ import annotations

from secagg.errors import SecaggError

__all__ = ["ImagesError"]


class ImagesError(SecaggError):
    """Images that cannot be compared; the hint says what is expected."""

    exit_code = 2
