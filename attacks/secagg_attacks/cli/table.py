"""One command: the options, a bar, the table as text or JSON, and the exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Final

import click

from secagg.cli.options import PATH, function_option, json_option, seconds, verbose_option
from secagg.cli.targets import CommandError, reporting
from secagg_attacks.defences import DEFENCES, defence
from secagg_attacks.matrix.attacks import COLUMNS
from secagg_attacks.matrix.play import Outcome, Progress, play
from secagg_attacks.report import document, figures, write
from secagg_attacks.results import ACCOUNTED, SURE_BOUND, as_json
from secagg_attacks.target import Target

__all__ = ["FAILURE", "table"]

FAILURE: Final = 5
"""The exit code of a lower bound on epsilon that beats the account."""


def table(name: str, attacks: tuple[str, ...], summary: str) -> click.Command:
    """The command of these columns."""

    @click.command(name, help=summary)
    @click.option(
        "--defence",
        "defences",
        multiple=True,
        callback=_known,
        help=f"A row; may be given again. One of {', '.join(DEFENCES)}, or the same with another epsilon, "
        "such as masks-client-2.5. [default: all, or five of them below five minutes]",
    )
    @click.option(
        "--budget",
        default="10m",
        show_default=True,
        callback=seconds,
        help="Time for all of it, such as 60s.",
    )
    @click.option(
        "--seed",
        default=0,
        show_default=True,
        type=click.IntRange(min=0),
        help="Of everything but keys and noise.",
    )
    @function_option(
        "--target", help="A Target, or a function that gives one. [default: scikit-learn's digits]"
    )
    @click.option(
        "--out", type=PATH, help="Where the report is written; an unfinished table there is gone on with."
    )
    @json_option
    @verbose_option
    @click.pass_context
    def command(
        ctx: click.Context,
        defences: tuple[str, ...],
        budget: float,
        seed: int,
        target: str | None,
        out: Path | None,
        as_json: bool,
    ) -> None:
        attacked = None if target is None else _target(target)
        with _bar() as on_cell:
            outcome = play(
                attacked,
                defences=defences or None,
                attacks=attacks,
                seed=seed,
                budget=budget,
                out=out,
                on_cell=on_cell,
                source=target or "",
            )
        page = None if out is None else write(outcome, out)
        _say(outcome, page, as_json=as_json)
        if outcome.failures:
            ctx.exit(FAILURE)

    return command


def _known(_: click.Context, __: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    """Callback: every name is one of a defence."""
    for name in names:
        defence(name)
    return names


def _target(name: str) -> Target:
    """Raises CommandError `target-missing`, and what `reporting` raises."""
    try:
        made = reporting(name)()
    except CommandError as error:
        if error.code != "function-not-callable":
            raise
        module, _, path = name.partition(":")
        made = attrgetter(path)(sys.modules[module])
    if not isinstance(made, Target):
        raise CommandError(
            "target-missing",
            f"{name} is, or gave, something of the type {type(made).__name__}",
            "a secagg_attacks.Target, or a function without arguments that returns one",
        )
    return made


@contextmanager
def _bar() -> Iterator[Progress | None]:
    """A bar over the cells on stderr, if that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def on_cell(row: str, attack: str, done: int, most: int) -> None:
            title = COLUMNS[attack].title if attack else ""
            bar.update(task, description=f"{title} {row}", completed=done, total=most)

        yield on_cell


def _say(outcome: Outcome, page: Path | None, *, as_json: bool) -> None:
    if as_json:
        click.echo(_one_line(outcome))
        return
    for row in outcome.rows:
        click.echo(
            f"{row.defence}: accuracy {figures.accuracy(row)}, accounted epsilon {figures.epsilon(row)}"
        )
        for name in outcome.config.attacks:
            found = outcome.finding(row.defence, name)
            chance = figures.level(found.measurement.chance, found)
            words = (
                f"{figures.headline(found)} ({figures.interval(found)}), chance {chance}"
                if chance
                else ("; ".join(found.measurement.notes))
            )
            click.echo(f"  {COLUMNS[name].title:26} {found.verdict:15} {words}")
    for each in outcome.failures:
        more = each.measurement.more
        click.echo(
            f"FAILURE: {each.measurement.defence}: epsilon is at least "
            f"{more[SURE_BOUND]:.3g} and is accounted as {more[ACCOUNTED]:.3g}",
            err=True,
        )
    if page is not None:
        click.echo(f"{page}")


def _one_line(outcome: Outcome) -> str:
    return json.dumps(json.loads(as_json(document(outcome))), sort_keys=True, allow_nan=False)
