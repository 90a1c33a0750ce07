"""A view as a value: what its holder saw, what they knew beside it, and of which transcript it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy.typing as npt

from secagg.errors import SecaggError

__all__ = ["Account", "Arrays", "RoundView", "ThreatModel", "View", "ViewError"]

Arrays: TypeAlias = Mapping[str, npt.NDArray[Any]]
"""Array name -> array, as a model's weights are."""


class ViewError(SecaggError):
    """A view that cannot be made, read, or asked for what is not in it."""

    exit_code = 2


@dataclass(frozen=True)
class ThreatModel:
    """Who the holder of a view is, and what they know beside it; part of every result.

    adversary: "malicious" chose the model that clients were given. labels: of the examples attacked. buffers:
    BatchNorm's running statistics. local_steps: how a client trained.
    """

    holder: str = "server"
    adversary: Literal["honest-but-curious", "malicious"] = "honest-but-curious"
    labels: Literal["known", "recovered"] = "recovered"
    buffers: Literal["none", "known", "unknown"] = "none"
    local_steps: Literal["known", "unknown"] = "known"


@dataclass(frozen=True)
class Account:
    """What the whole run spent, by its own ledger, at `delta`. unit: "client" or "example".

    server, colluders: epsilon against the server alone, and against it with the plan's colluders.
    """

    unit: str
    delta: float
    server: float
    colluders: float


@dataclass(frozen=True, eq=False, repr=False)
class RoundView:
    """One round.

    model: the global weights it began with. uploads: of each client, what reached the server last, read as an
    update of the model's arrays: the update itself without protection; a masked vector as the update that its
    ring elements would be without masks; the numbers of a ciphertext, scaled to the norm of the largest
    update there may be. mean: what the server was given to move the model by, noise included; None where no
    sum was opened. cohort: who is in the sum, sorted; empty where none was opened.
    """

    round: int
    model: Arrays
    uploads: Mapping[str, Arrays]
    mean: Arrays | None
    cohort: tuple[str, ...]


@dataclass(frozen=True, eq=False, repr=False)
class View:
    """A run as its holder saw it.

    protection: the plan's. plan: its digest, in hex. divisor: what a sum is divided by for a mean; None: by
    the number of clients in it. final: the weights at the end. accounts: empty without noise. digest: SHA-256
    over every frame, in the order in which they came, in hex.
    """

    protection: str
    plan: str
    divisor: float | None
    rounds: tuple[RoundView, ...]
    final: Arrays
    threat: ThreatModel
    accounts: tuple[Account, ...]
    digest: str

    @property
    def noised(self) -> bool:
        """Whether the run had noise of either unit."""
        return bool(self.accounts)

    @property
    def clients(self) -> tuple[str, ...]:
        """Everyone that uploaded anything, sorted."""
        return tuple(sorted({name for each in self.rounds for name in each.uploads}))

    def __repr__(self) -> str:
        return f"View({self.protection!r}, {len(self.rounds)} rounds, {self.digest[:12]})"
