"""Shares of a budget, by a clock that the test moves."""

import math

import pytest

from secagg_attacks.matrix.clock import Clock, OutOfTime


class Hand:
    def __init__(self):
        self.at = 100.0

    def __call__(self):
        return self.at


def test_a_share_is_of_what_is_left_and_grows_where_others_took_less():
    hand = Hand()
    clock = Clock(60.0, hand)
    assert clock.share(1.0, 6.0) == 10.0
    hand.at += 5.0
    assert clock.share(1.0, 5.0) == 11.0
    assert (clock.left, clock.taken) == (55.0, 5.0)


def test_without_a_budget_every_share_is_endless():
    clock = Clock(None, Hand())
    assert clock.share(1.0, 10.0) == math.inf
    assert clock.left == math.inf


def test_a_callback_stops_what_takes_longer_than_it_was_given():
    hand = Hand()
    check = Clock(60.0, hand).stop_after(3.0)
    hand.at += 3.0
    check(1, 2)
    hand.at += 0.1
    with pytest.raises(OutOfTime):
        check(2, 2)
