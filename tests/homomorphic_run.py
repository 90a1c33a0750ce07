"""Plans of homomorphic summation for the tests of runs, and who makes the key in one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from secagg.plan import Plan
from tests.scripted_link import ScriptedRun

KINDS: Final = ("bfv", "ckks")
HONEST: Final = {"colluders": 0.0, "adversary": "semi-honest"}
RECOMPUTED: Final = {"colluders": 0.0, "adversary": "malicious"}
PRECISION: Final = 1e-5


def a_plan(kind: str, rounds: int = 1, *, recompute: bool = False, **changes: Mapping[str, Any]) -> Plan:
    """Five clients of whom three must stay. `kind` may be "masks" as well, for the same plan under masks.

    Such a plan assumes a server that keeps to the protocol; with `recompute`, one that may lie.
    """
    tables: dict[str, Any] = {
        "run": {"name": "ciphertexts", "rounds": rounds},
        "cohort": {"max_clients": 5, **(RECOMPUTED if recompute else HONEST)},
        "encoding": {"precision": PRECISION},
        "protection": {"kind": kind, **({"recompute": True} if recompute else {})},
    }
    for name, table in changes.items():
        tables[name] = {**tables.get(name, {}), **table}
    return Plan(**tables)


def key_holders(run: ScriptedRun, attempt: int = 1) -> list[str]:
    """Who held the key of an attempt of the first round, as the log has it."""
    (line,) = (line for line in run.log("keys-held") if (line["round"], line["attempt"]) == (1, attempt))
    clients: list[str] = line["clients"]
    return clients
