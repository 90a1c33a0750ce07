"""`secagg attack inversion | membership | audit | matrix`: four choices of columns for one table.

Each is imported when it is called: torch takes seconds, and they are part of the budget, which begins here.
"""

from __future__ import annotations

from typing import Final

import click

from secagg.cli.group import Lazy, LazyGroup
from secagg.errors import MissingExtraError
from secagg_attacks.begun import Begun

__all__ = ["BEGUN", "SUMMARIES", "attack"]

BEGUN: Final = "secagg_attacks.begun"
"""In a context's meta: the Begun of the command."""


class _Room(Lazy):
    def load(self) -> object:
        try:
            return super().load()
        except ModuleNotFoundError as missing:
            raise MissingExtraError(missing.name or self.name, "attacks") from missing


class _Timed(LazyGroup):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[BEGUN] = Begun.now()
        return super().parse_args(ctx, args)


SUMMARIES: Final = {
    "inversion": "Which inputs, fed to the model, give what was seen?",
    "membership": "Was this example trained on?",
    "audit": "Canary clients and examples: a lower bound on epsilon, beside its account.",
    "matrix": "Every attack on what the server saw under every defence.",
}


@click.group(
    cls=_Timed,
    lazy=[_Room(name, "secagg_attacks.cli.commands", says) for name, says in SUMMARIES.items()],
    epilog="Exit codes: 0 the table is played, whatever it found, as far as its budget went; 1 a function of "
    "the user's own raised; 2 wrong usage, or a folder that cannot be written to; 5 a lower bound of an "
    "audit is above the accounted epsilon, at 99.9 % confidence; 130 or 143 interrupted.",
)
def attack() -> None:
    """What a curious party can still learn, measured on what it saw of real runs."""
