"""What a run directory says, read as a third party reads it: files alone, nothing locked, nothing changed.

The ledger is opened read-only, so that this may be done while the run goes on. Nothing is believed here that
can be recomputed: epsilon is computed from the ledger's rows (`spending`), and what the rows should be, from
the plan (`verification`).
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from secagg.errors import RunError, UpdateError
from secagg.plan import Plan
from secagg.report.attack_record import AttackRecord, read_attacks
from secagg.report.ledger_rows import Attempt, Row, read_ledger
from secagg.report.log_events import KeysHeld, events_in
from secagg.report.untrusted import content, parsed, shown
from secagg.run_file import RunFile
from secagg.weights import Layout

__all__ = ["Attempt", "Row", "RunRecord", "layout_in", "read"]


@dataclass(frozen=True)
class RunRecord:
    """Everything in a run directory that a report is made of.

    closed: how each round ended, as the ledger keeps it; outcomes: its number and outcome, as the ledger's
    columns have them beside that record. metrics: metrics.jsonl as it is. layout: of the model. simulated:
    played in one process. protected: its sums were, as the plan asks; False where the plan asks for nothing,
    and of a simulation without cryptography. keys: who held those of homomorphic summation, by log.jsonl.
    attacks: what attacks.json says was measured; None where there is none.
    """

    path: Path
    about: RunFile
    plan: Plan
    attempts: tuple[Attempt, ...]
    rows: tuple[Row, ...]
    closed: tuple[Mapping[str, Any], ...]
    outcomes: tuple[tuple[int, str], ...]
    metrics: bytes
    layout: Layout
    simulated: bool
    protected: bool
    keys: tuple[KeysHeld, ...]
    attacks: AttackRecord | None

    @property
    def encrypted(self) -> bool:
        """Whether its sums were homomorphic: some clients held keys."""
        return self.protected and self.plan.protection.homomorphic

    @property
    def opened(self) -> dict[int, Attempt]:
        """Round -> its attempt that was opened, in order; whatever became of the round afterwards."""
        return {attempt.round: attempt for attempt in self.attempts if attempt.state == "opened"}

    @property
    def spent(self) -> tuple[Row, ...]:
        """The rows that count: those of opened attempts."""
        opened = {(attempt.round, attempt.attempt) for attempt in self.attempts if attempt.state == "opened"}
        return tuple(row for row in self.rows if (row.use.round, row.use.attempt) in opened)


def read(path: str | Path) -> RunRecord:
    """The run in this directory, finished or not.

    Raises RunError `run-missing`, `run-damaged`, `run-unsettled` and `run-locked` of its ledger, or
    `run-other-plan` where the plan is not the one that the run began with; PlanError; PrivacyError for a row
    that describes no mechanism.
    """
    path = Path(path)
    if not (path / "run.json").is_file():
        raise RunError("run-missing", f"{path} holds no run", "a run directory has a run.json")
    about = RunFile.read(path)
    try:
        plan = Plan.load(path / "plan.toml")
        if plan.digest.hex() != about.plan_digest:
            raise RunError(
                "run-other-plan",
                f"{path / 'plan.toml'} is not the plan that the run began with: its digest is "
                f"{plan.digest.hex()}, and run.json has {about.plan_digest}",
                "put that plan back; if nobody changed it, use the version of secagg that began the run",
            )
        metrics = content(path / "metrics.jsonl")
        events = events_in(path / "log.jsonl")  # before the ledger, which has every attempt first
        ledger = read_ledger(path / "ledger.sqlite")
        return RunRecord(
            path,
            about,
            plan,
            ledger.attempts,
            ledger.rows,
            ledger.closed,
            ledger.outcomes,
            metrics,
            layout_in(_newest_model(path / "checkpoints"), plan.training.local),
            events.simulated,
            events.masked and plan.protection.kind != "none",
            events.keys,
            read_attacks(path),
        )
    except (OSError, sqlite3.DatabaseError, ValueError, UpdateError) as error:
        raise RunError(
            "run-damaged", f"{path} cannot be read: {shown(str(error))}", "restore it from a backup"
        ) from None


def layout_in(path: Path, local: tuple[str, ...]) -> Layout:
    """The layout of the model in a safetensors file, from its header: however large the model is.

    Raises OSError, ValueError; UpdateError `weights-empty`.
    """
    header, held = _header(path)
    arrays = {
        name: _placeholder(name, entry, held) for name, entry in header.items() if name != "__metadata__"
    }
    return Layout.of(arrays, local)


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """What the file says that it holds, and how many bytes of arrays there are."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise ValueError(f"{path.name} is not a safetensors document")
        header = parsed(file.read(length))
    if not isinstance(header, dict):
        raise ValueError(f"{path.name} is not a safetensors document")
    return header, size - 8 - length


def _placeholder(name: str, entry: Any, held: int) -> np.ndarray[Any, Any]:
    """An array of the shape that the header gives, without its contents, which have to be in the file."""
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(begin), int(end)]}:
            if all(type(side) is int and side >= 0 for side in shape) and 0 <= begin <= end <= held:
                kind = np.dtype(_DTYPES.get(dtype, "i1"))
                if dtype not in _DTYPES or math.prod(shape) * kind.itemsize == end - begin:
                    return np.broadcast_to(np.zeros((), kind), shape)
    raise ValueError(f"the header of the newest model says of '{name}' what cannot be")


_DTYPES: Final = {"F16": "f2", "F32": "f4", "F64": "f8"}
"""Of all others only that they are not averaged matters."""


def _newest_model(folder: Path) -> Path:
    models = sorted(folder.glob("round-[0-9]*[0-9].safetensors"))
    if not models:
        raise FileNotFoundError(f"{folder} holds no model")
    return models[-1]
