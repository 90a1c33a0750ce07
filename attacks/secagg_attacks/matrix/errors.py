"""What a matrix refuses."""

from __future__ import annotations

from secagg.errors import SecaggError

__all__ = ["MatrixError", "note_of"]


class MatrixError(SecaggError):
    """A table that cannot be made as asked for."""

    exit_code = 2


def note_of(refused: SecaggError) -> str:
    """What a cell says of an attack that was refused: the message, its code and its hint."""
    said = f"{refused.message} [{refused.code}]"
    return f"{said}; hint: {refused.hint}" if refused.hint else said
