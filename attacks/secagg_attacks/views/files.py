"""A view in a folder: `view.json` says what it is, `arrays.npz` holds every array. No pickle.

In the JSON an array is its number in the other file, whose digest stands there too, so that the two cannot be
of different views. The names of arrays and clients are in the JSON only, and may be anything.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from secagg.durable import write_whole
from secagg_attacks.views.view import Account, Arrays, RoundView, ThreatModel, View, ViewError

__all__ = ["load", "save"]

_FORMAT: Final = "secagg-view/1"
_JSON: Final = "view.json"
_ARRAYS: Final = "arrays.npz"

_Stored = list[npt.NDArray[Any]]


def save(view: View, folder: str | Path) -> None:
    """Writes both files into `folder`, which is made if need be; what was there is replaced."""
    stored: _Stored = []
    document = {
        "format": _FORMAT,
        "protection": view.protection,
        "plan": view.plan,
        "divisor": view.divisor,
        "rounds": [_round_out(each, stored) for each in view.rounds],
        "final": _out(view.final, stored),
        "threat": asdict(view.threat),
        "accounts": [
            [each.unit, each.delta, *(None if of == math.inf else of for of in (each.server, each.colluders))]
            for each in view.accounts
        ],
        "digest": view.digest,
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, *stored)
    document["arrays"] = hashlib.sha256(buffer.getvalue()).hexdigest()
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    write_whole(path / _ARRAYS, buffer.getvalue())
    write_whole(
        path / _JSON, (json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
    )


def load(folder: str | Path) -> View:
    """The view that `save` wrote. Raises ViewError `view-missing`, `view-malformed`."""
    path = Path(folder)
    try:
        text, packed = (path / _JSON).read_text(), (path / _ARRAYS).read_bytes()
    except OSError as error:
        raise ViewError(
            "view-missing", f"{error.filename} cannot be read", "the folder that a view was saved in"
        ) from error
    try:
        document = json.loads(text)
        if document["format"] != _FORMAT or document["arrays"] != hashlib.sha256(packed).hexdigest():
            raise ValueError(document["format"])
        with np.load(io.BytesIO(packed), allow_pickle=False) as held:
            stored = [held[f"arr_{at}"] for at in range(len(held.files))]
        return _view(document, stored)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, zipfile.BadZipFile) as error:
        raise ViewError(
            "view-malformed",
            f"{path} does not hold a whole view of format {_FORMAT}",
            "both files as they were saved, of one view",
        ) from error


def _out(arrays: Arrays, stored: _Stored) -> dict[str, int]:
    first = len(stored)
    stored += arrays.values()
    return {name: first + at for at, name in enumerate(arrays)}


def _round_out(each: RoundView, stored: _Stored) -> dict[str, Any]:
    return {
        "round": each.round,
        "model": _out(each.model, stored),
        "uploads": {name: _out(upload, stored) for name, upload in each.uploads.items()},
        "mean": None if each.mean is None else _out(each.mean, stored),
        "cohort": list(each.cohort),
    }


def _view(document: dict[str, Any], stored: _Stored) -> View:
    def arrays(numbers: dict[str, int]) -> Arrays:
        return {name: stored[at] for name, at in numbers.items()}

    return View(
        protection=document["protection"],
        plan=document["plan"],
        divisor=document["divisor"],
        rounds=tuple(
            RoundView(
                each["round"],
                arrays(each["model"]),
                {name: arrays(upload) for name, upload in each["uploads"].items()},
                None if each["mean"] is None else arrays(each["mean"]),
                tuple(each["cohort"]),
            )
            for each in document["rounds"]
        ),
        final=arrays(document["final"]),
        threat=ThreatModel(**document["threat"]),
        accounts=tuple(
            Account(unit, delta, *(math.inf if of is None else of for of in (server, colluders)))
            for unit, delta, server, colluders in document["accounts"]
        ),
        digest=document["digest"],
    )
