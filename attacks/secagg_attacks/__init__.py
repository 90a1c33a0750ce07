"""What a curious party can still learn, measured on what it saw in a real run of secagg.

run_matrix        every attack on what the server saw under every defence
run_inversion     the columns of a kind alone
run_membership
run_audit
Target            what is attacked
Outcome           the table: findings with figures, intervals, chance levels, verdicts

Each is loaded when it is first asked for: this package is quick to import, and torch is not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from secagg_attacks.api import run_audit, run_inversion, run_matrix, run_membership
    from secagg_attacks.matrix.play import Outcome
    from secagg_attacks.target import Target

__all__ = ["Outcome", "Target", "run_audit", "run_inversion", "run_matrix", "run_membership"]

_ROOMS = {
    "Outcome": "matrix.play",
    "Target": "target",
    "run_audit": "api",
    "run_inversion": "api",
    "run_matrix": "api",
    "run_membership": "api",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'secagg_attacks' has no attribute '{name}'")
    return getattr(import_module(f"secagg_attacks.{_ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
