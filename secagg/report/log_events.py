"""What a report takes from log.jsonl: that a run was simulated, and who held the keys of its attempts.

The log is not synced before its events take effect: what a crash of the machine took from it is missing, and
no fault. But a line about one of these events that says something no server writes is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from secagg.certificates import check_name
from secagg.errors import CredentialsError
from secagg.homomorphic.cohort import DECRYPTORS
from secagg.report.untrusted import content, parsed

__all__ = ["KeysHeld", "LogEvents", "events_in"]

_SIMULATED: Final = "simulated"
"""The event by which a simulation's log says that it is one, and whether its sums were protected."""

_KEYS_HELD: Final = "keys-held"
"""The event that names those who have the secret key of an attempt, the one who made it first."""


@dataclass(frozen=True)
class KeysHeld:
    """The clients that held the secret key of one attempt; the first made it."""

    round: int
    attempt: int
    clients: tuple[str, ...]


@dataclass(frozen=True)
class LogEvents:
    """simulated: played in one process. masked: whether its sums were protected there; True of a real run.

    keys: in the order of the log.
    """

    simulated: bool
    masked: bool
    keys: tuple[KeysHeld, ...]


def events_in(log: Path) -> LogEvents:
    """Those of log.jsonl. Raises OSError, and ValueError for what no server writes."""
    simulations = list(_named(log, _SIMULATED))
    for event in simulations:
        if not isinstance(event.get("masked"), bool):
            raise ValueError(f"{log.name} does not say whether the simulation was masked")
    keys = tuple(_keys_held(event, log.name) for event in _named(log, _KEYS_HELD))
    return LogEvents(bool(simulations), all(event["masked"] for event in simulations[:1]), keys)


def _named(log: Path, name: str) -> Iterator[Mapping[str, Any]]:
    """The log's events of this name. A last line that is not whole is what a crash left."""
    for line in content(log).split(b"\n")[:-1]:
        if f'"{name}"'.encode() not in line:
            continue
        event = parsed(line)
        if isinstance(event, dict) and event.get("event") == name:
            yield event


def _keys_held(event: Mapping[str, Any], where: str) -> KeysHeld:
    round, attempt, clients = (event.get(field) for field in ("round", "attempt", "clients"))
    if type(round) is not int or type(attempt) is not int or min(round, attempt) < 1:
        raise ValueError(f"{where} tells of keys, and of no round and attempt")
    if not isinstance(clients, list) or not 1 <= len(clients) <= DECRYPTORS:
        raise ValueError(f"{where} does not say who held the keys of round {round}")
    try:
        names = tuple(check_name(client) for client in clients if isinstance(client, str))
    except CredentialsError as error:
        raise ValueError(f"{where}, keys of round {round}: {error.message}") from None
    if len(set(names)) < len(clients):
        raise ValueError(f"{where} names who held the keys of round {round}, and not each once")
    return KeysHeld(round, attempt, names)
