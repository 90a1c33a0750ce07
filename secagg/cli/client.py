"""`secagg client`: take part in a run with a train function of one's own."""

from __future__ import annotations

import logging
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from secagg.cli.display import Display, display, numbers
from secagg.cli.epsilon import in_words, of_each_unit
from secagg.cli.files import write_model
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
    module_function,
    seconds,
    verbose_option,
)
from secagg.cli.targets import load_function
from secagg.errors import TransportError

if TYPE_CHECKING:
    from secagg.client import Client, ClientResult
    from secagg.update import Task, Train, Update

__all__ = ["client"]

_TRY_AGAIN_LATER = 75
_MAY_PASS = frozenset({"unreachable", "proxy-refused", "tls-broken-off", "connection-lost"})


@click.command()
@click.argument("train", callback=module_function, metavar="MODULE:FUNCTION")
@click.option("--server", required=True, metavar="HOST:PORT", help="Where the server listens.")
@click.option(
    "--credentials", type=PATH, required=True, help="The folder with this client's certificate and key."
)
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="The folder where this client remembers what it has taken part in; made if it is not there.",
)
@function_option("--evaluate", help="weights -> metrics on local data, before training.")
@click.option("--floor", type=EXISTING_FILE, help="What this client insists on. [default: the safe floor]")
@click.option(
    "--out", type=NEW_FILE, callback=in_a_folder, help="Where the final model is written, as safetensors."
)
@click.option(
    "--give-up-after",
    callback=seconds,
    metavar="DURATION",
    help='How long to do without a server, such as "10m". [default: for ever]',
)
@json_option
@verbose_option
@click.pass_context
def client(
    ctx: click.Context,
    train: str,
    server: str,
    credentials: Path,
    state: Path,
    evaluate: str | None,
    floor: Path | None,
    out: Path | None,
    give_up_after: float | None,
    as_json: bool,
) -> None:
    """Take part in a run: MODULE:FUNCTION trains, Task -> Update, and only its protected vector leaves.

    Waits for the server, and reconnects by itself. Its own metrics show on a terminal, and are never written
    to a pipe or a file.
    """
    from secagg.client import Client
    from secagg.credentials import Credentials
    from secagg.floor import Floor

    own = Credentials.load(credentials)
    insists = Floor.load(floor) if floor else Floor()
    with (
        logging_to_stderr(logging.DEBUG if is_verbose(ctx) else logging.INFO),
        stoppable(lambda: "a round in flight goes on without this client; the same command joins again"),
        display(as_json=as_json, rounds=0) as screen,
    ):
        taking_part = Client(
            server,
            partial(_train_and_say, load_function(train), screen),
            credentials=own,
            evaluate=load_function(evaluate) if evaluate else None,
            floor=insists,
            state=state,
            give_up_after=give_up_after,
        )
        kept = "" if out else "; without --out the final model is not kept"
        screen.say(
            "dialling", f"'{own.identity.name}' dials {server}{kept}", server=server, name=own.identity.name
        )
        result = _run(taking_part)
        if out is not None:
            write_model(out, result.weights)
        where = f"; the final model is {out}" if out else ""
        counted = f"{result.rounds} round{'s' * (result.rounds != 1)}"
        screen.say(
            "finished",
            f"the run is over after {counted}{where}{in_words(result.privacy)}",
            rounds=result.rounds,
            model=str(out) if out else None,
            epsilon=of_each_unit(result.privacy),
        )


def _run(taking_part: Client) -> ClientResult:
    try:
        return taking_part.run()
    except TransportError as error:
        if error.code in _MAY_PASS:  # it gave up on something that may be there later
            error.exit_code = _TRY_AGAIN_LATER
        raise


def _train_and_say(train: Train, screen: Display, task: Task) -> Update:
    began = time.monotonic()
    screen.say(
        "training", f"round {task.round} of {task.rounds}: training", round=task.round, rounds=task.rounds
    )
    update = train(task)
    seconds = time.monotonic() - began
    metrics = getattr(update, "metrics", {}) if screen.terminal else {}
    own = f"; here {numbers(metrics)}, and only summed elsewhere" if metrics else ""
    screen.round(task.round, task.rounds, f"trained in {seconds:.1f} s{own}", seconds=round(seconds, 3))
    return update
