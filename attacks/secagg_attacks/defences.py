"""What a run is defended by, under names that a table's rows have.

A defence is what is chosen; `Terms` are what all defences of one table share. Together they are a
`secagg.Plan`, checked whole. The server alone is assumed to attack (no colluders), and nobody to vanish, so
that noise is calibrated to the clients there are and its account is as tight as it gets.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias, get_args

import secagg
from secagg.errors import SecaggError

__all__ = ["DEFENCES", "NONE", "Defence", "DefenceError", "Kind", "Terms", "defence"]

Kind: TypeAlias = Literal["none", "masks", "bfv", "ckks"]

_EPSILON: Final = r"([0-9]+(?:\.[0-9]+)?)"
_NAME: Final = re.compile(f"(none|masks|bfv|ckks)(?:-client-{_EPSILON})?(?:-example-{_EPSILON})?")
_STEPS: Final = 2.0**24
"""Rounding steps of a clip norm, at most, where integers are summed under noise or in floating point."""


class DefenceError(SecaggError):
    """A defence that there is not."""

    exit_code = 2


@dataclass(frozen=True)
class Terms:
    """What the defences of one table have in common.

    clients: in every round. rounds, local_steps: of the run; local_steps of one client, over all rounds.
    clip_norm: L2 norm of an update without client-level noise; the default clips nothing of a small model, so
    that what an attack misses is the defence's doing. noised_clip_norm: the same under that noise, which
    grows with it. precision: largest rounding step; coarser with CKKS and under client-level noise, which
    allow 2^24 steps. delta: of (epsilon, delta). max_grad_norm: each example's, in DP-SGD. min_survivors:
    None: all clients. local: name patterns of arrays that stay with a client. seed: written into the plan.
    """

    clients: int
    rounds: int = 1
    local_steps: int = 1
    clip_norm: float = 1000.0
    noised_clip_norm: float = 1.0
    precision: float = 1e-9
    delta: float = 1e-5
    max_grad_norm: float = 1.0
    min_survivors: int | None = None
    local: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Defence:
    """A protection, and the noise beside it.

    client_epsilon: of noise on whole updates, added by the clients, for all rounds together. example_epsilon:
    of DP-SGD within each client, for the run. None: no such noise.
    """

    kind: Kind
    client_epsilon: float | None = None
    example_epsilon: float | None = None

    @property
    def name(self) -> str:
        """ "masks-client-8": the protection, then each noise with its epsilon, every digit of it."""
        client, example = self.client_epsilon, self.example_epsilon
        return (
            self.kind
            + ("" if client is None else f"-client-{_plainly(client)}")
            + ("" if example is None else f"-example-{_plainly(example)}")
        )

    @property
    def noised(self) -> bool:
        """Whether there is noise of either unit."""
        return self.client_epsilon is not None or self.example_epsilon is not None

    def plan(self, terms: Terms) -> secagg.Plan:
        """Raises PlanError, with every reason why there is no such run."""
        exact = self.client_epsilon is None
        norm = terms.clip_norm if exact else terms.noised_clip_norm
        coarse = self.kind == "ckks" or not exact
        tables: dict[str, Any] = {
            "run": {"name": self.name, "rounds": terms.rounds},
            "cohort": {
                "max_clients": terms.clients,
                "min_survivors": terms.min_survivors or terms.clients,
                "colluders": 0.0,
                "dropouts": 0.0,
                "adversary": "semi-honest" if self.kind in ("bfv", "ckks") else "malicious",
            },
            "training": {"seed": terms.seed, "local": list(terms.local)},
            "encoding": {
                "clip_norm": norm,
                "precision": max(terms.precision, norm / _STEPS) if coarse else terms.precision,
            },
            "protection": {"kind": self.kind},
            "privacy": self._privacy(terms),
        }
        return secagg.Plan(**tables)

    def _privacy(self, terms: Terms) -> dict[str, Any]:
        example = {
            "epsilon": self.example_epsilon,
            "delta": terms.delta,
            "local_steps": terms.local_steps,
            "max_grad_norm": terms.max_grad_norm,
        }
        if self.client_epsilon is None:
            return {"unit": "none"} if self.example_epsilon is None else {"unit": "example", **example}
        client = {
            "unit": "client",
            "placement": "distributed",
            "epsilon": self.client_epsilon,
            "delta": terms.delta,
        }
        return client if self.example_epsilon is None else {**client, "example": example}


def defence(name: str) -> Defence:
    """The defence of a name: one of DEFENCES, or the same with any other epsilon.

    Raises DefenceError `defence-unknown`.
    """
    found = _NAME.fullmatch(name)
    if found is not None:
        epsilons = [None if text is None else float(text) for text in found.groups()[1:]]
        kind = next(each for each in get_args(Kind) if each == found[1])
        if all(epsilon is None or 0 < epsilon < math.inf for epsilon in epsilons):
            return Defence(kind, *epsilons)
    raise DefenceError(
        "defence-unknown",
        f"no defence is called {name!r}",
        f"one of {', '.join(DEFENCES)}; with another epsilon: masks-client-2.5",
    )


def _plainly(epsilon: float) -> str:
    """Its shortest digits that give it back, without an exponent."""
    return format(Decimal(repr(float(epsilon))), "f").removesuffix(".0")


NONE: Final = Defence("none")
"""The unprotected run, which every attack must win before "at chance" elsewhere means anything."""

DEFENCES: Final[Mapping[str, Defence]] = MappingProxyType(
    {
        each.name: each
        for each in (
            NONE,
            Defence("masks"),
            Defence("masks", client_epsilon=50.0),
            Defence("masks", client_epsilon=8.0),
            Defence("masks", client_epsilon=1.0),
            Defence("bfv"),
            Defence("ckks"),
            Defence("none", example_epsilon=8.0),
            Defence("masks", example_epsilon=8.0),
        )
    }
)
"""The rows of a matrix, by name."""
