"""The chart of PSNR by clients."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from secagg_attacks.report.mean_chart import MeanLine, Point, svg

SPACE = "{http://www.w3.org/2000/svg}"
CHANCE = {1: 9.0, 2: 9.5, 32: 10.0}


def line(label, stroke, *levels):
    points = zip((1, 2, 32), levels, strict=False)
    return MeanLine(
        label, stroke, tuple(Point(clients, psnr, psnr - 2, psnr + 3) for clients, psnr in points)
    )


def drawn(*lines):
    return ElementTree.fromstring(svg("means", "a < b", lines, CHANCE))


def places(element):
    return [tuple(map(float, pair.split(","))) for pair in element.get("points").split()]


def test_each_line_and_chance_are_drawn_with_a_mark_and_an_interval_for_each_point():
    found = drawn(line("masks & none", 1, 40, 30, 20), line("noise", 2, 9, 9))
    chance, first, second = map(places, found.findall(f"{SPACE}polyline"))
    assert (len(chance), len(first), len(second)) == (3, 3, 2)
    assert len(found.findall(f"{SPACE}circle")) == 5
    assert "masks & none: 40.0 dB of 1, 30.0 dB of 2, 20.0 dB of 32" in found.find(f"{SPACE}desc").text
    assert "chance: 9.0 dB of 1" in found.find(f"{SPACE}desc").text


def test_more_decibels_are_higher_and_more_clients_are_further_right():
    _, found = map(places, drawn(line("masks", 1, 40, 30, 20)).findall(f"{SPACE}polyline"))
    assert [x for x, _ in found] == sorted(x for x, _ in found)
    assert [y for _, y in found] == sorted(y for _, y in found)


@pytest.mark.parametrize("levels", [(9, 9, 9), (200, 100, 10), (0, 0, 0)])
def test_nothing_is_drawn_outside_of_the_picture(levels):
    found = drawn(line("masks", 1, *levels))
    _, _, width, height = map(float, found.get("viewBox").split())
    for mark in found.findall(f"{SPACE}polyline"):
        assert all(0 <= x <= width and 0 <= y <= height for x, y in places(mark))


def test_a_number_of_clients_without_a_chance_level_has_its_place():
    found = ElementTree.fromstring(svg("means", "t", [line("masks", 1, 40, 30)], {1: 9.0}))
    assert {"1", "2"} <= {each.text for each in found.findall(f"{SPACE}text")}
