"""What a table is made of, written beside it: the same config gives the same table, and goes on with it.

The scale of the attacks follows from the budget, so that it is written down and not a matter of how fast a
machine is. What time does take from an attack, its cell says.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from secagg.durable import write_whole
from secagg_attacks.matrix.errors import MatrixError, written_to
from secagg_attacks.results import as_json

__all__ = [
    "FORMAT",
    "MOST_SEED",
    "QUICK",
    "THOROUGH",
    "Config",
    "Scale",
    "begin",
    "check_budget",
    "check_seed",
    "is_quick",
    "scale_for",
    "versions",
]

FORMAT: Final = "secagg-matrix/1"
MOST_SEED: Final = 2**31 - 1
"""Seeds of cohorts and clients are made of it, and of all of them PyTorch, NumPy and a plan take 64 bits."""
_FILE: Final = "config.json"
_QUICK_BELOW: Final = 300.0


@dataclass(frozen=True)
class Scale:
    """How much every attack does, if its time is enough.

    images: uploads that each inversion attacks. steps: of signed Adam. iterations, restarts: of L-BFGS.
    cohorts: runs that membership is asked of, of clients with per_client examples each and local_steps steps;
    candidates: non-members beside their members. deals: how often shadow clients share all examples out.
    canaries: of the audit.
    """

    images: int
    steps: int
    iterations: int
    restarts: int
    cohorts: int = 3
    clients: int = 8
    per_client: int = 8
    local_steps: int = 20
    candidates: int = 400
    deals: int = 3
    canaries: int = 40


QUICK: Final = Scale(images=4, steps=300, iterations=200, restarts=1)
THOROUGH: Final = Scale(images=8, steps=1500, iterations=800, restarts=2, cohorts=5, deals=6, canaries=100)


def scale_for(budget: float | None) -> Scale:
    """QUICK below five minutes."""
    return QUICK if is_quick(budget) else THOROUGH


def is_quick(budget: float | None) -> bool:
    """Whether a table has less than five minutes."""
    return budget is not None and budget < _QUICK_BELOW


@dataclass(frozen=True)
class Config:
    """seed: of everything but keys, masks, ciphertexts and DP-SGD's noise, which are the operating system's;
    the noise on whole clients follows it. target: its name. budget: seconds; None: as long as it takes.
    target_digest: `fingerprint` of the target. source: MODULE:FUNCTION that gave it, empty where that is not
    known. Raises MatrixError `matrix-budget`."""

    seed: int
    target: str
    budget: float | None
    defences: tuple[str, ...]
    attacks: tuple[str, ...]
    scale: Scale
    versions: tuple[tuple[str, str], ...]
    target_digest: str
    source: str = ""

    def __post_init__(self) -> None:
        check_budget(self.budget)

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of all but the budget: what is found does not depend on what was left."""
        document = {name: value for name, value in asdict(self).items() if name != "budget"}
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def check_seed(seed: int) -> None:
    """Raises MatrixError `matrix-seed`."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MOST_SEED:
        raise MatrixError("matrix-seed", f"a seed of {seed!r}", f"a whole number from 0 to {MOST_SEED}")


def check_budget(budget: float | None) -> None:
    """Raises MatrixError `matrix-budget`."""
    if not _is_budget(budget):
        raise MatrixError("matrix-budget", f"a budget of {budget!r} s", "more than 0 seconds: 60s, say")


def _is_budget(given: object) -> bool:
    number = isinstance(given, int | float) and not isinstance(given, bool)
    return given is None or (number and 0 < given <= sys.float_info.max)  # type: ignore[operator] # a number by now


def versions() -> tuple[tuple[str, str], ...]:
    """Of what computes the figures."""
    named = ("secagg", "torch", "numpy", "scipy", "opacus")
    return (("python", platform.python_version()), *((name, version(name)) for name in named))


def begin(config: Config, folder: Path) -> bool:
    """Writes OUT/config.json, or finds the same config there; True if that had a smaller budget, so that what
    it cut short can be done better now.

    Raises MatrixError `matrix-other-config`, `matrix-out`.
    """
    with written_to(folder):
        return _begun(config, folder)


def _begun(config: Config, folder: Path) -> bool:
    path = folder / _FILE
    (folder / "cells").mkdir(parents=True, exist_ok=True)
    written = {"format": FORMAT, "digest": config.digest, **asdict(config)}
    had: float | None = config.budget
    if path.exists():
        other = "it cannot be read"
        try:
            before = json.loads(path.read_bytes())
            same, had = before["digest"] == config.digest, before["budget"]
            other = f"another {', another '.join(_differing(before, config)) or 'digest'}"
            if not _is_budget(had):
                same, other = False, "its budget is no time"
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            same = False
        if not same:
            raise MatrixError(
                "matrix-other-config",
                f"{path} is of another table: {other}",
                "another --out, or the target and options it was begun with",
            )
    write_whole(path, as_json(written).encode())
    return had is not None and (config.budget is None or config.budget > had)


def _differing(before: Mapping[str, Any], config: Config) -> tuple[str, ...]:
    """Names of what a written config has otherwise, or lacks."""
    now = json.loads(as_json(config))
    return tuple(name for name in now if name != "budget" and before.get(name) != now[name])
