"""A table on a terminal: a bar while it is played, then its figures, or all of it as JSON."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from secagg_attacks.matrix.attacks import COLUMNS
from secagg_attacks.matrix.play import Outcome, Progress
from secagg_attacks.report import document, figures
from secagg_attacks.results import ACCOUNTED, SURE_BOUND, Finding, as_json

__all__ = ["bar", "say"]

_WIDTH: Final = 110
"""Of lines where stdout is no terminal."""
_NARROW: Final = 40
_NAMED: Final = 4
"""Attacks that a note names, at most."""


@contextmanager
def bar() -> Iterator[Progress | None]:
    """A bar over the cells on stderr, if that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Bar(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("", total=None)

        def on_cell(row: str, attack: str, done: int, most: int) -> None:
            title = COLUMNS[attack].title if attack else ""
            shown.update(task, description=f"{title} {row}", completed=done, total=most)

        yield on_cell


def say(outcome: Outcome, page: Path | None, *, as_json: bool) -> None:
    """On stdout, but for failures in words, which are on stderr."""
    if as_json:
        click.echo(_one_line(outcome))
        return
    width = max(len(COLUMNS[name].title) for name in outcome.config.attacks)
    for row in outcome.rows:
        click.echo(
            f"{row.defence}: accuracy {figures.accuracy(row)}, accounted epsilon {figures.epsilon(row)}"
        )
        for name in outcome.config.attacks:
            found = outcome.finding(row.defence, name)
            click.echo(f"  {COLUMNS[name].title:{width}} {found.verdict:15} {_words(found)}".rstrip())
    for note in _notes(outcome):
        click.echo(_wrapped(note))
    for each in outcome.failures:
        more = each.measurement.more
        click.echo(
            f"FAILURE: {each.measurement.defence}: epsilon is at least "
            f"{more[SURE_BOUND]:.3g} and is accounted as {more[ACCOUNTED]:.3g}",
            err=True,
        )
    if page is not None:
        click.echo(f"{page}")


def _words(found: Finding) -> str:
    """A figure beside its chance level, or that there was no time; notes say why an attack is none."""
    chance = figures.level(found.measurement.chance, found)
    if not chance:
        return "; ".join(found.measurement.notes) if found.measurement.status == "not run" else ""
    return f"{figures.headline(found)} ({figures.interval(found)}), chance {chance}"


def _notes(outcome: Outcome) -> list[str]:
    """What cells and rows say beside their figures, or in place of them: each note once for the same rows."""
    rows: dict[tuple[str, str], list[str]] = {}
    for each in outcome.findings:
        if each.measurement.status != "not run":
            for note in each.measurement.notes:
                title = COLUMNS[each.measurement.attack].title
                rows.setdefault((title, note), []).append(each.measurement.defence)
    for row in outcome.rows:
        for note in row.notes:
            rows.setdefault(("accuracy", note), []).append(row.defence)
    titles: dict[tuple[str, str], list[str]] = {}
    for (title, note), of in rows.items():
        titles.setdefault((", ".join(of), note), []).append(title)
    return [f"note: {_named(names)} ({of}): {note}" for (of, note), names in titles.items()]


def _named(titles: Sequence[str]) -> str:
    """The first few, and how many more."""
    more = [f"and {len(titles) - _NAMED} more"] if len(titles) > _NAMED + 1 else []
    return "; ".join([*titles[:_NAMED], *more] if more else titles)


def _wrapped(note: str) -> str:
    """In lines of the terminal's width, later ones indented, and words whole."""
    width = shutil.get_terminal_size((_WIDTH, 0)).columns
    return textwrap.fill(
        note,
        max(width, _NARROW),
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _one_line(outcome: Outcome) -> str:
    return json.dumps(json.loads(as_json(document(outcome))), sort_keys=True, allow_nan=False)
