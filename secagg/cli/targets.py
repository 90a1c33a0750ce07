"""MODULE:FUNCTION: a function of the user's own, imported from the current directory or the environment.

What it raises is shown as its author knows it, from their own module on, and then named by a typed error.
"""

from __future__ import annotations

import difflib
import sys
import traceback
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from secagg.errors import RunError, SecaggError

__all__ = ["CommandError", "load_function", "reporting"]


class CommandError(SecaggError):
    """What the command line asks for cannot be done: a function, a file or a choice that does not fit."""

    exit_code = 2


def load_function(target: str) -> Callable[..., Any]:
    """The function that `package.module:function` names.

    Raises CommandError `function-module-missing`, `function-import-failed` (after its traceback is printed),
    `function-missing` or `function-not-callable`.
    """
    module_name, _, path = target.partition(":")
    found: Any = _imported(module_name, target)
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise CommandError(
                "function-missing",
                f"{target}: {_where(sys.modules[module_name])} has no '{path}'",
                _offers(sys.modules[module_name], path),
            ) from None
    if not callable(found):
        raise CommandError(
            "function-not-callable", f"{target} is of the type {type(found).__name__} and cannot be called"
        )
    function: Callable[..., Any] = found
    return function


def reporting(target: str) -> Callable[..., Any]:
    """The function that `target` names, whose exceptions become RunError `function-raised`."""
    function = load_function(target)

    @wraps(function)
    def reported(*args: Any) -> Any:
        try:
            return function(*args)
        except SecaggError:
            raise
        except Exception as error:  # a user's own function may raise anything
            _show(error)
            raise RunError(
                "function-raised", f"{target} raised {type(error).__name__}", "what it says is above"
            ) from error

    return reported


def _imported(name: str, target: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise CommandError(
                "function-module-missing",
                f"{target}: there is no module '{error.name}' in {here} or in this Python's packages",
                "run the command where the module lies, or install it into the same environment as secagg",
            ) from None
        raise _raised(target, error) from error
    except (Exception, SystemExit) as error:  # a user's own module may raise anything
        raise _raised(target, error) from error


def _raised(target: str, error: BaseException) -> CommandError:
    _show(error)
    return CommandError(
        "function-import-failed",
        f"{target}: importing the module raised {type(error).__name__}",
        "what it says is above",
    )


def _show(error: BaseException) -> None:
    """The traceback from the user's module on; what lies above it is ours and the import system's."""
    ours = (__file__, "importlib/__init__.py")
    theirs = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen ") and not frame.filename.endswith(ours)
    ]
    heading = ["Traceback (most recent call last):\n"] if theirs else []
    lines = [*heading, *traceback.format_list(theirs), *traceback.format_exception_only(error)]
    click.echo("".join(lines), err=True, nl=False)


def _where(module: ModuleType) -> str:
    return f"'{module.__name__}' ({getattr(module, '__file__', None) or 'built in'})"


def _offers(module: ModuleType, wanted: str) -> str:
    functions = sorted(
        name
        for name, value in vars(module).items()
        if callable(value)
        and not name.startswith("_")
        and getattr(value, "__module__", "") == module.__name__
    )
    if not functions:
        return "it defines no function of its own"
    near = difflib.get_close_matches(wanted, functions, n=1)
    return f"did you mean {near[0]}?" if near else f"it defines {', '.join(functions[:8])}"
