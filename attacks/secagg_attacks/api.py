"""The commands as functions, of the same shape: a target in, a table out.

    outcome = secagg_attacks.run_matrix(target, defences=("masks",), budget=60.0, out="attacks")

Named `run_...`, for the plain words are this package's folders.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from secagg_attacks.matrix.attacks import COLUMNS
from secagg_attacks.matrix.play import Outcome, Progress, play
from secagg_attacks.report import write
from secagg_attacks.target import Target

__all__ = ["run_audit", "run_inversion", "run_matrix", "run_membership"]


def run_inversion(
    target: Target | None = None,
    *,
    defences: Sequence[str] | None = None,
    seed: int = 0,
    budget: float | None = None,
    out: str | Path | None = None,
    on_cell: Progress | None = None,
) -> Outcome:
    """Every inversion on every defence; target: None for scikit-learn's digits. Raises as `play` does."""
    return _run("inversion", target, defences, seed, budget, out, on_cell)


def run_membership(
    target: Target | None = None,
    *,
    defences: Sequence[str] | None = None,
    seed: int = 0,
    budget: float | None = None,
    out: str | Path | None = None,
    on_cell: Progress | None = None,
) -> Outcome:
    """The same of membership."""
    return _run("membership", target, defences, seed, budget, out, on_cell)


def run_audit(
    target: Target | None = None,
    *,
    defences: Sequence[str] | None = None,
    seed: int = 0,
    budget: float | None = None,
    out: str | Path | None = None,
    on_cell: Progress | None = None,
) -> Outcome:
    """The audit of every defence; `Outcome.failures` names those whose bound beats their account."""
    return _run("audit", target, defences, seed, budget, out, on_cell)


def run_matrix(
    target: Target | None = None,
    *,
    defences: Sequence[str] | None = None,
    seed: int = 0,
    budget: float | None = None,
    out: str | Path | None = None,
    on_cell: Progress | None = None,
) -> Outcome:
    """Every attack on every defence. budget: seconds. out: the folder of report.html and its kin."""
    return _run(None, target, defences, seed, budget, out, on_cell)


def _run(
    family: str | None,
    target: Target | None,
    defences: Sequence[str] | None,
    seed: int,
    budget: float | None,
    out: str | Path | None,
    on_cell: Progress | None,
) -> Outcome:
    attacks = [name for name, column in COLUMNS.items() if family in (None, column.family)]
    folder = None if out is None else Path(out)
    outcome = play(
        target, defences=defences, attacks=attacks, seed=seed, budget=budget, out=folder, on_cell=on_cell
    )
    if folder is not None:
        write(outcome, folder)
    return outcome
