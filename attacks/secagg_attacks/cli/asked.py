"""What a command line asks a table for: its options, and behind them those of a config that was written."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from secagg.cli.targets import CommandError, reporting
from secagg_attacks.fingerprint import fingerprint
from secagg_attacks.matrix.again import other_versions, read_config
from secagg_attacks.matrix.config import Config, Scale
from secagg_attacks.matrix.errors import MatrixError
from secagg_attacks.matrix.world import DIGITS, digits_world
from secagg_attacks.target import Target

__all__ = ["Asked", "asked"]


@dataclass(frozen=True, eq=False)
class Asked:
    """target: None for the digits. source: MODULE:FUNCTION that gave it. defences, attacks, scale: None for
    what the budget allows. warnings: of a config whose figures other packages computed."""

    target: Target | None
    source: str
    defences: tuple[str, ...] | None
    attacks: tuple[str, ...] | None
    seed: int
    budget: float | None
    scale: Scale | None = None
    warnings: tuple[str, ...] = ()


def asked(ctx: click.Context, config: Path | None, options: dict[str, Any]) -> Asked:
    """options: target, defences, attacks, seed and budget, as parsed.

    Raises CommandError `target-missing`, what `reporting` raises, and MatrixError `matrix-config`.
    """
    before = None if config is None else read_config(config)
    if before is None or config is None:
        source = options["target"] or ""
        return Asked(
            _target(source),
            source,
            options["defences"] or None,
            options["attacks"] or None,
            options["seed"],
            options["budget"],
        )
    given = {
        name for name in options if ctx.get_parameter_source(name) not in (ParameterSource.DEFAULT, None)
    }
    source = options["target"] if "target" in given else before.source
    target = _target(source)
    seed = options["seed"] if "seed" in given else before.seed
    if "target" not in given and (target is not None or "seed" not in given):
        _check_same(config, before, target, seed)
    return Asked(
        target,
        source,
        options["defences"] if "defences" in given else before.defences,
        options["attacks"] if "attacks" in given else before.attacks,
        seed,
        options["budget"] if "budget" in given else before.budget,
        before.scale,
        tuple(f"{config} was played with {other}" for other in other_versions(before)),
    )


def _check_same(config: Path, before: Config, target: Target | None, seed: int) -> None:
    """The target is that of a config."""
    if target is None and before.target != DIGITS:
        raise MatrixError(
            "matrix-config",
            f"{config} is of the target {before.target!r}, and does not say where it came from",
            "--target MODULE:FUNCTION beside it",
        )
    if fingerprint(target or digits_world(seed).target) != before.target_digest:
        raise MatrixError(
            "matrix-config",
            f"{before.source or before.target} gives another target than the one that {config} is of",
            "the model and data of then; or --target beside it, for a table of the new one",
        )


def _target(name: str) -> Target | None:
    """Raises CommandError `target-missing`, and what `reporting` raises."""
    if not name:
        return None
    try:
        made = reporting(name)()
    except CommandError as error:
        if error.code != "function-not-callable":
            raise
        module, _, path = name.partition(":")
        made = attrgetter(path)(sys.modules[module])
    if not isinstance(made, Target):
        raise CommandError(
            "target-missing",
            f"{name} is, or gave, something of the type {type(made).__name__}",
            "a secagg_attacks.Target, or a function without arguments that returns one",
        )
    return made
