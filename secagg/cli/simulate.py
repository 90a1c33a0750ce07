"""`secagg simulate`: a whole run in this process."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from secagg.cli.display import display, report_round
from secagg.cli.epsilon import in_words, of_each_unit
from secagg.cli.files import initial_weights, nothing_opened, write_model
from secagg.cli.interrupts import stoppable
from secagg.cli.logs import logging_to_stderr
from secagg.cli.options import (
    EXISTING_FILE,
    NEW_FILE,
    PATH,
    function_option,
    in_a_folder,
    is_verbose,
    json_option,
    verbose_option,
)
from secagg.cli.targets import CommandError, reporting
from secagg.errors import BudgetError

if TYPE_CHECKING:
    from secagg.plan import Plan
    from secagg.update import Train

__all__ = ["simulate"]


@click.command()
@click.argument("plan", type=EXISTING_FILE)
@function_option(
    "--clients",
    required=True,
    help="Called once, without arguments; returns train functions, or a mapping of names to them.",
)
@click.option("--weights", type=EXISTING_FILE, required=True, help="The initial model, a safetensors file.")
@function_option("--evaluate", help="weights -> metrics, after each round.")
@click.option(
    "--masks/--no-masks",
    default=True,
    show_default=True,
    help="Without masks, or the plan's ciphertexts, it is faster, and the sums are the same to the bit for "
    "the same rounding.",
)
@click.option(
    "--out", type=NEW_FILE, callback=in_a_folder, help="Where the final model is written, as safetensors."
)
@click.option("--runs", type=PATH, help="Keep the run in a new directory under this one. [default: nowhere]")
@json_option
@verbose_option
@click.pass_context
def simulate(
    ctx: click.Context,
    plan: Path,
    clients: str,
    weights: Path,
    evaluate: str | None,
    masks: bool,
    out: Path | None,
    runs: Path | None,
    as_json: bool,
) -> None:
    """Play the run that PLAN describes in this process: the same rounds and sessions, without a network."""
    from secagg.plan import Plan
    from secagg.simulation import simulate as play

    asked = Plan.load(plan)
    initial = initial_weights(weights, asked)
    trains = _train_functions(clients, asked)
    with (
        logging_to_stderr(logging.INFO if is_verbose(ctx) else logging.WARNING),
        stoppable(lambda: f"{runs} keeps the rounds that are done" if runs else "nothing is kept"),
        display(as_json=as_json, rounds=asked.run.rounds) as screen,
    ):
        result = play(
            initial,
            asked,
            trains,
            masks=masks,
            evaluate=reporting(evaluate) if evaluate else None,
            runs=runs,
            on_round=lambda report: report_round(screen, report),
        )
        if all(report.code for report in result.history):
            if result.exhausted:
                raise BudgetError(
                    "budget-exhausted",
                    "the plan's epsilon is used up, and no round has moved the model"
                    if result.history
                    else "one round alone would cost more than the plan's epsilon: none was begun",
                    "plan for more noise, or a larger epsilon",
                )
            raise nothing_opened(asked.run.rounds)
        if out is not None:
            write_model(out, result.weights)
        played = len(result.history)
        words = "the run is over"
        if result.exhausted:
            words = f"the plan's epsilon is used up after round {played} of {asked.run.rounds}"
        words += _protection_in_words(asked, result.masked)
        words += f"; the final model is {out}" if out else ""
        words += f"; the run is kept in {result.run_dir}" if result.run_dir else ""
        words += in_words(result.privacy)
        screen.say(
            "finished",
            words,
            masked=result.masked and not asked.protection.homomorphic,
            protection=asked.protection.kind if result.masked else "none",
            model=str(out) if out else None,
            run_dir=str(result.run_dir) if result.run_dir else None,
            exhausted=result.exhausted,
            epsilon=of_each_unit(result.privacy),
        )
        if result.exhausted:
            ctx.exit(BudgetError.exit_code)


def _protection_in_words(plan: Plan, protected: bool) -> str:
    """Nothing where all was as it should be: under masks."""
    kind = plan.protection.kind
    if not plan.protection.homomorphic:
        return "" if protected else ", without masks"
    return f", over {kind} ciphertexts" if protected else f", without {kind} ciphertexts"


def _train_functions(target: str, plan: Plan) -> dict[str, Train]:
    """Raises CommandError `clients-not-functions` or `clients-too-few`."""
    from secagg.protections import least_cohort
    from secagg.simulation import named_clients

    returned: Any = reporting(target)()
    if not isinstance(returned, Mapping | Sequence) or not all(
        map(callable, returned.values() if isinstance(returned, Mapping) else returned)
    ):
        raise CommandError(
            "clients-not-functions",
            f"{target} returned something else than train functions",
            "return a list of functions Task -> Update, or a dict of names to them",
        )
    named: dict[str, Train] = named_clients(returned)
    admitted = [name for name in named if plan.cohort.admits(name)]
    least = least_cohort(plan)
    if len(admitted) < least:
        raise CommandError(
            "clients-too-few",
            f"{target} returned {len(named)} clients, of whom the plan's [cohort] clients admits "
            f"{len(admitted)}; a round needs {least}",
            f"return a dict of names to functions; these were called {', '.join(list(named)[:3])}"
            if len(admitted) < len(named)
            else "return more clients, or lower min_survivors",
        )
    return named
