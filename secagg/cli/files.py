"""The model files that commands read and write."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from secagg.cli.targets import CommandError
from secagg.durable import whole_file
from secagg.errors import EncodingError, RunError, UpdateError
from secagg.plan import Plan
from secagg.protections import Assignment
from secagg.weights import Array, Weights, load, save

__all__ = ["FIRST_MODEL", "closed_rounds", "initial_weights", "newest_model", "nothing_opened", "write_model"]

FIRST_MODEL: Final = "round-0000"
_HOW_TO_WRITE_ONE: Final = "safetensors.numpy.save_file({name: array, ...}, path) writes one"


def initial_weights(path: Path, plan: Plan) -> Weights:
    """The arrays of a safetensors file, which `plan` can aggregate. Raises CommandError, the codec's code."""
    try:
        weights = load(path)
        Assignment.of(plan, weights, bytes(16), 1)
    except (UpdateError, EncodingError) as error:
        raise CommandError(error.code, f"{path}: {error.message}", error.hint or _HOW_TO_WRITE_ONE) from None
    except OSError as error:
        raise CommandError("weights-unreadable", f"{path} cannot be read: {error.strerror}") from None
    return weights


def write_model(path: Path, weights: Mapping[str, Array]) -> None:
    """Writes the final model, whole or not at all. Raises RunError `model-unwritable`."""
    try:
        with whole_file(path) as part:
            save(part, weights)
    except OSError as error:
        raise RunError(
            "model-unwritable", f"{path} cannot be written: {error.strerror or error}", "see to the disk"
        ) from None


def nothing_opened(rounds: int) -> RunError:
    """For a run that came to its end with the model it began with."""
    return RunError(
        "run-without-sum",
        f"the run is over, and none of its {rounds} rounds ended with a new model",
        "the log says who was late and at which stage",
    )


def closed_rounds(run_dir: Path) -> int:
    """How many rounds of a run directory are over, with or without a new model."""
    path = run_dir / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return int(json.loads(lines[-1])["round"]) if lines else 0


def newest_model(run_dir: Path) -> Path:
    """The newest model in a run directory."""
    return max((run_dir / "checkpoints").glob("round-[0-9]*[0-9].safetensors"))
