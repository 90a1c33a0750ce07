"""Bytes between the server and a client, and how long the fields are that differ from client to client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["CERTIFICATE", "NAME", "SIGNATURE", "Exchange"]

NAME: Final = 12
CERTIFICATE: Final = 424
SIGNATURE: Final = 71
"""Usual lengths: of a client's name, its certificate (P-256, DER) and an ECDSA signature."""


@dataclass(frozen=True)
class Exchange:
    """Bytes between the server and one client in one stage."""

    down: int
    up: int
