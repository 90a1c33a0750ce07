"""`secagg attack audit --run RUN`: the plan of a run audited, for its privacy report, in place of a table."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from secagg.cli.interrupts import stoppable
from secagg.report import beaten, document, read
from secagg.report.attacks import cautions
from secagg.report.figures import bound, left
from secagg_attacks.cli.saying import bar
from secagg_attacks.matrix.play import Progress
from secagg_attacks.report.run_record import audit_run

__all__ = ["with_run"]

_KEPT: Final = ("run", "seed", "as_json")


def with_run(command: click.Command) -> click.Command:
    """The same command with the option --run; of a table's options, --seed and --json go with it."""
    table = command.callback
    command.params.insert(
        0,
        click.Option(
            ["--run"],
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            help="Instead of a table: audit the plan of this run directory with canaries for its clients, "
            "its examples or both, as it has noise for, in about a minute each, and write RUN/attacks.json, "
            "which secagg report RUN shows.",
        ),
    )

    @click.pass_context
    def either(ctx: click.Context, /, run: Path | None, **of_table: Any) -> None:
        if run is None:
            if table is not None:
                ctx.invoke(table, **of_table)
            return
        for name in of_table:
            if name not in _KEPT and ctx.get_parameter_source(name) is not ParameterSource.DEFAULT:
                raise click.UsageError("--run goes with --seed and --json alone")
        _audit(run, of_table["seed"], as_json=of_table["as_json"])

    command.callback = either
    return command


def _audit(run: Path, seed: int, *, as_json: bool) -> None:
    """Raises BeatenAccountError `account-beaten` (exit code 5), once all is said; and as `audit_run`."""
    with stoppable(lambda: f"{run / 'attacks.json'} is as it was"), bar() as shown:
        on_step = None if shown is None else partial(_show, shown)
        audited = audit_run(run, seed, on_step)
    made = document(read(run))
    bounds = made["attacks"]["bounds"]
    if as_json:
        click.echo(json.dumps({"event": "audited", "played": audited.about, "bounds": bounds}))
    else:
        for about in audited.about:
            click.echo(f"played: {about}")
        for one in bounds:
            click.echo(
                f"epsilon of one {one['unit']}: at least {left(one['epsilon'])} by measurement "
                f"({one['method']}, {100 * one['confidence']:.4g} %, {one['trials']} canaries), at most "
                f"{bound(one['accounted'])} by account"
            )
        for caution in cautions(made["attacks"]):
            click.echo(caution)
        click.echo(f"{run / 'attacks.json'} is written; secagg report {run} shows it")
    if (above := beaten(made)) is not None:
        raise above


def _show(shown: Progress, about: str, done: int, most: int) -> None:
    shown(about, "", done, most)
