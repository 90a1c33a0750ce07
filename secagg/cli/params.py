"""`secagg params`: what a choice of cohort, protection and encoding tolerates and costs, before a run."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from secagg.cli.options import EXISTING_FILE, json_option, verbose_option

if TYPE_CHECKING:
    from secagg.cli.prospect import Prospect

__all__ = ["params"]


@click.command()
@click.option("--plan", type=EXISTING_FILE, help="Begin with this plan; the other options change it.")
@click.option(
    "--protection",
    type=click.Choice(["masks", "bfv", "ckks"]),
    help="What hides the updates. [default: masks]",
)
@click.option(
    "--recompute/--no-recompute",
    default=None,
    help="bfv and ckks: who opens the sum adds the ciphertexts itself. [default: no]",
)
@click.option("--clients", type=int, help="max_clients: the most that take part in a round.")
@click.option(
    "--colluders", type=float, help="Share assumed to collude with the server. [default: 0.1; bfv, ckks: 0]"
)
@click.option("--dropouts", type=float, help="Share assumed to vanish during the protocol. [default: 0.2]")
@click.option(
    "--adversary",
    type=click.Choice(["malicious", "semi-honest"]),
    help="[default: malicious; bfv, ckks without --recompute: semi-honest]",
)
@click.option("--min-survivors", type=int, help="No sum over fewer. [default: 3]")
@click.option(
    "--dim",
    type=click.IntRange(1, 10**11),
    default=1_000_000,
    show_default=True,
    help="Parameters of the model.",
)
@click.option("--clip-norm", type=float, help="L2 norm of a client's update. [default: 1.0]")
@click.option("--precision", type=float, help="Largest rounding step of a coordinate. [default: 1e-6]")
@click.option(
    "--weighting",
    type=click.Choice(["uniform", "examples", "public"]),
    help="public: by the weights that --plan declares. [default: uniform]",
)
@click.option("--max-examples", type=int, help="Example weights are capped here. [default: 1000]")
@json_option
@verbose_option
def params(
    plan: Path | None,
    protection: str | None,
    recompute: bool | None,
    clients: int | None,
    colluders: float | None,
    dropouts: float | None,
    adversary: str | None,
    min_survivors: int | None,
    dim: int,
    clip_norm: float | None,
    precision: float | None,
    weighting: str | None,
    max_examples: int | None,
    as_json: bool,
) -> None:
    """Say what a cohort tolerates and what a round costs: thresholds, ring, bytes, CPU.

    Of bfv and ckks also who can open what, and the scheme with its security and its error. A choice that
    cannot work is refused, with the nearest ones that do.
    """
    if plan is None and clients is None:
        raise click.UsageError("give --clients N, or --plan PLAN")
    if plan is None and weighting == "public":
        raise click.UsageError(
            "--weighting public goes with --plan, whose [aggregation.weights] it counts by"
        )
    from secagg.cli.choice import planned, terms_of
    from secagg.cli.prospect import prospect

    cohort = {
        "max_clients": clients,
        "colluders": colluders,
        "dropouts": dropouts,
        "adversary": adversary,
        "min_survivors": min_survivors,
    }
    changes = {
        "protection": _given({"kind": protection, "recompute": recompute}),
        "cohort": _given(cohort),
        "encoding": _given({"clip_norm": clip_norm, "precision": precision}),
        "aggregation": _given({"weighting": weighting, "max_examples": max_examples}),
    }
    chosen = terms_of(changes) if plan is None else {}
    changes["cohort"] |= chosen
    found = prospect(planned(plan, changes), dim, chosen)
    if as_json:
        click.echo(json.dumps(asdict(found)))
    else:
        _print(found)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _print(found: Prospect) -> None:
    for title, sentences in found.words.items():
        click.echo(click.style(title, bold=True))
        for sentence in sentences:
            click.echo(f"  {sentence}")
