"""One command: the options, the table, and the exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from secagg.cli.interrupts import stoppable
from secagg.cli.options import PATH, function_option, json_option, seconds, verbose_option
from secagg_attacks.cli.asked import asked
from secagg_attacks.cli.group import BEGUN
from secagg_attacks.cli.saying import bar, say
from secagg_attacks.defences import DEFENCES, defence
from secagg_attacks.matrix.choice import columns, columns_for
from secagg_attacks.matrix.column import Family
from secagg_attacks.matrix.config import MOST_SEED
from secagg_attacks.matrix.play import play
from secagg_attacks.report import write

__all__ = ["FAILURE", "table"]

FAILURE: Final = 5
"""The exit code of a lower bound on epsilon that beats the account."""


def table(name: str, family: Family | None, summary: str) -> click.Command:
    """The command of a family's columns; of all, without one."""

    def known_attacks(_: click.Context, __: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
        if names:
            columns(names, None, family)
        return names

    @click.command(name, help=summary)
    @click.option(
        "--defence",
        "defences",
        multiple=True,
        callback=_known_defences,
        help=f"A row; may be given again. One of {', '.join(DEFENCES)}, or the same with another epsilon, "
        "such as masks-client-2.5. [default: all, or five of them below five minutes]",
    )
    @click.option(
        "--attack",
        "attacks",
        multiple=True,
        callback=known_attacks,
        help=f"A column; may be given again. One of {', '.join(columns_for(None, family))}. "
        "[default: all, or the quick ones below five minutes]",
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
        type=click.IntRange(0, MOST_SEED),
        help="Of everything but keys, masks, ciphertexts and DP-SGD's noise.",
    )
    @function_option(
        "--target", help="A Target, or a function that gives one. [default: scikit-learn's digits]"
    )
    @click.option(
        "--config", type=PATH, help="Play the table of this config.json again; other options come before it."
    )
    @click.option(
        "--out", type=PATH, help="Where the report is written; an unfinished table there is gone on with."
    )
    @json_option
    @verbose_option
    @click.pass_context
    def command(
        ctx: click.Context, /, config: Path | None, out: Path | None, as_json: bool, **options: Any
    ) -> None:
        with stoppable(lambda: "nothing is kept" if out is None else f"{out} keeps the cells that ended"):
            wanted = asked(ctx, config, options)
            for warning in wanted.warnings:
                click.echo(f"warning: {warning}", err=True)
            with bar() as on_cell:
                outcome = play(
                    wanted.target,
                    defences=wanted.defences,
                    attacks=wanted.attacks,
                    family=family,
                    seed=wanted.seed,
                    budget=wanted.budget,
                    out=out,
                    scale=wanted.scale,
                    on_cell=on_cell,
                    source=wanted.source,
                    begun=ctx.meta.get(BEGUN),
                )
            page = None if out is None else write(outcome, out)
        say(outcome, page, as_json=as_json)
        if outcome.failures:
            ctx.exit(FAILURE)

    return command


def _known_defences(_: click.Context, __: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    """Callback: every name is one of a defence."""
    for name in names:
        defence(name)
    return names
