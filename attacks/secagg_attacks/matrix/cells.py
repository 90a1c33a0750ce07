"""A cell on the disk, written whole as soon as it is played: what a table goes on from."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

from secagg.durable import write_whole
from secagg_attacks.matrix.case import Arrays, Played
from secagg_attacks.matrix.config import Config
from secagg_attacks.matrix.errors import written_to
from secagg_attacks.results import Row, as_json, from_document

__all__ = ["cell_path", "read_cell", "read_row", "write_arrays", "write_cell", "write_row"]


def cell_path(folder: Path, config: Config, defence: str, attack: str) -> Path:
    """OUT/cells/<digest>.json, the digest of the config, the defence and the attack."""
    name = hashlib.sha256(f"{config.digest} {defence} {attack}".encode()).hexdigest()[:32]
    return folder / "cells" / f"{name}.json"


def write_cell(path: Path, played: Played) -> None:
    """The arrays first: where the JSON is, both are. Raises MatrixError `matrix-out`: a full disk, say."""
    measurement, arrays = played
    data = write_arrays(arrays)
    document = {**asdict(measurement), "arrays": hashlib.sha256(data).hexdigest()}
    with written_to(path.parent):
        write_whole(path.with_suffix(".npz"), data)
        write_whole(path, as_json(document).encode())


def read_cell(path: Path) -> Played | None:
    """None where there is no such cell, or it is not whole: then it is played again."""
    try:
        document = json.loads(path.read_bytes())
        data = path.with_suffix(".npz").read_bytes()
        if hashlib.sha256(data).hexdigest() != document.pop("arrays"):
            return None
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        return from_document(document), arrays
    except (OSError, ValueError, TypeError, KeyError, AttributeError, zipfile.BadZipFile):
        return None


def write_row(path: Path, row: Row) -> None:
    """What a defence costs, beside its cells. Raises MatrixError `matrix-out`."""
    with written_to(path.parent):
        write_whole(path, as_json(row).encode())


def read_row(path: Path) -> Row | None:
    """None where there is none, or it is not whole."""
    try:
        document = json.loads(path.read_bytes())
        return Row(**{**document, "notes": tuple(document["notes"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_arrays(arrays: Arrays) -> bytes:
    """An npz file of arrays by name, without pickle."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: np.asarray(array) for name, array in arrays.items()})  # type: ignore[arg-type]
    return buffer.getvalue()
