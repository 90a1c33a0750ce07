"""The plan that the options of `secagg params` choose, and what else would do where that one cannot work."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain, groupby, islice, product
from pathlib import Path
from typing import Any, Final

from secagg.cli.targets import CommandError
from secagg.errors import PlanError
from secagg.plan import Encoding, Plan
from secagg.plan_problems import MAX_RECOMPUTED

__all__ = ["Tables", "planned", "terms_of"]

Tables = Mapping[str, Mapping[str, Any]]
"""Table -> key -> value, as in a plan."""

_HOMOMORPHIC: Final = ("bfv", "ckks")
_TRIES: Final = 1000
_SMALLEST: Final = -30
"""The exponent of ten from which on a coarser precision is looked for."""
_DEFAULTS: Final = {"max_clients": 2, "min_survivors": 3, "colluders": 0.1, "dropouts": 0.2}


def terms_of(changes: Tables) -> dict[str, Any]:
    """What homomorphic summation needs of [cohort] beside what `changes` has; nothing for another kind."""
    asked, cohort = changes.get("protection", {}), changes.get("cohort", {})
    if asked.get("kind") not in _HOMOMORPHIC:
        return {}
    needed: dict[str, Any] = {"colluders": 0.0}
    if not asked.get("recompute"):
        needed |= {"adversary": "semi-honest"}
    return {name: value for name, value in needed.items() if name not in cohort}


def planned(path: Path | None, changes: Tables) -> Plan:
    """The plan at `path` (or defaults) with `changes`, table by table.

    Raises PlanError, with the nearest choices that would do for a hint; CommandError `params-unprotected`.
    """
    tables = (
        Plan.load(path).model_dump(exclude_none=True) if path else {"run": {"name": "params", "rounds": 1}}
    )
    whole = _changed(tables, changes)
    try:
        plan = _plan(whole)
    except PlanError as error:
        if nearest := _nearest(whole, error):
            error.hint = f"the nearest that works: {', or '.join(nearest)}"
        raise
    if plan.protection.kind == "none":
        raise CommandError(
            "params-unprotected",
            f'the plan\'s protection is "{plan.protection.kind}": no graph, no threshold, nothing is hidden',
            'kind = "masks" hides every update',
        )
    return plan


def _changed(tables: Tables, *changes: Tables) -> Tables:
    for change in changes:
        tables = {**tables, **{name: {**tables.get(name, {}), **table} for name, table in change.items()}}
    return tables


def _plan(tables: Tables) -> Plan:
    return Plan.model_validate(dict(tables), context={"source": "this choice"})


def _works(tables: Tables) -> bool:
    with suppress(PlanError):
        _plan(tables)
        return True
    return False


def _nearest(tables: Tables, error: PlanError) -> list[str]:
    """Options that make it work."""
    paths = {problem.path for problem in error.problems}
    if tables.get("protection", {}).get("kind") in _HOMOMORPHIC and (
        found := _terms_that_work(tables, exactly="encoding.precision" in paths)
    ):
        return found
    return list(_numbers_that_work(tables)) if all(path.startswith("cohort.") for path in paths) else []


def _numbers_that_work(tables: Tables) -> Iterator[str]:
    """Changes of one number each that make the cohort work, the smallest of their kind."""
    cohort = {**_DEFAULTS, **tables["cohort"]}
    clients, survivors = int(cohort["max_clients"]), int(cohort["min_survivors"])
    searches: tuple[tuple[str, str, Iterable[float]], ...] = (
        ("dropouts", "--dropouts", _shares_below(cohort["dropouts"])),
        ("colluders", "--colluders", _shares_below(cohort["colluders"])),
        ("max_clients", "--clients", range(max(2, clients + 1), max(2, clients) + _TRIES)),
        (
            "min_survivors",
            "--min-survivors",
            chain(range(survivors + 1, clients + 1), range(survivors, 1, -1)),
        ),
    )
    for key, option, candidates in searches:
        for value in islice(candidates, _TRIES):
            if _works(_changed(tables, {"cohort": {key: value}})):
                yield f"{option} {value:g}"
                break


def _shares_below(share: float) -> Iterator[float]:
    """The first is below 1, and no more than `share`."""
    most = min(99, int(100 * share)) if math.isfinite(share) else 99
    return (hundredths / 100 for hundredths in range(most, -1, -1))


def _terms_that_work(tables: Tables, *, exactly: bool) -> list[str]:
    """The fewest changes that give homomorphic summation what it needs; all that are as few.

    exactly: whether the ring is too wide for the scheme to add in it exactly.
    """
    nobody: Tables = {"cohort": {"colluders": 0.0}}
    honest: Tables = {"cohort": {"adversary": "semi-honest"}}
    groups: list[dict[str, Tables]] = [
        {"--colluders 0": nobody},
        {
            "--adversary semi-honest": honest,
            "--adversary malicious": {"cohort": {"adversary": "malicious"}},
            "--recompute": {"protection": {"recompute": True}},
            "--no-recompute": {"protection": {"recompute": False}},
        },
    ]
    if int(tables["cohort"].get("max_clients", 0)) > MAX_RECOMPUTED:
        groups[1][f"--clients {MAX_RECOMPUTED}"] = {"cohort": {"max_clients": MAX_RECOMPUTED}}
    if exactly:
        bfv: Tables = {"protection": {"kind": "bfv"}}
        groups.append({**_coarser(_changed(tables, nobody, honest)), "--protection bfv": bfv})
    ways = [
        {option: change for option, change in way if option}
        for way in product(*([("", {}), *group.items()] for group in groups))
    ]
    for _, as_few in groupby(sorted(ways, key=len), key=len):
        if found := [" ".join(way) for way in as_few if _works(_changed(tables, *way.values()))]:
            return found
    return []


def _coarser(tables: Tables) -> dict[str, Tables]:
    """The finest precision that works, of those with one digit: 1, 2 or 5."""
    precision = float({"precision": Encoding().precision, **tables.get("encoding", {})}["precision"])
    if not 0 < precision < math.inf:
        return {}
    for exponent in range(max(math.floor(math.log10(precision)), _SMALLEST), 1):
        for digit in (1, 2, 5):
            coarser = float(f"{digit}e{exponent}")
            change: Tables = {"encoding": {"precision": coarser}}
            if coarser > precision and _works(_changed(tables, change)):
                return {f"--precision {coarser:g}": change}
    return {}
