"""How slow a machine is, from two readings of two clocks."""

import pytest

from secagg_attacks.begun import Begun


@pytest.mark.parametrize(
    ("wall", "cpu", "slowness"),
    [(4.0, 4.0, 1.0), (6.0, 2.0, 3.0), (60.0, 2.0, 4.0), (3.0, 4.0, 1.0), (5.0, 0.1, 1.0)],
)
def test_a_machine_is_as_slow_as_its_seconds_are_long_within_bounds(wall, cpu, slowness):
    begun = Begun(100.0, 7.0)
    assert begun.slowness(Begun(100.0 + wall, 7.0 + cpu)) == slowness


def test_what_has_hardly_begun_says_nothing_of_the_machine():
    assert Begun.now().slowness() == 1.0
