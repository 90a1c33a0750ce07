"""Options that several commands share, and the kinds of value they take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from secagg.units import parse_duration

__all__ = [
    "EXISTING_FILE",
    "NEW_FILE",
    "PATH",
    "function_option",
    "in_a_folder",
    "is_verbose",
    "json_option",
    "module_function",
    "seconds",
    "verbose_everywhere",
    "verbose_option",
]

Command = TypeVar("Command", bound=Callable[..., Any])

_VERBOSE: Final = "secagg.verbose"

PATH: Final = click.Path(path_type=Path)
EXISTING_FILE: Final = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
NEW_FILE: Final = click.Path(dir_okay=False, writable=True, path_type=Path)


def in_a_folder(_: click.Context, __: click.Parameter, path: Path | None) -> Path | None:
    """Callback: the folder of a file to be written at the end is there at the start."""
    if path is not None and not path.parent.is_dir():
        raise click.BadParameter(f"the folder '{path.parent}' is not there")
    return path


def seconds(_: click.Context, __: click.Parameter, text: str | None) -> float | None:
    """Callback: seconds of "10m" or "1h30m"."""
    try:
        return None if text is None else parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def module_function(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    """Callback: MODULE:FUNCTION. Only its form is checked here; `secagg.cli.targets` imports it."""
    if text is None:
        return None
    module, colon, function = text.partition(":")
    if module.endswith(".py"):
        path = Path(module)
        way = f"cd {path.parent} and write" if path.parent.name else "write"
        raise click.BadParameter(f"'{text}' names a file; {way} {path.stem}:{function or 'FUNCTION'}")
    if not colon or not all(name.isidentifier() for name in [*module.split("."), *function.split(".")]):
        raise click.BadParameter(f"'{text}' is not MODULE:FUNCTION, for example train:train")
    return text


def function_option(name: str, **settings: Any) -> Callable[[Command], Command]:
    """An option that takes MODULE:FUNCTION."""
    return click.option(name, metavar="MODULE:FUNCTION", callback=module_function, **settings)


json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="One JSON object per line on stdout, errors too.",
)


def _note_verbose(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.meta[_VERBOSE] = ctx.meta.get(_VERBOSE, False) or value


verbose_everywhere = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    expose_value=False,
    callback=_note_verbose,
    help="Say more, and show the traceback of an error.",
)
"""Before the command's name."""

verbose_option = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    expose_value=False,
    allow_from_autoenv=False,
    callback=_note_verbose,
    help="The same as before the command's name.",
)
"""After it."""


def is_verbose(ctx: click.Context) -> bool:
    """Whether -v was given, before the command's name or after it."""
    return bool(ctx.meta.get(_VERBOSE, False))
