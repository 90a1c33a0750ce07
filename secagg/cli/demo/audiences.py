"""Whom the demo speaks to: a terminal, a file or a pipe, or, with `--json`, nobody until the end."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table

from secagg.cli.demo.federation import Round
from secagg.cli.demo.setting import NAMES

__all__ = ["Baselines", "Lines", "Nobody", "Terminal", "percent"]


@dataclass(frozen=True)
class Baselines:
    """What federation is compared with, after as many epochs as each round has.

    pooled: accuracy of the model trained on all examples together. alone: the mean over the clients, each
    training on its own examples only.
    """

    pooled: tuple[float, ...]
    alone: tuple[float, ...]


class Nobody:
    """Says nothing."""

    def rounds(self) -> AbstractContextManager[object]:
        return nullcontext()

    def say(self, sentence: str) -> None:
        """Unheard."""

    def closed(self, round: Round) -> None:
        """Unseen."""


class Lines:
    """Plain lines on standard output."""

    def __init__(self, baselines: Baselines) -> None:
        self._baselines: Final = baselines

    def rounds(self) -> AbstractContextManager[object]:
        return nullcontext()

    def say(self, sentence: str) -> None:
        click.echo(sentence)

    def closed(self, round: Round) -> None:
        at = round.round - 1
        click.echo(
            f"round {round.round:2d}: {round.survivors} of {len(NAMES)} in the sum; accuracy: "
            f"federated {percent(round.accuracy)}, pooled {percent(self._baselines.pooled[at])}, "
            f"alone {percent(self._baselines.alone[at])}"
        )


class Terminal:
    """A table that grows round by round, sentences above it."""

    def __init__(self, baselines: Baselines, console: Console) -> None:
        self._baselines: Final = baselines
        self._console: Final = console
        self._table: Final = Table(title="Accuracy on the common test set", title_justify="left")
        for heading in ("round", "in the sum", "federated", "pooled data", "client alone"):
            self._table.add_column(heading, justify="right")

    def rounds(self) -> AbstractContextManager[object]:
        return Live(self._table, console=self._console, refresh_per_second=8)

    def say(self, sentence: str) -> None:
        self._console.print(sentence, highlight=False, markup=False)

    def closed(self, round: Round) -> None:
        at, whole = round.round - 1, round.survivors == len(NAMES)
        self._table.add_row(
            str(round.round),
            f"{round.survivors} of {len(NAMES)}",
            percent(round.accuracy),
            percent(self._baselines.pooled[at]),
            percent(self._baselines.alone[at]),
            style="" if whole else "yellow",
        )


def percent(accuracy: float | None) -> str:
    return "-" if accuracy is None else f"{100 * accuracy:.1f} %"
