"""What a matrix refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from secagg.errors import SecaggError

__all__ = ["MatrixError", "note_of", "written_to"]


class MatrixError(SecaggError):
    """A table that cannot be made as asked for."""

    exit_code = 2


@contextmanager
def written_to(folder: Path) -> Iterator[None]:
    """Within it, what the disk refuses is MatrixError `matrix-out`, of `folder`."""
    try:
        yield
    except OSError as error:
        raise MatrixError(
            "matrix-out",
            f"no table can be written to {folder}: {error.strerror or error}",
            "a folder that can be written to, with room left on its disk, or a new one",
        ) from error


def note_of(refused: SecaggError) -> str:
    """What a cell says of an attack that was refused, on one line: the message, its code and its hint."""
    said = f"{refused.message} [{refused.code}]" + (f"; hint: {refused.hint}" if refused.hint else "")
    return " ".join(said.split())
