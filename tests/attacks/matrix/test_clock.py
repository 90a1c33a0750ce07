"""Shares of a budget, by a clock that the test moves, and what cells are expected to take."""

import math
from dataclasses import replace

import pytest

from secagg_attacks.matrix.attacks import COLUMNS
from secagg_attacks.matrix.clock import Clock, OutOfTime, Paces, Shares, kept_back

SEARCH = next(each for each in COLUMNS.values() if each.stretches)
FIRM = next(each for each in COLUMNS.values() if not each.stretches)


class Hand:
    def __init__(self):
        self.at = 100.0

    def __call__(self):
        return self.at


def weighing(column, weight):
    return replace(column, weight=weight)


def test_a_share_is_of_what_is_left_and_grows_where_others_took_less():
    hand = Hand()
    firm, search = weighing(FIRM, 1.0), weighing(SEARCH, 5.0)
    shares = Shares(Clock(60.0, now=hand), [firm, search])
    assert (shares.of(firm), shares.of(search)) == (10.0, 50.0)
    hand.at += 5.0
    shares.over(firm)
    assert shares.of(search) == 55.0


def test_what_cannot_end_early_leaves_searches_half_of_the_share_that_they_began_with():
    hand = Hand()
    firm, search = weighing(FIRM, 1.0), weighing(SEARCH, 2.0)
    shares = Shares(Clock(60.0, now=hand), [firm, firm, search, search])
    assert (shares.free(firm), shares.free(search)) == (40.0, 60.0)
    hand.at += 40.0
    shares.over(firm)
    assert shares.free(firm) == 0.0
    shares.over(firm)
    assert shares.of(search) == 10.0
    shares.over(search)
    assert shares.free(firm) == 10.0


@pytest.mark.parametrize("budget", [None, -1.0])
def test_without_a_budget_or_past_it_nothing_is_promised(budget):
    clock = Clock(budget, now=Hand())
    assert Shares(clock, [FIRM, SEARCH]).free(FIRM) == clock.left


def test_a_budget_begins_when_it_is_said_to_and_what_is_kept_back_is_nobodys():
    assert Clock(60.0, begun=97.0, back=4.0, now=Hand()).left == 53.0
    assert Clock(5.0, begun=90.0, back=4.0, now=Hand()).left < 0


def test_more_cells_take_more_time_to_write_down():
    assert 0 < kept_back(1) < kept_back(300) < 10


def test_without_a_budget_every_share_is_endless():
    clock = Clock(None, back=4.0, now=Hand())
    assert Shares(clock, [FIRM]).of(FIRM) == math.inf
    assert clock.left == math.inf


def test_a_callback_stops_what_takes_longer_than_it_was_given():
    hand = Hand()
    check = Clock(60.0, now=hand).stop_after(3.0)
    hand.at += 3.0
    check(1, 2)
    hand.at += 0.1
    with pytest.raises(OutOfTime):
        check(2, 2)


def test_an_attack_is_expected_to_take_what_it_took_on_the_worst_row():
    paces = Paces()
    for seconds in (2.0, 3.0, 1.0):
        paces.took("searches", "idlg", seconds)
    assert paces.expected("searches", "idlg") == 3.0


def test_of_an_attack_that_was_not_played_yet_the_average_of_its_kind_is_expected():
    paces = Paces()
    assert paces.expected("searches", "idlg") == 0.0
    paces.took("searches", "inverting", 3.0)
    paces.took("searches", "fedavg", 1.0)
    assert paces.expected("searches", "idlg") == 2.0
    assert paces.expected("others", "loss-sum") == 0.0
