"""The heat map's tables: every column in one, each with its own."""

from __future__ import annotations

from collections import Counter

from secagg_attacks.matrix.attacks import COLUMNS
from secagg_attacks.report.groups import groups
from tests.attacks.report.whole_table import of, whole


def test_every_column_is_in_one_table():
    found = Counter(column.name for group in groups(whole()) for column in group.columns)
    assert found == Counter(list(COLUMNS))


def test_each_table_has_one_family_and_uploads_stand_apart_from_sums():
    found = groups(whole())
    assert [group.title for group in found] == [
        "Inversion, from one client's upload",
        "Inversion, through the opened sum",
        "Membership, from one client's upload",
        "Membership, from the opened sum",
        "Audit",
    ]
    for group in found:
        assert {column.family for column in group.columns} == {group.family}
        assert group.family == "audit" or len({column.seen == "upload" for column in group.columns}) == 1


def test_a_title_tells_a_column_from_every_other():
    assert len({column.title for column in COLUMNS.values()}) == len(COLUMNS)


def test_there_is_no_table_without_columns():
    (only,) = groups(of(("audit",)))
    assert only.title == "Audit"


def test_a_cell_on_a_sum_says_how_many_are_in_it_and_one_on_an_upload_does_not():
    uploads, sums = (group for group in groups(whole()) if group.family == "membership")
    assert {cell.clients for _, cells in sums.rows for cell in cells} == {"sum of 8 clients"}
    assert {cell.clients for _, cells in uploads.rows for cell in cells} == {""}


def test_a_cell_without_a_figure_has_its_verdict_alone():
    (only,) = groups(of(("audit",), ("none", "masks")))
    cells = {row.defence: cells[0] for row, cells in only.rows}
    assert (cells["masks"].verdict, cells["masks"].headline, cells["masks"].levels) == (
        "not applicable",
        "",
        "",
    )
    assert cells["none"].headline == "ε ≥ 3.00" and "ceiling 3.2" in cells["none"].levels
