"""A chart is one well-formed svg element whose marks lie where its numbers say."""

from __future__ import annotations

import math
from xml.etree import ElementTree

from hypothesis import example, given
from hypothesis import strategies as st

from secagg.report.charts import Chart, Line, points, svg

SVG = "{http://www.w3.org/2000/svg}"

ordinates = st.floats(0, 1e6)
series = st.dictionaries(st.integers(1, 1000), ordinates, min_size=1, max_size=30).map(
    lambda found: tuple(sorted((float(x), y) for x, y in found.items()))
)


def chart(*lines: Line, **more: object) -> Chart:
    return Chart("name", "A title", "round", "epsilon", lines, **more)  # type: ignore[arg-type]


def drawn(made: Chart) -> ElementTree.Element:
    return ElementTree.fromstring(svg(made))


@given(st.lists(series, min_size=1, max_size=4), st.booleans(), st.booleans())
def test_everything_that_is_drawn_lies_within_the_picture(found, whole, logarithmic):
    lines = [Line(f"line {index}", places) for index, places in enumerate(found)]
    root = drawn(chart(*lines, level=("budget", 5.0), whole=whole, logarithmic=logarithmic))
    _, _, width, height = map(float, str(root.get("viewBox")).split())
    for polyline in root.iter(f"{SVG}polyline"):
        for place in str(polyline.get("points")).split():
            x, y = map(float, place.split(","))
            assert 0 <= x <= width and 0 <= y <= height
    for text in root.iter(f"{SVG}text"):
        assert 0 <= float(text.get("x", "-1")) <= width and 0 <= float(text.get("y", "-1")) <= height


@given(series)
@example(((1.0, 5e-324),))
def test_a_larger_number_is_drawn_higher_and_a_later_one_further_right(places):
    root = drawn(chart(Line("line", places)))
    for polyline in root.iter(f"{SVG}polyline"):
        found = [tuple(map(float, place.split(","))) for place in str(polyline.get("points")).split()]
        assert len(found) == len(places)
        for (x, y), (later, value), (at, drawn_y), (then, drawn_value) in zip(
            places, places[1:], found, found[1:], strict=False
        ):
            assert x < later and at <= then
            assert (value >= y and drawn_value <= drawn_y) or (value <= y and drawn_value >= drawn_y)


def test_title_and_description_name_what_is_drawn_and_what_it_says():
    root = drawn(chart(Line("the public", ((1.0, 0.5), (2.0, 0.75))), level=("budget", 2.0)))
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None and description is not None
    assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
    assert title.text == "A title"
    assert description.text == "epsilon against round. the public: 0.5 at 1 to 0.75 at 2; budget: 2."


def test_an_upper_bound_is_rounded_up_in_words_as_in_tables():
    drawn_points = ((1.0, 1.00001), (2.0, 7.55701))
    made = chart(Line("the server", drawn_points), level=("the plan's epsilon", 7.5), bounds=True)
    assert made.description.endswith("the server: 1.001 at 1 to 7.558 at 2; the plan's epsilon: 7.5.")
    assert "7.557 at 2" in chart(Line("clip norm", drawn_points)).description


def test_a_description_does_not_say_its_title_again():
    made = Chart("name", "Epsilon against rounds", "rounds", "epsilon", (Line("line", ((1.0, 2.0),)),))
    assert made.description == "line: 2 at 1."
    assert chart(Line("epsilon", ((1.0, 2.0),))).description == "epsilon against round. 2 at 1."


def test_lines_that_lie_on_each_other_are_one_line_with_both_names():
    made = chart(Line("a", ((1.0, 1.0),)), Line("b", ((1.0, 2.0),)), Line("c", ((1.0, 1.0),)))
    assert [line.label for line in made.lines] == ["a and c", "b"]


def test_every_tick_of_whole_numbers_is_one_and_is_written_once():
    for last in range(1, 130):
        root = drawn(chart(Line("line", ((1.0, 1.0), (float(last), 1.0))), whole=True))
        middle = [text for text in root.iter(f"{SVG}text") if text.get("text-anchor") == "middle"]
        ticks = [str(text.text) for text in middle if text.text != "round"]
        assert len(ticks) == len(set(ticks)) and all(tick.isdigit() for tick in ticks)
        assert ticks[0] == "1"


def test_names_are_text_whatever_is_in_them():
    name = "<script>alert('&')</script>"
    root = drawn(chart(Line(name, ((1.0, 1.0), (2.0, 2.0)))))
    assert name in [text.text for text in root.iter(f"{SVG}text")]
    assert "<script" not in svg(chart(Line(name, ((1.0, 1.0),))))


def test_what_is_not_finite_is_not_drawn():
    assert points([(1, 2.0), (2, None), (3, math.inf), (4, 5.0)]) == ((1, 2.0), (4, 5.0))
