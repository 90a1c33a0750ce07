"""ROC curves as SVG."""

from xml.etree import ElementTree

import numpy as np
import pytest

from secagg_attacks.report.roc_chart import Line, svg
from secagg_attacks.statistics.roc import log_log_curve, roc

SPACE = "{http://www.w3.org/2000/svg}"


def line(label, shift, count=500, stroke=0):
    rng = np.random.default_rng(0)
    member = np.arange(2 * count) < count
    scores = rng.normal(size=2 * count) + shift * member
    return Line(label, stroke, log_log_curve(roc(scores, member), points=40))


def places(element):
    return np.array([[float(number) for number in pair.split(",")] for pair in element.get("points").split()])


def test_every_curve_has_a_line_of_its_own_stroke_a_band_and_words():
    drawn = ElementTree.fromstring(svg("x", "a < b", [line("masks & noise", 0), line("none", 2, stroke=3)]))
    assert len(drawn.findall(f"{SPACE}polyline")) == len(drawn.findall(f"{SPACE}polygon")) == 2
    texts = [each.text for each in drawn.findall(f"{SPACE}text")]
    assert {"false-positive rate", "true-positive rate"} <= set(texts)
    said = drawn.find(f"{SPACE}desc").text
    assert "masks & noise: TPR" in said and "none: TPR" in said and "Chance" in said
    assert drawn.find(f"{SPACE}title").text == "a < b"
    drawn_as = {
        (each.get("stroke"), each.get("stroke-dasharray")) for each in drawn.findall(f"{SPACE}polyline")
    }
    assert len(drawn_as) == 2


@pytest.mark.parametrize("shift", [0.0, 1.0, 50.0])
def test_nothing_is_drawn_outside_of_the_picture(shift):
    drawn = ElementTree.fromstring(svg("x", "t", [line("one", shift)]))
    _, _, width, height = map(float, drawn.get("viewBox").split())
    for mark in (*drawn.findall(f"{SPACE}polyline"), *drawn.findall(f"{SPACE}polygon")):
        at = places(mark)
        assert np.isfinite(at).all()
        assert (at >= 0).all() and (at[:, 0] <= width).all() and (at[:, 1] <= height).all()


def test_a_better_attack_is_drawn_higher():
    drawn = ElementTree.fromstring(svg("x", "t", [line("chance", 0), line("good", 2)]))
    worse, better = (places(each)[:, 1].mean() for each in drawn.findall(f"{SPACE}polyline"))
    assert better < worse


def test_the_axes_begin_at_a_rate_of_one_false_alarm_rounded_to_its_decade():
    drawn = ElementTree.fromstring(svg("x", "t", [line("one", 1, count=500)]))
    texts = [each.text for each in drawn.findall(f"{SPACE}text")]
    assert "0.1 %" in texts and "0.01 %" not in texts
