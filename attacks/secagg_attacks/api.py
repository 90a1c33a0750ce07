"""The commands as functions, of the same shape: a target in, a table out.

    outcome = secagg_attacks.run_matrix(target, defences=("masks",), budget=60.0, out="attacks")

Named `run_...`, for the plain words are this package's folders.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TypedDict, Unpack

from secagg_attacks.matrix.column import Family
from secagg_attacks.matrix.play import Outcome, Progress, play
from secagg_attacks.report import write
from secagg_attacks.target import Target

__all__ = ["Options", "run_audit", "run_inversion", "run_matrix", "run_membership"]


class Options(TypedDict, total=False):
    """What each function may be told.

    defences, attacks: rows and columns by name; left out, those that the budget has time for. seed: 0 if left
    out; of everything but keys, masks, ciphertexts and DP-SGD's noise. budget: seconds for all of it, pages
    too; left out, as long as it takes. out: the folder of report.html and its kin; left out, nothing is
    written. on_cell: called as each cell begins, with (defence, attack, cells done, cells in all). executor:
    of attacks that train much side by side; left out, one after another.
    """

    defences: Sequence[str] | None
    attacks: Sequence[str] | None
    seed: int
    budget: float | None
    out: str | Path | None
    on_cell: Progress | None
    executor: Executor | None


def run_inversion(target: Target | None = None, **options: Unpack[Options]) -> Outcome:
    """Every inversion on every defence; target: None for scikit-learn's digits. Raises as `play` does."""
    return _run("inversion", target, options)


def run_membership(target: Target | None = None, **options: Unpack[Options]) -> Outcome:
    """The same of membership."""
    return _run("membership", target, options)


def run_audit(target: Target | None = None, **options: Unpack[Options]) -> Outcome:
    """The audit of every defence; `Outcome.failures` names those whose bound beats their account."""
    return _run("audit", target, options)


def run_matrix(target: Target | None = None, **options: Unpack[Options]) -> Outcome:
    """Every attack on every defence."""
    return _run(None, target, options)


def _run(family: Family | None, target: Target | None, options: Options) -> Outcome:
    outcome = play(target, family=family, **options)
    if (out := options.get("out")) is not None:
        write(outcome, Path(out))
    return outcome
