"""Options that several commands share, and the kinds of value they take."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from secagg.units import parse_duration

__all__ = [
    "DURATION",
    "EXISTING_FILE",
    "FUNCTION",
    "NEW_FILE",
    "PATH",
    "is_verbose",
    "json_option",
    "verbose_option",
]

_VERBOSE: Final = "secagg.verbose"

PATH: Final = click.Path(path_type=Path)
EXISTING_FILE: Final = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


class _NewFile(click.Path):
    """A file to be written at the end; that its folder is there is known at the start."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(super().convert(value, param, ctx))
        if not path.parent.is_dir():
            self.fail(f"the folder '{path.parent}' is not there", param, ctx)
        return path


class _Duration(click.ParamType):
    """Seconds, from "10m" or "1h30m"."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Function(click.ParamType):
    """MODULE:FUNCTION. Only its form is checked here; `secagg.cli.targets` imports it."""

    name = "module:function"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        module, colon, function = str(value).partition(":")
        names = [*module.split("."), *function.split(".")]
        if colon and module.endswith(".py"):
            path = Path(module)
            self.fail(f"'{value}' names a file; write {path.stem}:{function} in {path.parent}", param, ctx)
        if not colon or not all(name.isidentifier() for name in names):
            self.fail(f"'{value}' is not MODULE:FUNCTION, for example train:train", param, ctx)
        return str(value)


NEW_FILE: Final = _NewFile(dir_okay=False, writable=True, path_type=Path)
DURATION: Final = _Duration()
FUNCTION: Final = _Function()

json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    allow_from_autoenv=False,
    help="One JSON object per line on stdout, errors too.",
)


def _note_verbose(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.meta[_VERBOSE] = ctx.meta.get(_VERBOSE, False) or value


verbose_option = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    expose_value=False,
    callback=_note_verbose,
    help="Say more, and show the traceback of an error.",
)


def is_verbose(ctx: click.Context) -> bool:
    """Whether -v was given, before the command's name or after it."""
    return bool(ctx.meta.get(_VERBOSE, False))
