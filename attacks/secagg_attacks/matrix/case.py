"""One cell before it is played: whose view, which attack, how much of it, and for how long."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy.typing as npt

from secagg_attacks.defences import Defence, Terms
from secagg_attacks.federation import Federation
from secagg_attacks.matrix.config import Scale
from secagg_attacks.matrix.world import World
from secagg_attacks.results import Measurement
from secagg_attacks.views import View

__all__ = ["NEXT_COHORT", "Arrays", "Attack", "Case", "Memory", "Played"]

NEXT_COHORT: Final = 10_007
"""Between the seeds of one table's cohorts, so that tables of neighbouring seeds share none."""

Arrays: TypeAlias = "Mapping[str, npt.NDArray[Any]]"
"""What a cell keeps beside its figure: scores, or images."""

Played: TypeAlias = tuple[Measurement, Arrays]


@dataclass(eq=False)
class Memory:
    """What cells of one table share: views by defence and federation, trained shadows, and an executor for
    what can be trained side by side (None: one after another, here)."""

    views: dict[tuple[Any, ...], View] = field(default_factory=dict)
    kept: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    executor: Executor | None = None

    def view(
        self,
        defence: Defence,
        key: tuple[Any, ...],
        federation: Federation,
        terms: Terms | None = None,
    ) -> View:
        """The run of a federation under a defence, played once for a key. terms: None for its own."""
        whole = (defence.name, *key)
        if whole not in self.views:
            self.views[whole] = federation.observe(defence, terms)
        return self.views[whole]


@dataclass(frozen=True, eq=False)
class Case:
    """seconds: its share; infinite for no limit. on_step: progress, which may end it by raising."""

    world: World
    defence: Defence
    attack: str
    scale: Scale
    seed: int
    memory: Memory
    seconds: float = math.inf
    on_step: Callable[[int, int], None] | None = None

    @property
    def limit(self) -> float | None:
        return self.seconds if math.isfinite(self.seconds) else None

    def not_applicable(self, why: str) -> Played:
        """The cell of an attack that there is no such thing of, and why."""
        return Measurement(self.attack, self.defence.name, "not applicable", self.seed, notes=(why,)), {}


Attack: TypeAlias = Callable[[Case], Played]
