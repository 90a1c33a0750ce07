"""A figure as it is said, with its unit, its interval and its levels."""

import pytest

from secagg_attacks.report import figures
from secagg_attacks.verdicts import judged
from tests.attacks.measured import measured

EPSILON = {"figure": "epsilon, at least", "value": 1.234, "low": 1.234, "chance": 0.0, "ceiling": 3.25}
DECIBELS = {"figure": "median PSNR, dB", "value": 31.46, "low": 9.0, "high": 40.0, "n": 8, "chance": 12.34}
SHARE = {"figure": "share of examples found", "value": 0.625, "low": 0.38, "high": 0.81, "chance": 0.0}


def of(**facts):
    (found,) = judged([measured(**facts)])
    return found


@pytest.mark.parametrize(
    ("facts", "headline", "interval", "levels"),
    [
        ({}, "AUC 0.950", "0.900 to 0.970", "n 100, chance 0.5, ceiling 1"),
        ({**DECIBELS, "ceiling": 200.0}, "31.5 dB", "9.0 to 40.0", "n 8, chance 12.3, ceiling 200.0 dB"),
        (SHARE, "62 % of examples found", "38 to 81 %", "n 100, chance 0, ceiling 100 %"),
        (
            {**EPSILON, "more": {"accounted epsilon": 8.0}},
            "ε ≥ 1.23",
            "accounted 8",
            "n 100, chance 0, ceiling 3.25",
        ),
        (EPSILON, "ε ≥ 1.23", "no account", "n 100, chance 0, ceiling 3.25"),
    ],
)
def test_each_kind_of_figure_has_its_unit(facts, headline, interval, levels):
    found = of(**facts)
    assert (figures.headline(found), figures.interval(found), figures.levels(found)) == (
        headline,
        interval,
        levels,
    )


def test_what_was_not_measured_is_said_by_nothing():
    found = of(value=None, low=None, high=None, chance=None, ceiling=None)
    assert (figures.headline(found), figures.interval(found), figures.levels(found)) == ("", "", "")
