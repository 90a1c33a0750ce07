"""Federated averaging in which the server learns nothing but the sum.

Client, Server        a participant and a coordinator, over gRPC with mutual TLS
simulate              a whole run in one process
Task, Update          what a train function is given, and what it gives back
Plan, Floor           what a run does, and what a client accepts
Credentials           who one is
SecaggError           the root of every error (`secagg.errors`)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from secagg.errors import SecaggError

if TYPE_CHECKING:
    from secagg.client import Client, ClientResult
    from secagg.coordinator import RoundReport
    from secagg.credentials import Credentials
    from secagg.floor import Floor
    from secagg.plan import Plan
    from secagg.server import Server, ServerResult
    from secagg.simulation import SimulationResult, simulate
    from secagg.update import Evaluate, Task, Train, Update

__all__ = [
    "Client",
    "ClientResult",
    "Credentials",
    "Evaluate",
    "Floor",
    "Plan",
    "RoundReport",
    "SecaggError",
    "Server",
    "ServerResult",
    "SimulationResult",
    "Task",
    "Train",
    "Update",
    "simulate",
]

_ROOMS = {
    "Client": "client",
    "ClientResult": "client",
    "Credentials": "credentials",
    "Evaluate": "update",
    "Floor": "floor",
    "Plan": "plan",
    "RoundReport": "coordinator",
    "Server": "server",
    "ServerResult": "server",
    "SimulationResult": "simulation",
    "Task": "update",
    "Train": "update",
    "Update": "update",
    "simulate": "simulation",
}


def __getattr__(name: str) -> Any:
    """Loads a public name's module when it is first asked for, so that importing secagg is quick."""
    if name not in _ROOMS:
        raise AttributeError(f"module 'secagg' has no attribute {name!r}")
    value = getattr(import_module(f"secagg.{_ROOMS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
