"""`secagg attack inversion | membership | audit | matrix`: four choices of columns for one table."""

from __future__ import annotations

import click

from secagg_attacks.cli.of_run import with_run
from secagg_attacks.cli.table import table
from secagg_attacks.matrix.attacks import COLUMNS

__all__ = ["attack"]


def _of(family: str) -> tuple[str, ...]:
    return tuple(name for name, column in COLUMNS.items() if column.family == family)


@click.group(
    epilog="Exit codes: 0 done, 2 wrong usage, 5 an audit's lower bound beats the accounted epsilon, and "
    "those of secagg itself."
)
def attack() -> None:
    """What a curious party can still learn, measured on what it saw of real runs."""


attack.add_command(
    table("inversion", _of("inversion"), "Which images, fed to the model, give what was seen?")
)
attack.add_command(table("membership", _of("membership"), "Was this example trained on?"))
attack.add_command(
    with_run(table("audit", _of("audit"), "Canary clients: a lower bound on epsilon, beside its account."))
)
attack.add_command(
    table("matrix", tuple(COLUMNS), "Every attack on what the server saw under every defence.")
)
