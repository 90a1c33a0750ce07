"""attacks.json of a run directory: what an attack harness measured on this plan, read as anybody's file.

The file is optional, and this library does not write it (`secagg_attacks` does). Its form is strict: every
name is there, no other is, and numbers are within what they can mean. What it says is believed as far as a
measurement can be: it is shown with its digest, and nothing proven is computed from it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from secagg.report.untrusted import content, parsed

__all__ = ["ASSUMPTIONS", "ATTACKS", "FORMAT", "VERDICTS", "AttackRecord", "read_attacks"]

ATTACKS: Final = "attacks.json"
FORMAT: Final = 1
"""The version of the file's form."""

VERDICTS: Final = ("at chance", "partial", "leaks", "not shown", "not applicable", "not run")
ASSUMPTIONS: Final = ("fair-coins", "independence", "gaussian", "gaussian-scores")
"""What a lower bound needs to be one, the weakest first."""

_MOST: Final = 1000
_LONGEST: Final = 120
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")

Table = Mapping[str, Any]


@dataclass(frozen=True)
class AttackRecord:
    """plan: the digest, in hex, of the plan that was attacked. findings, bounds: as in the file.

    digest: SHA-256 of the file, in hex.
    """

    plan: str
    findings: tuple[Table, ...]
    bounds: tuple[Table, ...]
    digest: str


def read_attacks(folder: Path) -> AttackRecord | None:
    """What `folder` has; None where it has none. Raises OSError, and ValueError for what is no such file."""
    path = folder / ATTACKS
    if not path.exists():
        return None
    data = content(path)
    whole = _table(parsed(data), ATTACKS, _WHOLE)
    findings = tuple(
        _table(one, f"{ATTACKS}, findings[{place}]", _FINDING) for place, one in enumerate(whole["findings"])
    )
    bounds = tuple(
        _table(one, f"{ATTACKS}, bounds[{place}]", _BOUND) for place, one in enumerate(whole["bounds"])
    )
    return AttackRecord(whole["plan"], findings, bounds, hashlib.sha256(data).hexdigest())


def _table(value: Any, where: str, fields: Mapping[str, Callable[[Any], bool]]) -> Table:
    if not isinstance(value, dict):
        raise ValueError(f"{where} is no object")
    for name in sorted(value.keys() ^ fields.keys()):
        raise ValueError(f"{where}: '{name}' is {'missing' if name in fields else 'no part of it'}")
    for name, fits in fields.items():
        if not fits(value[name]):
            raise ValueError(f"{where}: '{name}' is not what it can be")
    return value


def _words(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST and value.isprintable()


def _digest(value: Any) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _measured(value: Any) -> bool:
    return value is None or _number(value)


def _many(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= _MOST


def _count(least: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and value >= least


_WHOLE: Final[Mapping[str, Callable[[Any], bool]]] = {
    "format": lambda value: type(value) is int and value == FORMAT,
    "plan": _digest,
    "findings": _many,
    "bounds": _many,
}
_FINDING: Final[Mapping[str, Callable[[Any], bool]]] = {
    "attack": _words,
    "view": _digest,
    "figure": _words,
    "value": _measured,
    "low": _measured,
    "high": _measured,
    "n": _count(0),
    "chance": _measured,
    "verdict": VERDICTS.__contains__,
}
_BOUND: Final[Mapping[str, Callable[[Any], bool]]] = {
    "unit": ("client", "example").__contains__,
    "method": _words,
    "view": _digest,
    "epsilon": lambda value: _number(value) and value >= 0,
    "delta": lambda value: _number(value) and 0 <= value < 1,
    "confidence": lambda value: _number(value) and 0.5 <= value < 1,
    "trials": _count(1),
    "assumes": ASSUMPTIONS.__contains__,
}
