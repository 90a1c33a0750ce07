"""The page as text and in a real browser."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from secagg_attacks.defences import DEFENCES
from secagg_attacks.matrix.attacks import COLUMNS
from secagg_attacks.matrix.outcome import Outcome
from secagg_attacks.report import html
from secagg_attacks.report.groups import groups
from tests.attacks.report.whole_table import of, whole
from tests.report.test_pages import COLLIDING, OVERFLOWING, SPILLED, Found

MOST_BYTES = 2**20
"""Of a table of every column and every defence, on images of 8x8."""


@cache
def page() -> str:
    return html(whole())


def failing() -> Outcome:
    """A table with an audit that beats its account."""
    outcome = of(("analytic", "audit"), ("none", "masks-client-8"))
    changed = []
    for each in outcome.findings:
        measurement = each.measurement
        if (measurement.defence, measurement.attack) == ("masks-client-8", "audit"):
            more = {**measurement.more, "accounted epsilon": 0.1, "epsilon at least, at 99.9 %": 0.5}
            each = replace(each, measurement=replace(measurement, more=more))
        changed.append(each)
    return replace(outcome, findings=tuple(changed))


def test_the_page_refers_to_nothing_outside_of_itself():
    found = Found(page())
    assert set(found.tags) & {"script", "link", "iframe", "object", "embed"} == set()
    sources = [value for _, name, value in found.values if name in ("src", "href", "srcset", "action")]
    assert sources and all(value.startswith("data:image/png;base64,") for value in sources)
    assert "url(" not in page() and "@import" not in page()
    assert re.findall(r"https?://[\w.-]+", page().replace("http://www.w3.org/2000/svg", "")) == []


def test_the_page_of_the_largest_table_is_small():
    assert len(page().encode()) < MOST_BYTES


def test_the_page_says_every_verdict_figure_chance_level_and_transcript():
    words = " ".join(Found(page()).texts)
    for each in whole().findings:
        assert each.verdict in words
        assert each.measurement.view[:12] in words
    assert whole().config.digest in words
    assert "chance 0.5" in words and "honest-but-curious" in words
    for name, value in whole().config.versions:
        assert f"{name} {value}" in words


def test_the_heat_map_has_a_cell_of_every_attack_on_every_defence():
    found = Found(page())
    assert [value for _, name, value in found.values if (name, value) == ("class", "matrix")] == 5 * [
        "matrix"
    ]
    for column in COLUMNS.values():
        assert column.title in found.texts
        assert any(column.source in text for text in found.texts)
    assert all(found.texts.count(row) >= 5 for row in DEFENCES)


def test_headings_are_in_order_names_unique_and_tables_have_their_heads():
    found = Found(page())
    headings = [tag for tag in found.tags if re.fullmatch(r"h[1-6]", tag)]
    assert headings[:2] == ["h1", "h2"] and headings.count("h1") == 1 and set(headings) == {"h1", "h2", "h3"}
    assert found.tags.count("table") == found.tags.count("caption") == found.tags.count("thead")
    identities = [value for _, name, value in found.values if name == "id"]
    assert len(identities) == len(set(identities))
    pointed = [value for _, name, value in found.values if name == "aria-labelledby"]
    assert {name for value in pointed for name in value.split()} == set(identities)


def test_every_image_has_words_for_who_does_not_see_it():
    assert all(words for tag, name, words in Found(page()).values if (tag, name) == ("img", "alt"))
    assert page().count("<img") == sum(
        tag == "img" and name == "alt" for tag, name, _ in Found(page()).values
    )


def test_charts_and_images_are_folded_but_for_the_best_inversion():
    found = Found(page())
    assert found.tags.count("details") > 10
    assert [tag for tag, name, _ in found.values if name == "open"] == ["details"]


def test_without_an_inversion_there_are_no_pictures_and_still_a_page():
    outcome = of(("audit",))
    assert "In three pictures" not in html(outcome)
    assert "What the opened sum still gives away" not in html(outcome)
    assert "Audit" in html(outcome) and "Members found" not in html(outcome)


def test_a_bound_that_beats_its_account_is_at_the_top():
    outcome = failing()
    assert [each.measurement.defence for each in outcome.failures] == ["masks-client-8"]
    assert html(outcome).index('role="alert"') < html(outcome).index("Defences against attacks")
    assert 'role="alert"' not in page()


def test_a_name_of_a_target_is_text_and_no_markup():
    outcome = replace(of(("analytic",), ("none",)), about="<b>mine</b>")
    assert "<b>mine" not in html(outcome) and "&lt;b&gt;mine" in html(outcome)


def opened(browser: Any, folder: Path, width: int) -> None:
    path = folder / "report.html"
    path.write_text(page())
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(path.as_uri())


UNFOLD = "for (const each of document.querySelectorAll('details')) each.open = true;"

IMAGES = """
return [...document.images].map(one => [one.naturalWidth, one.getBoundingClientRect().width]);
"""

STUCK = """
return [...document.querySelectorAll(".matrix")].map(table => {
  const box = table.parentElement, head = table.querySelector("tbody th"), cell = table.querySelector("td");
  box.scrollLeft = 80;
  const seen = head.getBoundingClientRect();
  return [box.scrollWidth > box.clientWidth, seen.left - box.getBoundingClientRect().left,
    cell.getBoundingClientRect().left < seen.right];
});
"""


@pytest.mark.parametrize("width", [1200, 420])
def test_the_page_fits_its_window_with_charts_and_images_whole_and_no_network(browser, tmp_path, width):
    opened(browser, tmp_path, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    browser.execute_script(UNFOLD)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script(OVERFLOWING) == []
    assert browser.execute_script(SPILLED) == []
    assert browser.execute_script(COLLIDING) == []
    images = browser.execute_script(IMAGES)
    assert len(images) == page().count("<img")
    assert all(natural > 0 and shown > 20 for natural, shown in images)
    resources = "return performance.getEntriesByType('resource').map(one => one.name)"
    assert all(name.startswith("data:") for name in browser.execute_script(resources))


def test_a_defence_stays_in_sight_while_its_row_is_scrolled_in_the_tables_own_box(browser, tmp_path):
    opened(browser, tmp_path, 420)
    tables = browser.execute_script(STUCK)
    assert len(tables) == 5
    scrolling = [(left, under) for scrolls, left, under in tables if scrolls]
    assert len(scrolling) >= sum(len(group.columns) > 3 for group in groups(whole()))
    assert all(left < 20 and under for left, under in scrolling)


CONTRAST = """
const channel = value => { value /= 255;
  return value <= .04045 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4; };
const light = colour => { const [r, g, b] = colour.match(/[\\d.]+/g).map(Number);
  return .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b); };
return [...document.querySelectorAll(".matrix td")].map(cell => {
  const style = getComputedStyle(cell);
  return (light(style.backgroundColor) + .05) / (light(style.color) + .05);
});
"""


def test_every_cell_of_the_heat_map_reads_dark_on_light(browser, tmp_path):
    opened(browser, tmp_path, 1200)
    ratios = browser.execute_script(CONTRAST)
    assert len(ratios) == len(whole().findings)
    assert min(ratios) >= 7


def test_the_page_prints(browser, tmp_path):
    opened(browser, tmp_path, 1200)
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    pdf = io.BytesIO(base64.b64decode(printed["data"])).getvalue()
    assert pdf.startswith(b"%PDF-")
    assert 4 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 30
