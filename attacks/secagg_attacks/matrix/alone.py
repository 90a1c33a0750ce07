"""One table in a folder at a time: two commands that wrote the same cells would take each other's away."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from secagg_attacks.matrix.errors import MatrixError, written_to

__all__ = ["alone_in"]


@contextmanager
def alone_in(folder: Path | None) -> Iterator[None]:
    """Holds the folder, made if there is none, for as long as the context lasts; None: no folder.

    Raises MatrixError `matrix-in-use`, `matrix-out`.
    """
    if folder is None:
        yield
        return
    with written_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise MatrixError(
                "matrix-in-use",
                f"another command plays a table into {folder}",
                "wait for it, or another --out",
            ) from error
        yield
    finally:
        os.close(held)
