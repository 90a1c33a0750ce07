"""`secagg server`: serve a run until its last round."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from secagg.cli.display import display, report_round
from secagg.cli.epsilon import in_words, of_each_unit
from secagg.cli.files import FIRST_MODEL, closed_rounds, initial_weights, newest_model, nothing_opened
from secagg.cli.interrupts import stoppable
from secagg.cli.logs import logging_to_stderr
from secagg.cli.options import (
    EXISTING_FILE,
    PATH,
    function_option,
    is_verbose,
    json_option,
    verbose_option,
)
from secagg.cli.targets import reporting
from secagg.errors import BudgetError

__all__ = ["server"]


@click.command()
@click.argument("plan", type=EXISTING_FILE)
@click.option("--weights", type=EXISTING_FILE, required=True, help="The initial model, a safetensors file.")
@click.option(
    "--credentials", type=PATH, required=True, help="The folder with this server's certificate and key."
)
@click.option("--listen", default="[::]:8443", show_default=True, metavar="HOST:PORT")
@function_option("--evaluate", help="weights -> metrics, after each round, on the server's data.")
@function_option(
    "--aggregate",
    help="(state, weights, mean update) -> (state, weights), in place of the plan's method.",
)
@click.option("--runs", type=PATH, default=Path("runs"), show_default=True, help="Where run directories are.")
@click.option("--run", type=PATH, help="The run directory to go on with. [default: the newest unfinished]")
@click.option("--fresh", is_flag=True, help="Begin a new run, whatever is unfinished.")
@json_option
@verbose_option
@click.pass_context
def server(
    ctx: click.Context,
    plan: Path,
    weights: Path,
    credentials: Path,
    listen: str,
    evaluate: str | None,
    aggregate: str | None,
    runs: Path,
    run: Path | None,
    fresh: bool,
    as_json: bool,
) -> None:
    """Serve the run that PLAN describes: average what clients train, and see only their sum.

    The same command after a crash or a stop goes on after the last finished round.
    """
    if run is not None and fresh:
        raise click.UsageError("--run goes on with a run and --fresh begins one: give one of them")
    from secagg.credentials import Credentials
    from secagg.plan import Plan
    from secagg.protections import least_cohort
    from secagg.server import Server
    from secagg.units import format_duration
    from secagg.who_can_open import who_can_open

    asked = Plan.load(plan)
    initial = initial_weights(weights, asked)
    own = Credentials.load(credentials)
    with logging_to_stderr(logging.DEBUG if is_verbose(ctx) else logging.INFO):
        serving = Server(
            initial,
            asked,
            credentials=own,
            listen=listen,
            evaluate=reporting(evaluate) if evaluate else None,
            aggregate=reporting(aggregate) if aggregate else None,
            run_dir=run,
            runs=runs,
            fresh=fresh,
            on_round=lambda report: report_round(out, report),
        )
        del initial
        rounds, where, cohort = asked.run.rounds, serving.run_dir, asked.cohort
        with (
            serving,
            stoppable(lambda: f"{where} keeps what is done, and the same command goes on from there"),
            display(as_json=as_json, rounds=rounds, done=closed_rounds(where)) as out,
        ):
            begun = closed_rounds(where)
            out.say(
                "listening",
                f"'{own.identity.name}' listens on {serving.address}; the run is kept in {where}"
                + (f" and goes on after round {begun} of {rounds}" if begun else ""),
                address=serving.address,
                run_dir=str(where),
                plan_digest=asked.digest.hex(),
                next_round=begun + 1,
                rounds=rounds,
            )
            if limits := tuple(who_can_open(asked)):
                out.say(
                    "who-can-open",
                    f"under {asked.protection.kind}: {'; '.join(limits)}",
                    protection=asked.protection.kind,
                    who_can_open=limits,
                )
            if begun < rounds:
                wanted = cohort.population if cohort.sampling == "poisson" else cohort.max_clients
                out.say(
                    "waiting",
                    f"waiting up to {format_duration(cohort.join_deadline)} for {wanted} clients"
                    f"; a round needs at least {least_cohort(asked)}",
                    max_clients=cohort.max_clients,
                    least=least_cohort(asked),
                )
            try:
                result = serving.run()
            except BudgetError:
                kept = newest_model(where)
                if kept.stem != FIRST_MODEL:
                    out.say(
                        "exhausted",
                        f"the plan's epsilon is used up after round {closed_rounds(where)} of {rounds}; "
                        f"the model is {kept}",
                        run_dir=str(where),
                        model=str(kept),
                    )
                raise
            model = newest_model(where)
            if model.stem == FIRST_MODEL:
                raise nothing_opened(rounds)
            out.say(
                "finished",
                f"the run is over; the final model is {model}{in_words(result.privacy)}",
                run_dir=str(where),
                model=str(model),
                epsilon=of_each_unit(result.privacy),
            )
