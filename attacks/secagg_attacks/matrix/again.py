"""A table played again: the config that one has written, read back."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from secagg_attacks.matrix.config import FORMAT, Config, versions
from secagg_attacks.matrix.errors import MatrixError

__all__ = ["other_versions", "read_config"]


def read_config(path: Path) -> Config:
    """The config.json of a table; its budget may have been edited, and nothing else.

    Raises MatrixError `matrix-config`: it is not there, no such config, or of a release that has others.
    """
    try:
        data = path.read_bytes()
        config = TypeAdapter(Config).validate_json(data, strict=True)
        written = json.loads(data)
    except OSError as error:
        raise _refused(path, f"cannot be read: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise _refused(path, f"is no config of a table: {where} {first['msg']}".rstrip()) from error
    if (written.get("format"), written.get("digest")) != (FORMAT, config.digest):
        raise _refused(
            path, "was changed since, or is of another release: its digest is not that of what it says"
        )
    return config


def other_versions(config: Config) -> tuple[str, ...]:
    """What computed the figures of `config` and is another here: "torch 2.12.0, here 2.13.0"."""
    here = dict(versions())
    return tuple(
        f"{name} {number}, here {here.get(name, 'none')}"
        for name, number in config.versions
        if here.get(name) != number
    )


def _refused(path: Path, why: str) -> MatrixError:
    return MatrixError(
        "matrix-config",
        f"{path} {why}",
        "a config.json as a table wrote it beside its report; options beside it come before what it says",
    )
