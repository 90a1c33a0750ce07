"""Rows and columns: those that were named, or those that a budget has time for."""

import pytest

from secagg_attacks.defences import DEFENCES
from secagg_attacks.matrix.attacks import COLUMNS
from secagg_attacks.matrix.choice import QUICK_ROWS, columns, columns_for, rows, rows_for
from secagg_attacks.matrix.errors import MatrixError

FAMILIES = sorted({column.family for column in COLUMNS.values()})


def names(chosen):
    return tuple(each.name for each in chosen)


def test_below_five_minutes_there_are_the_quick_rows_and_columns():
    assert rows_for(60.0) == QUICK_ROWS
    assert set(QUICK_ROWS) < set(DEFENCES)
    assert columns_for(299.0) == tuple(name for name, column in COLUMNS.items() if column.quick)
    assert columns_for(299.0)


@pytest.mark.parametrize("budget", [300.0, None])
def test_with_more_time_there_are_all(budget):
    assert rows_for(budget) == tuple(DEFENCES)
    assert columns_for(budget) == tuple(COLUMNS)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_has_its_own_columns(family):
    assert {COLUMNS[name].family for name in columns_for(None, family)} == {family}
    assert set(columns_for(60.0, family)) <= set(columns_for(None, family))
    assert sum(len(columns_for(None, each)) for each in FAMILIES) == len(COLUMNS)


def test_what_is_named_comes_in_the_order_of_the_table_and_once():
    assert names(columns(("loss-sum", "analytic", "loss-sum"), 60.0)) == ("analytic", "loss-sum")
    assert names(rows(("bfv", "masks", "bfv"), 60.0)) == ("none", "bfv", "masks")


def test_a_column_that_is_not_quick_may_be_named_for_a_short_table():
    assert names(columns(tuple(COLUMNS), 60.0)) == tuple(COLUMNS)


@pytest.mark.parametrize(
    ("wanted", "family", "says"),
    [
        (("telepathy",), None, "no attack is called 'telepathy'"),
        (("loss-sum",), "audit", "no audit attack is called 'loss-sum'"),
        ((), None, "no attack was named"),
    ],
)
def test_a_column_that_there_is_not_is_refused_with_those_that_there_are(wanted, family, says):
    with pytest.raises(MatrixError, match=says) as refused:
        columns(wanted, None, family)
    assert refused.value.code == "attack-unknown"
    assert "audit" in refused.value.hint
