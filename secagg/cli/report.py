"""`secagg report`: what a run gave away, at the most, and what a plan would."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from secagg.cli.options import EXISTING_FILE, NEW_FILE, in_a_folder, json_option, verbose_option
from secagg.errors import RunError

if TYPE_CHECKING:
    from secagg.report import Verdict

__all__ = ["report"]

_DEFAULT_SIZE: Final = 1_000_000
_SHOWN: Final = 20


@click.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
@click.option("--plan", type=EXISTING_FILE, help="Before a run: what this plan would cost.")
@click.option(
    "--parameters",
    type=click.IntRange(1, 10**11),
    help=f"With --plan: parameters of the model. [default: {_DEFAULT_SIZE}]",
)
@click.option("--weights", type=EXISTING_FILE, help="With --plan: the model, a safetensors file.")
@click.option(
    "--format",
    "format",
    type=click.Choice(["html", "md", "json"]),
    help="Print the report in this format, or write it to --out; nothing is written into RUN.",
)
@click.option("--out", type=NEW_FILE, callback=in_a_folder, help="Where the report is written.")
@click.option("--verify", is_flag=True, help="Recompute everything, and compare it with RUN/privacy.json.")
@json_option
@verbose_option
def report(
    run: Path | None,
    plan: Path | None,
    parameters: int | None,
    weights: Path | None,
    format: str | None,
    out: Path | None,
    verify: bool,
    as_json: bool,
) -> None:
    """Write the privacy budget report of the run directory RUN, or say what a plan would cost.

    Without --format and --out, a run's report is written into RUN: privacy.json and report.html.
    """
    if (run is None) == (plan is None):
        raise click.UsageError("give a run directory, or --plan PLAN")
    if plan is None and (parameters is not None or weights is not None):
        raise click.UsageError("--parameters and --weights go with --plan: a run directory has its model")
    if parameters is not None and weights is not None:
        raise click.UsageError("give --parameters or --weights: the one is counted in the other")
    if verify and (run is None or format is not None or out is not None):
        raise click.UsageError("--verify goes with a run directory alone")
    if run is not None and verify:
        _verify(run, as_json)
    elif plan is not None:
        _publish(_prospect(plan, parameters, weights), format, out, as_json)
    elif run is not None:
        _report(run, format, out, as_json)


def _report(run: Path, format: str | None, out: Path | None, as_json: bool) -> None:
    from secagg.report import beaten, document, read, write

    if format is not None or out is not None:
        made = document(read(run))
        _publish(made, format, out, as_json)
        if (above := beaten(made)) is not None:
            raise above
        return
    made = write(run)
    above = beaten(made)
    files = {"json": str(run / "privacy.json"), "page": str(run / "report.html")}
    if as_json:
        click.echo(json.dumps({**_summary(made), **files}))
    else:
        _show(made)
        click.echo(f"the report is {files['page']}, its figures are {files['json']}")
    if above is not None:
        raise above


def _prospect(plan: Path, parameters: int | None, weights: Path | None) -> dict[str, Any]:
    from secagg.plan import Plan
    from secagg.report import prospect

    asked = Plan.load(plan)
    if weights is None:
        return prospect(asked, parameters or _DEFAULT_SIZE)
    from secagg.cli.files import initial_weights
    from secagg.weights import Layout

    return prospect(asked, Layout.of(initial_weights(weights, asked), asked.training.local).size)


def _publish(made: Mapping[str, Any], format: str | None, out: Path | None, as_json: bool) -> None:
    """To a file if there is one, in the format that its name asks for; else to the terminal."""
    from secagg.report import as_json as to_json
    from secagg.report import html, markdown

    if format is None and out is None:
        if as_json:
            click.echo(json.dumps(_summary(made)))
        else:
            _show(made)
        return
    chosen = format or {".md": "md", ".json": "json"}.get(str(out and out.suffix), "html")
    text = {"html": html, "md": markdown, "json": to_json}[chosen](made)
    if out is None:
        click.echo(text, nl=False)
        return
    _write(out, text)
    if as_json:
        click.echo(json.dumps({**_summary(made), "out": str(out), "format": chosen}))
    else:
        _show(made)
        click.echo(f"the report is {out}")


def _write(out: Path, text: str) -> None:
    from secagg.durable import write_whole

    try:
        write_whole(out, text.encode())
    except OSError as error:
        raise RunError(
            "report-unwritable", f"{out} cannot be written: {error.strerror}", "see to the disk"
        ) from None


def _summary(made: Mapping[str, Any]) -> dict[str, Any]:
    units = [
        {
            "unit": unit["unit"],
            "delta": unit["delta"],
            **{
                audience: None if entry is None else entry["epsilon"]
                for audience, entry in unit["epsilon"].items()
            },
        }
        for unit in made["units"]
    ]
    told = {"event": "report", "kind": made["kind"], "claim": made["claim"], "epsilon": units}
    if made["kind"] == "plan":
        told |= {name: made["plan"][name] for name in ("rounds", "rounds_affordable")}
    return told


def _show(made: Mapping[str, Any]) -> None:
    """The claim, and epsilon against each audience."""
    from rich.console import Console
    from rich.table import Table

    from secagg.report.prospect_sections import early_end
    from secagg.report.sections import trust_table

    console = Console(soft_wrap=False, highlight=False)
    for sentence in made["claim"]:
        console.print(sentence, markup=False)
        console.print()
    if made["units"]:
        facts = trust_table(made["units"], made["cohort"])
        table = Table(title=facts.caption, title_justify="left")
        for head in facts.head:
            table.add_column(head)
        for row in facts.rows:
            table.add_row(*row)
        console.print(table)
    if made["kind"] == "plan":
        for sentence in early_end(made["plan"]):
            console.print(sentence, markup=False)
        if made["alternatives"]:
            console.print(_alternatives(made["alternatives"], made["plan"]["rounds"]), markup=False)


def _alternatives(alternatives: Sequence[Mapping[str, Any]], rounds: int) -> str:
    from secagg.report.figures import counted, given
    from secagg.report.prospect_sections import alternative_words

    said = [
        f"epsilon {given(one['epsilon'])}{' takes' if one['why'] is None else ':'} {alternative_words(one)}"
        for one in alternatives
    ]
    return f"noise multipliers for {counted(rounds, 'round')}: {'; '.join(said)}"


def _verify(run: Path, as_json: bool) -> None:
    """Raises RunError `report-mismatch`, after every finding is said; without any, `account-beaten`."""
    from secagg.report import verify

    verdict = verify(run)
    _say(verdict, as_json)
    if verdict.findings:
        count = len(verdict.findings)
        raise RunError(
            "report-mismatch",
            f"{count} thing{'s are' if count > 1 else ' is'} not as the report of {run} claims",
            "if the run went on since, secagg report RUN writes its report anew; else ask who changed it",
        )
    if verdict.beaten is not None:
        raise verdict.beaten


def _say(verdict: Verdict, as_json: bool) -> None:
    if as_json:
        for finding in verdict.findings:
            click.echo(json.dumps({"event": "finding", "where": finding.where, "what": finding.what}))
        if not verdict.findings:
            facts = {"checked": verdict.checked, "remarks": verdict.remarks}
            click.echo(json.dumps({"event": "verified", **facts}))
        return
    for finding in verdict.findings[:_SHOWN]:
        click.echo(str(finding))
    if len(verdict.findings) > _SHOWN:
        click.echo(f"and {len(verdict.findings) - _SHOWN} more; --json has them all")
    if not verdict.findings:
        click.echo("all is as claimed:")
        for sentence in verdict.checked:
            click.echo(f"  {sentence}")
    for sentence in verdict.remarks:
        click.echo(f"  {sentence}")
