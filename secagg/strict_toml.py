"""A TOML (or JSON) document held against a pydantic model, and every problem of it named at once.

What pydantic does: types, ranges, unknown keys. What this adds: its findings in plain words, with the path
as it stands in the file and a way out; the values no document may hold (NaN, dates, null) wherever they
hide; and the rules that relate several fields, checked for whatever fields did parse, so that one wrong type
does not hide a contradiction elsewhere. It knows nothing of plans or floors; those are its two users.
"""

from __future__ import annotations

import difflib
import json
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo
from pydantic_core import ErrorDetails

from secagg.errors import PlanError, Problem

__all__ = ["Parsed", "Section", "parse_json", "parse_toml", "read_text", "validate_whole"]

Model = TypeVar("Model", bound=BaseModel)
Location = tuple[str, ...]
Parsed = Callable[..., bool]
"""`parsed("cohort.max_clients", ...)`: whether all these fields hold a value that can be reasoned about."""

_DEEPEST = 16
_LOCATED = re.compile(r"^(?P<what>.*?) \(at (?P<where>line \d+, column \d+|end of document)\)$", re.DOTALL)
_WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "a string",
    "bool_type": "true or false",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "dict_type": "a table",
    "mapping_type": "a table",
    "list_type": "a list",
    "tuple_type": "a list",
    "frozen_set_type": "a list",
    "set_type": "a list",
}
_BOUNDS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


class Section(BaseModel):
    """A table of a document: immutable, no unknown keys, no type coerced into another."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def read_text(path: str | Path) -> str:
    """The text of a file as UTF-8 (a byte-order mark is dropped), or a `PlanError` that says why not."""
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise PlanError([Problem(str(path), f"cannot be read: {error.strerror}")], str(path)) from None
    except UnicodeDecodeError as error:
        problem = Problem(f"byte {error.start}", "is not UTF-8", "save the file as UTF-8")
        raise PlanError([problem], str(path)) from None


def parse_toml(text: str, source: str) -> dict[str, object]:
    """The document in `text`; a syntax error becomes a `PlanError` that names its line."""
    try:
        return tomllib.loads(text)
    except (
        ValueError,
        RecursionError,
    ) as error:  # TOMLDecodeError is a ValueError; so is a million-digit number
        message = str(error) if isinstance(error, ValueError) else "Nested too deeply"
        located = _LOCATED.match(message)
        what, where = (located["what"], located["where"]) if located else (message, "document")
        problem = Problem(where, f"is not TOML: {what[:1].lower()}{what[1:]}", "see https://toml.io")
        raise PlanError([problem], source) from None


def parse_json(text: str, source: str) -> dict[str, object]:
    """The document in `text`; refuses repeated keys and anything but an object at the top."""
    try:
        document = json.loads(text, object_pairs_hook=_each_key_once)
    except json.JSONDecodeError as error:
        raise PlanError([Problem(f"line {error.lineno}", f"is not JSON: {error.msg}")], source) from None
    except (ValueError, RecursionError) as error:
        message = str(error) if isinstance(error, ValueError) else "nested too deeply"
        raise PlanError([Problem("document", f"cannot be read: {message}")], source) from None
    if not isinstance(document, dict):
        raise PlanError([Problem("document", f"a table is expected, and {_shown(document)} came")], source)
    return document


def validate_whole(
    model: type[Model],
    document: object,
    validate: Callable[[Any], Model],
    info: ValidationInfo,
    cross_problems: Callable[[Model, Parsed], Iterable[Problem]],
) -> Model:
    """`validate(document)`, or one `PlanError` with everything that is wrong with it.

    Meant for a model's wrap validator. When fields fail, the rest is completed with examples of what they
    could have been and validated again, so that `cross_problems` sees a whole model; `parsed` tells it which
    values were really in the document (or are real defaults).
    """
    if isinstance(document, model):
        return document
    source = str((info.context or {}).get("source", model.__name__.lower()))
    if not isinstance(document, Mapping):
        raise PlanError([Problem("document", f"a table is expected, and {_shown(document)} came")], source)
    problems: dict[Location, Problem] = {}
    plain: dict[str, Any] = {
        name: {} for name, field in model.model_fields.items() if _is_section(field.annotation)
    }
    plain |= _plain(document, (), problems)
    whole: Model | None = None
    try:
        whole = validate(plain)
    except ValidationError as failure:
        for error in failure.errors(include_url=False):
            location = tuple(str(part) for part in error["loc"] if part != "[key]")
            problems.setdefault(location, _problem(model, location, error))
        try:
            whole = validate(_completed(model, plain, problems))
        except ValidationError:
            whole = None
    broken = {location[:2] for location in problems}

    def parsed(*paths: str) -> bool:
        return not any(path[:depth] in broken for path in map(_location, paths) for depth in (1, 2))

    found = list(problems.values())
    if whole is not None:
        found += cross_problems(whole, parsed)
    if found or whole is None:
        raise PlanError(found, source)
    return whole


def _location(path: str) -> Location:
    return tuple(path.split("."))


def _plain(value: object, location: Location, problems: dict[Location, Problem]) -> Any:
    """A copy in dicts, lists and scalars; what no document may hold becomes None and a problem."""

    def refuse(message: str, hint: str = "") -> None:
        problems.setdefault(location, Problem(_path(location), message, hint))

    if len(location) > _DEEPEST:
        return refuse(f"is nested deeper than {_DEEPEST} tables")
    match value:
        case bool():
            return value
        case int():
            inside = -(2**63) <= value < 2**63
            return value if inside else refuse("is beyond 64 bits", "write it as a string")
        case float():
            return value + 0.0 if math.isfinite(value) else refuse(f"is {value}, and must be finite")
        case str():
            decodable = not any("\ud800" <= character <= "\udfff" for character in value)
            return value if decodable else refuse("holds half a surrogate pair, which is not text")
        case Mapping():
            if not all(isinstance(key, str) for key in value):
                return refuse("has a key that is not a string")
            if any(_plain(key, location, {}) is None for key in value):
                return refuse("has a key that is not text")
            return {key: _plain(item, (*location, key), problems) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item, (*location, str(at)), problems) for at, item in enumerate(value)]
        case set() | frozenset():
            return _plain(sorted(value, key=repr), location, problems)
        case None:
            return refuse("is null", "leave the key out")
    return refuse(
        f"is a {type(value).__name__}; strings, numbers, true, false, lists and tables are accepted",
        "write a date or time as a string",
    )


def _path(location: Location) -> str:
    return ".".join(location) or "document"


def _completed(model: type[BaseModel], plain: dict[str, Any], broken: Iterable[Location]) -> dict[str, Any]:
    """`plain` without what is broken, and with examples where something required is now missing."""
    document = {key: dict(table) if isinstance(table, dict) else table for key, table in plain.items()}
    for first, *rest in filter(None, broken):
        table = document.get(first)
        if rest and isinstance(table, dict):
            table.pop(rest[0], None)
        else:
            document.pop(first, None)
    for name, field in model.model_fields.items():
        if not _is_section(field.annotation):
            continue
        table = document.setdefault(name, {})
        for key, inner in field.annotation.model_fields.items():
            if inner.is_required() and key not in table:
                table[key] = (inner.examples or [None])[0]
    return document


def _problem(model: type[BaseModel], location: Location, error: ErrorDetails) -> Problem:
    path = _path(location)
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    table, key = _model_at(model, location), location[-1] if location else ""
    if kind == "missing":
        example = (table.model_fields[key].examples or [None])[0]
        hint = "" if example is None else f"for example: {key} = {json.dumps(example)}"
        return Problem(path, "is missing", hint)
    if kind == "extra_forbidden":
        return Problem(path, "is not a key this version knows", _nearest(model, table, key))
    if kind == "literal_error":
        return Problem(path, f"is {_shown(value)}", f"this version accepts {context['expected']}")
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return Problem(path, f"must be {words} {context[name]}, and is {_shown(value)}")
    if kind in _WANTED:
        return Problem(path, f"{_WANTED[kind]} is expected, and {_shown(value)} came")
    if kind == "value_error":
        return Problem(path, str(context["error"]))
    return Problem(path, f"{error['msg']}, and {_shown(value)} came")


def _nearest(model: type[BaseModel], table: type[BaseModel], key: str) -> str:
    close = difflib.get_close_matches(key, table.model_fields, n=1)
    if close:
        return f"did you mean {close[0]}?"
    for name, field in model.model_fields.items():
        if _is_section(field.annotation) and key in field.annotation.model_fields:
            return f"{key} belongs into [{name}]"
    return f"it knows {', '.join(table.model_fields)}"


def _model_at(model: type[BaseModel], location: Location) -> type[BaseModel]:
    """The model of the table that holds the last part of `location`."""
    for part in location[:-1]:
        field = model.model_fields.get(part)  # None: the index of a list, or the name of an entry
        if field is not None:
            model = next(_models_in(field.annotation), model)
    return model


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _is_section(annotation: Any) -> TypeGuard[type[Section]]:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _each_key_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a key is given twice")
    return table


def _shown(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case None:
            return "nothing"
        case dict():
            return "a table"
        case list():
            return "a list"
        case str():
            return json.dumps(value if len(value) <= 40 else value[:40] + "...", ensure_ascii=False)
    return repr(value)[:40]
