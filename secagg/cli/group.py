"""The group of commands: imports each when it is called, and turns errors into words and exit codes.

A `SecaggError` becomes `error [code]: message` and its hint on stderr or, with `--json`, one object on
stdout; with `-v` its traceback comes first. What is no SecaggError is a fault of ours or of the user's own
function, and keeps its traceback.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Final

import click

from secagg.cli.interrupts import Stopped
from secagg.cli.options import is_verbose
from secagg.errors import MissingExtraError, PlanError, SecaggError

__all__ = ["PLUGINS", "Lazy", "LazyGroup", "PlugIn"]

PLUGINS: Final = "secagg.commands"
"""The group of entry points that other packages bring their commands under."""

_JSON: Final = "--json"
_USAGE: Final = 2
_MALFORMED: Final = frozenset({"listen-malformed", "proxy-malformed", "target-malformed"})
"""Codes for what was typed wrong, whatever error carries them."""


@dataclass(frozen=True)
class Lazy:
    """A command that is not imported yet: `name` in `module`, and its line in the list of commands."""

    name: str
    module: str
    summary: str

    def load(self) -> object:
        """The command."""
        return getattr(import_module(self.module), self.name)


@dataclass(frozen=True)
class PlugIn:
    """A command of another package, the entry point `name` among PLUGINS; `extra` installs what it needs.

    It is listed without being looked for; where it is not installed, it says how to install it.
    """

    name: str
    summary: str
    extra: str

    def load(self) -> object:
        """The command, or one in its place that ends with what is missing and how to install it."""
        for found in entry_points(group=PLUGINS, name=self.name):
            try:
                return found.load()
            except ModuleNotFoundError as missing:
                return self._absent(MissingExtraError(missing.name or self.name, self.extra))
        return self._absent(MissingExtraError(f"the '{self.name}' command", self.extra))

    def _absent(self, error: MissingExtraError) -> click.Command:
        def explain() -> None:
            raise error

        return click.Command(
            self.name,
            callback=explain,
            help=f"{self.summary} {error.message}; {error.hint}",
            context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
        )


class LazyGroup(click.Group):
    """A click group over `lazy` commands; reports the errors of all of them."""

    def __init__(self, *args: Any, lazy: Sequence[Lazy | PlugIn], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._lazy: Final = {command.name: command for command in lazy}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        lazy = self._lazy.get(cmd_name)
        if lazy is None:
            return None
        command = lazy.load()
        if not isinstance(command, click.Command):
            raise TypeError(f"{lazy.name} is no command")
        _json_by_flag_only(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(lazy.name, lazy.summary) for lazy in self._lazy.values()])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_JSON] = _JSON in args  # known even when the command line cannot be parsed
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SecaggError as error:
            if is_verbose(ctx):
                click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
            report(error, as_json=ctx.meta[_JSON])
            ctx.exit(_USAGE if error.code in _MALFORMED else error.exit_code)
        except click.UsageError as error:
            if not ctx.meta[_JSON]:
                raise
            click.echo(_object("usage", error.format_message(), "see --help"))
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            stopped = Stopped("nothing was begun")
            report(stopped, as_json=ctx.meta[_JSON])
            ctx.exit(stopped.exit_code)


def _json_by_flag_only(command: click.Command) -> None:
    """The form of an error must be known before the command line is parsed: not from the environment."""
    for option in command.params:
        if isinstance(option, click.Option) and _JSON in option.opts:
            option.allow_from_autoenv = False
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        _json_by_flag_only(inner)


def report(error: SecaggError, *, as_json: bool) -> None:
    """The error as people or machines read it."""
    if as_json:
        problems = [vars(problem) for problem in error.problems] if isinstance(error, PlanError) else None
        click.echo(_object(error.code, error.message, error.hint, problems))
        return
    label = "" if isinstance(error, Stopped) else click.style(f"error [{error.code}]: ", fg="red")
    click.echo(label + error.message, err=True)
    if error.hint:
        click.echo(f"  {error.hint}", err=True)


def _object(code: str, message: str, hint: str, problems: list[dict[str, str]] | None = None) -> str:
    more = {} if problems is None else {"problems": problems}
    return json.dumps({"error": code, "message": message, "hint": hint, **more})
