"""The models of a run: one safetensors file per kept round, whole or not there at all.

`round-0007.safetensors` holds the weights, and in its header the round's record;
`round-0007.state.safetensors` the server optimiser's state, if it has one. The weights are renamed into place
last, so a round is complete exactly when that file is there. Kept are the first, the last three and every
tenth.

Arrays go to the disk from where they lie, without a copy of the model: only an array that is not contiguous
or not little-endian is copied. (safetensors takes a pointer and a length, and would otherwise write whatever
lies behind the pointer.)
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from secagg.durable import sync_folder, whole_file
from secagg.errors import RunError

__all__ = ["Arrays", "Checkpoints", "kept_rounds", "load_arrays", "save_arrays"]

Arrays = Mapping[str, npt.NDArray[Any]]

_COMPLETE = re.compile(r"round-([0-9]{4,})\.safetensors")
_STATE = re.compile(r"round-([0-9]{4,})\.state\.safetensors")
_RECORD = "secagg"  # the one key of our metadata: safetensors orders several as it likes


def save_arrays(path: Path, arrays: Arrays, record: Mapping[str, object]) -> None:
    """Writes named arrays and a record to `path`, atomically and durably.

    RunError: `run-array` (a dtype or a name that a safetensors file cannot hold), `run-unwritable`.
    """
    plain = {name: _plain(name, array) for name, array in arrays.items()}
    try:
        with whole_file(path) as part:
            save_file(plain, part, metadata={_RECORD: json.dumps(record, sort_keys=True)})
    except (OSError, SafetensorError) as error:
        raise RunError(
            "run-unwritable", f"{path} cannot be written: {error}", "free disk space, then start again"
        ) from None


def load_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The named arrays in `path`, sorted, writable, read without mapping the file. RunError `run-damaged`."""
    try:
        return dict(sorted(load_file(path, backend="pread").items()))
    except (OSError, SafetensorError, KeyError) as error:
        raise _damaged(path, error) from None


class Checkpoints:
    """The `checkpoints` folder of a run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, round: int) -> Path:
        """Where the weights after this round are, or would be; 0 is the initial model."""
        return self.folder / f"round-{round:04d}.safetensors"

    def state_path(self, round: int) -> Path:
        """Where the optimiser's state after this round is, or would be."""
        return self.folder / f"round-{round:04d}.state.safetensors"

    def rounds(self) -> list[int]:
        """The rounds with a complete checkpoint, ascending."""
        return _rounds(self.folder, _COMPLETE)

    def save(self, round: int, weights: Arrays, state: Arrays, record: Mapping[str, object]) -> None:
        """The state first: from the moment the weights are in place the checkpoint is complete."""
        if state:
            save_arrays(self.state_path(round), state, {"round": round})
        save_arrays(self.path(round), weights, record)

    def load(self, round: int) -> tuple[dict[str, npt.NDArray[Any]], dict[str, npt.NDArray[Any]]]:
        """(weights, state); the state is empty where none was saved."""
        state = self.state_path(round)
        return load_arrays(self.path(round)), load_arrays(state) if state.exists() else {}

    def record(self, round: int) -> dict[str, Any]:
        """What `save` was given as the record, from the header alone."""
        path = self.path(round)
        try:
            with safe_open(path, framework="numpy") as file:
                record = json.loads((file.metadata() or {})[_RECORD])
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise _damaged(path, error) from None
        if not isinstance(record, dict):
            raise _damaged(path, TypeError("its record is not a table"))
        return record

    def shapes(self, round: int) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the weights, from the header alone."""
        path = self.path(round)
        try:
            with safe_open(path, framework="numpy") as file:
                return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise _damaged(path, error) from None

    def prune(self) -> None:
        """Removes what is not to be kept; weights before state, so that no checkpoint lacks its state."""
        rounds = self.rounds()
        gone = sorted(set(rounds) - kept_rounds(rounds))
        for round in gone:
            os.unlink(self.path(round))  # noqa: PTH108
            self.state_path(round).unlink(missing_ok=True)
        if gone:
            sync_folder(self.folder)

    def sweep(self) -> None:
        """Removes what a crash left: half-written files, and states whose weights never came."""
        for path in self.folder.glob(".*"):
            path.unlink(missing_ok=True)
        for round in set(_rounds(self.folder, _STATE)) - set(self.rounds()):
            self.state_path(round).unlink(missing_ok=True)
        sync_folder(self.folder)


def kept_rounds(rounds: Iterable[int]) -> set[int]:
    """Of these rounds the first, the last three and every tenth."""
    ordered = sorted(rounds)
    return {*ordered[:1], *ordered[-3:], *(round for round in ordered if round % 10 == 0)}


def _plain(name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if array.dtype.kind not in "biufc" or array.dtype.itemsize > 8:  # so not object, longdouble, complex128
        raise RunError(
            "run-array",
            f"array {name!r} is {array.dtype.name}, which a safetensors file does not hold",
            "booleans, integers and floats of at most 64 bits are fine",
        )
    if name == "__metadata__":
        raise RunError("run-array", "an array cannot be called '__metadata__'", "rename the parameter")
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")


def _rounds(folder: Path, pattern: re.Pattern[str]) -> list[int]:
    return sorted(
        int(match[1]) for match in (pattern.fullmatch(path.name) for path in folder.iterdir()) if match
    )


def _damaged(path: Path, error: Exception) -> RunError:
    return RunError(
        "run-damaged",
        f"{path} cannot be read: {error}",
        "restore the file from a backup, or start a fresh run from an older checkpoint as initial weights",
    )
