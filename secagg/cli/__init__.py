"""The `secagg` command. Thin: each command reads its arguments, calls the library and says what came of it.

A command's module is imported when the command is called, so that `secagg --help` waits for none of them.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

import click

from secagg.cli.group import Lazy, LazyGroup, PlugIn
from secagg.cli.options import verbose_everywhere

__all__ = ["main"]

_COMMANDS: Final = (
    Lazy(
        "demo",
        "secagg.cli.demo.command",
        "A whole run on this machine: a server, five clients, one vanishes.",
    ),
    Lazy("server", "secagg.cli.server", "Serve a run: average what clients train, and see only their sum."),
    Lazy("client", "secagg.cli.client", "Take part in a run with a train function of your own."),
    Lazy("simulate", "secagg.cli.simulate", "Play a whole run in this process, without a network."),
    Lazy("certs", "secagg.cli.certs", "Certificates: who may take part in a run, and as what."),
    Lazy("report", "secagg.cli.report", "What a run gave away at the most, and what a plan would."),
    Lazy("params", "secagg.cli.params", "What a choice of cohort and encoding costs, and what it tolerates."),
    PlugIn("attack", "What the server can still learn of a run, measured by real attacks.", "attacks"),
)


@click.group(
    name="secagg",
    cls=LazyGroup,
    lazy=_COMMANDS,
    context_settings={"auto_envvar_prefix": "SECAGG", "help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 the run failed or a report is not what its run says, 2 wrong usage, plan, "
    "state or credentials, 3 the privacy budget is exhausted, 4 refused by the client's own floor, 5 a "
    "measured lower bound is above the accounted epsilon, 75 try again later, 130 or 143 interrupted. An "
    "option can also come from the environment: SECAGG_SERVER_LISTEN for --listen.",
)
@click.version_option(version("secagg"), prog_name="secagg", allow_from_autoenv=False)
@verbose_everywhere
def main() -> None:
    """Federated averaging in which the server learns nothing but the sum."""
