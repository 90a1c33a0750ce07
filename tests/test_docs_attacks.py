"""What docs/attacks.md says of figures, names and levels is what was measured, and what the code has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from secagg_attacks.audit import AUDITORS
from secagg_attacks.defences import defence
from secagg_attacks.images.measures import CEILING_PSNR
from secagg_attacks.matrix.attacks import COLUMNS
from secagg_attacks.matrix.column import Family
from secagg_attacks.matrix.examples_found import EXACTLY
from secagg_attacks.matrix.inversions import ANALYTIC_DB, SMOOTH_DB
from secagg_attacks.matrix.memberships import WINS_AT
from secagg_attacks.matrix.memberships_measured import CLEAR_BELOW
from secagg_attacks.matrix.reconstructions import LEAKS_DB, MOST_DB
from secagg_attacks.matrix.two_models import MET
from secagg_attacks.results import Verdict
from secagg_attacks.verdicts import DOUBT
from tests.documented_figures import DOCUMENTS, tables, written

PAGE = "attacks.md"
RESULTS = DOCUMENTS.parent / "benchmarks" / "results"

Cell = tuple[str, str, float | str | None]
"""(where, what the document says, what was measured)."""


def results(name: str) -> Any:
    return json.loads((RESULTS / f"attacks_{name}.json").read_text())


def table(heading: str) -> tuple[list[str], list[list[str]]]:
    (found,) = tables(PAGE, heading)
    return found[0], found[1:]


def membership() -> Iterator[Cell]:
    measured = {one["attack"]: one for one in results("membership")["attacks"]}
    _, rows = table("### Membership")
    assert {name for name, *_ in rows} == set(measured)
    for name, *said in rows:
        one = measured[name]
        known = one["known"] or (None, None, None)
        for cell, figure in zip(said, (one["auc"], one["tpr_1"], one["tpr_01"], *known), strict=True):
            yield f"membership, {name}", cell, figure


def inversion() -> Iterator[Cell]:
    measured = {one["case"]: one for one in results("inversion")["cases"]}
    header, rows = table("### Inversion of one update")
    keys = {
        "MSE": "mse",
        "PSNR": "psnr",
        "SSIM": "ssim",
        "labels found": "labels",
        "best constant": "constant",
        "another image": "guess",
    }
    assert {name for name, *_ in rows} == set(measured)
    for name, *said in rows:
        for what, cell in zip(header[1:], said, strict=True):
            yield f"inversion, {name}, {what}", cell, measured[name].get(keys[what])


def cases(attack: str) -> list[dict[str, Any]]:
    return [one for one in results("through_sum")["cases"] if one["attack"] == attack]


def through_mean() -> Iterator[Cell]:
    analytic = {one["clients"]: one for one in cases("mean-analytic")}
    inverting = {one["clients"]: one for one in cases("mean-inverting-gradients")}
    _, rows = table("### Inversion through a mean")
    assert [int(clients) for clients, *_ in rows] == list(inverting)
    for clients, *said in rows:
        of, other = inverting[int(clients)], analytic[int(clients)]
        measured = (other["psnr"], of["psnr"], of["chance_flat"], of["chance_guess"])
        for cell, figure in zip(said, measured, strict=True):
            yield f"mean of {clients}", cell, figure


def traps() -> Iterator[Cell]:
    measured = {(one["clients"], one["bins"], one["protection"]): one["exact"] for one in cases("traps")}
    header, rows = table("### Trap weights")
    widths = [int(what.split()[0]) for what in header[1:]]
    assert {(int(clients), width) for clients, *_ in rows for width in widths} == {
        key[:2] for key in measured
    }
    for clients, *said in rows:
        for width, cell in zip(widths, said, strict=True):
            for kind in ("none", "masks"):
                yield f"traps, {clients}, {width}, {kind}", cell, measured[int(clients), width, kind]


def attributed() -> Iterator[Cell]:
    measured = {(one["clients"], one["batch"]): one for one in cases("sratta")}
    _, rows = table("### SRATTA")
    assert {(int(clients), int(batch)) for clients, batch, *_ in rows} == set(measured)
    for clients, batch, *said in rows:
        one = measured[int(clients), int(batch)]
        keys = ("examples", "recovered", "wrong", "precision", "recall")
        for key, cell in zip(keys, said, strict=True):
            yield f"sratta, {clients}, {batch}, {key}", cell, one[key]


def cocktail() -> Iterator[Cell]:
    measured = {one["clients"]: one for one in cases("cocktail")}
    _, rows = table("### Cocktail party")
    assert [int(clients) for clients, *_ in rows] == list(measured)
    for clients, *said in rows:
        keys = ("correlation", "psnr", "ssim", "chance_psnr", "chance_ssim")
        for key, cell in zip(keys, said, strict=True):
            yield f"cocktail, {clients}, {key}", cell, measured[int(clients)][key]


def inconsistent() -> Iterator[Cell]:
    measured = {(one["protection"], one["lie"]): one for one in cases("inconsistent")}
    _, rows = table("### Inconsistent models")
    assert len(rows) == 4
    for kind, *said in rows:
        for lie, cell in zip(("one-context", "own-contexts"), said, strict=True):
            one = measured[kind, lie]
            yield f"inconsistent, {kind}, {lie}", cell, f"`{one['code']}`" if one["blocked"] else one["mse"]


def auditors() -> Iterator[Cell]:
    found = results("audit")["cases"]
    measured = {(one["method"], one["epsilon"]): one for one in found}
    _, rows = table("### Auditors")
    assert [name for name, *_ in rows] == list(AUDITORS)
    for name, *said in rows:
        figures = []
        for epsilon in (1.0, 4.0, 8.0):
            figures += [measured[name, epsilon]["median"], measured[name, epsilon]["expected"]]
        figures.append(max(one["over"] for one in found if one["method"] == name))
        for cell, figure in zip(said, figures, strict=True):
            yield f"auditors, {name}", cell, figure


def whole_table() -> Iterator[Cell]:
    cells = results("matrix")["cases"][-1]["cells"]
    shown = set()
    for header, *rows in tables(PAGE, "### One whole table"):
        for name, *said in rows:
            for row, cell in zip(header[1:], said, strict=True):
                verdict, _, figure = cells[f"{row.strip('`')} x {name.strip('`')}"].partition(": ")
                yield f"{name} on {row}", cell, f"{verdict}, {figure.split()[-1]}"
            shown.add(name.strip("`"))
    assert shown == {name for name, column in COLUMNS.items() if column.family != "audit"}


PARTS = (
    membership,
    inversion,
    through_mean,
    traps,
    attributed,
    cocktail,
    inconsistent,
    auditors,
    whole_table,
)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_every_figure_of_the_known_answers_is_the_measured_one(part: Any) -> None:
    for where, said, measured in part():
        if said == "-" or measured is None:
            assert (where, said, measured) == (where, "-", None)
        elif isinstance(measured, str):
            assert (where, said) == (where, measured)
        else:
            assert (where, written(measured, said)) == (where, said)


@pytest.mark.parametrize("name", ["membership", "inversion", "through_sum", "audit"])
def test_every_committed_measurement_holds(name: str) -> None:
    found = results(name)
    assert all(one["holds"] is not False for one in found.get("cases") or found["attacks"])


def test_the_share_of_audits_that_is_no_contradiction_is_the_measured_one() -> None:
    allowed = {one["over_allowed"] for one in results("audit")["cases"]}
    assert f"of which {allowed.pop()} would be no contradiction" in (DOCUMENTS / PAGE).read_text()
    assert not allowed


def test_the_levels_of_the_document_are_those_of_the_code() -> None:
    (_, psnr, share, auc, _), _ = tables(PAGE, "## Chance, ceilings, verdicts")
    assert psnr[2].startswith(f"{MOST_DB:g} dB") and psnr[2].endswith(f"{CEILING_PSNR:.1f} dB")
    assert psnr[3] == f"{ANALYTIC_DB:g} dB analytic, {SMOOTH_DB:g} dB iDLG, {LEAKS_DB:g} dB the others"
    assert share[3] == f"{EXACTLY.wins_at:g}; of chosen victims {MET.wins_at:g}"
    assert auc[3] == f"{WINS_AT:g}"
    assert f"(an AUC below {CLEAR_BELOW:g})" in (DOCUMENTS / PAGE).read_text()
    assert f"(p above {DOUBT:g}," in (DOCUMENTS / PAGE).read_text()


def test_a_whole_table_kept_its_budget_and_hid_every_upload() -> None:
    found = results("matrix")
    quick, whole = found["cases"]
    page = " ".join((DOCUMENTS / PAGE).read_text().split())
    assert f"in {whole['seconds']:.0f} seconds of two cores, nothing left out" in page
    assert f"with `--budget 60s`, {quick['seconds']:.0f}." in page
    assert quick["seconds"] <= 60
    assert whole["seconds"] <= 600
    assert not whole["left_out"]
    uploads = {name for name, column in COLUMNS.items() if column.seen == "upload"}
    assert set(whole["wins_without_protection"]) == uploads
    assert set(whole["hidden"]) == {f"{row} x {name}" for row in ("masks", "bfv", "ckks") for name in uploads}
    assert all(whole["wins_without_protection"].values())
    verdicts = list(whole["hidden"].values())
    assert set(verdicts) <= {"at chance", "not shown"}
    assert f"of those {len(verdicts)} cells {verdicts.count('not shown')} is in doubt" in page


OF_FAMILY: dict[Family, str] = {
    "inversion": "## Gradient inversion",
    "membership": "## Membership inference",
    "audit": "## The audit: a lower bound on epsilon",
}


@pytest.mark.parametrize("family", OF_FAMILY)
def test_every_column_stands_in_the_table_of_its_family_and_no_other_does(family: Family) -> None:
    header, *rows = next(tables(PAGE, OF_FAMILY[family]))
    place = next(index for index, what in enumerate(header) if what in ("column", "columns"))
    named = [name.strip("`") for row in rows for name in row[place].split()]
    assert sorted(named) == sorted(name for name, column in COLUMNS.items() if column.family == family)


def test_every_verdict_is_explained_and_no_other() -> None:
    _, (_, *rows) = tables(PAGE, "## Chance, ceilings, verdicts")
    assert {name for name, _ in rows} == set(get_args(Verdict))


def test_every_defence_that_the_document_names_is_one() -> None:
    _, rows = table("## What a party sees")
    names = [name.strip("`") for cell, _ in rows for name in cell.split() if name.startswith("`")]
    assert len(names) == 7
    assert [defence(name).name for name in names] == names


def test_every_auditor_is_explained() -> None:
    _, (_, *rows) = tables(PAGE, "## The audit: a lower bound on epsilon")
    assert {name.strip("`") for name, *_ in rows} == set(AUDITORS)
