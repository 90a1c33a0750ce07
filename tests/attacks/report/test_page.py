"""The page as text and in a real browser."""

from __future__ import annotations

import base64
import io
import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secagg_attacks.matrix.play import Outcome
from secagg_attacks.report import document, html, write
from secagg_attacks.report.page import three_pictures
from tests.attacks.measured import ATTACKS, DEFENCES, small
from tests.report.test_pages import CHROMEDRIVER, CHROMIUM, COLLIDING, OVERFLOWING, SPILLED, Found


@pytest.fixture(scope="module")
def page() -> str:
    return html(small())


def failing() -> Outcome:
    """The same table, with an audit that beats its account."""
    outcome = small()
    changed = []
    for each in outcome.findings:
        measurement = each.measurement
        if (measurement.defence, measurement.attack) == ("masks-client-8", "audit"):
            more = {**measurement.more, "accounted epsilon": 0.1, "epsilon at least, at 99.9 %": 0.5}
            each = replace(each, measurement=replace(measurement, more=more))
        changed.append(each)
    return replace(outcome, findings=tuple(changed))


def test_the_page_refers_to_nothing_outside_of_itself(page):
    found = Found(page)
    assert set(found.tags) & {"script", "link", "iframe", "object", "embed"} == set()
    sources = [value for _, name, value in found.values if name in ("src", "href", "srcset", "action")]
    assert sources and all(value.startswith("data:image/png;base64,") for value in sources)
    assert "url(" not in page and "@import" not in page
    assert re.findall(r"https?://[\w.-]+", page.replace("http://www.w3.org/2000/svg", "")) == []


def test_the_page_says_every_verdict_figure_chance_level_and_transcript(page):
    words = " ".join(Found(page).texts)
    for each in small().findings:
        assert each.verdict in words
        assert each.measurement.view[:12] in words
    assert small().config.digest in words
    for row in small().rows:
        assert row.defence in words
    assert "chance 0.5" in words and "honest-but-curious" in words
    for name, value in small().config.versions:
        assert f"{name} {value}" in words


def test_every_image_has_words_for_who_does_not_see_it(page):
    assert all(words for tag, name, words in Found(page).values if (tag, name) == ("img", "alt"))
    assert page.count("<img") == sum(tag == "img" and name == "alt" for tag, name, _ in Found(page).values)


def test_it_opens_with_the_true_image_the_bare_one_and_ours():
    true, bare, ours = three_pictures(small())
    assert true.words == "A client's image"
    assert "without protection" in bare.words
    assert "under masks" in ours.words
    assert true.uri == bare.uri != ours.uri


def test_without_an_inversion_there_are_no_pictures_and_still_a_page():
    outcome = small()
    config = replace(outcome.config, attacks=("loss",))
    assert three_pictures(replace(outcome, config=config)) == ()
    assert "In three pictures" not in html(replace(outcome, config=config))


def test_a_bound_that_beats_its_account_is_at_the_top():
    outcome = failing()
    assert [each.measurement.defence for each in outcome.failures] == ["masks-client-8"]
    assert html(outcome).index('role="alert"') < html(outcome).index("Defences against attacks")
    assert 'role="alert"' not in html(small())


def test_the_files_beside_it_are_of_the_same_table(tmp_path):
    path = write(small(), tmp_path / "new" / "folder")
    written = json.loads((path.parent / "results.json").read_text())
    assert written == json.loads(json.dumps(document(small())))
    with np.load(path.parent / "scores.npz", allow_pickle=False) as scores:
        assert bytes(scores["config"].astype(np.uint8)).hex() == written["config"]["digest"]
        for row in ("none", *DEFENCES):
            assert f"{row}/loss/scores" in scores.files
        assert scores["none/loss/scores"].shape == scores["none/loss/is_member"].shape
    assert {each["attack"] for each in written["findings"]} == set(ATTACKS)
    assert path.read_text() == html(small())


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None or CHROMEDRIVER is None:
        missing = "needs chromium and chromedriver on the path"
        if os.environ.get("SECAGG_TEST_BROWSER") == "require":
            pytest.fail(missing)
        pytest.skip(missing)
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(CHROMEDRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def opened(browser: Any, folder: Path, page: str, width: int) -> None:
    path = folder / "report.html"
    path.write_text(page)
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(path.as_uri())


IMAGES = """
return [...document.images].map(one => [one.naturalWidth, one.getBoundingClientRect().width]);
"""


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_fits_its_window_with_charts_and_images_whole_and_no_network(browser, tmp_path, page, width):
    opened(browser, tmp_path, page, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script(OVERFLOWING) == []
    assert browser.execute_script(SPILLED) == []
    assert browser.execute_script(COLLIDING) == []
    images = browser.execute_script(IMAGES)
    assert len(images) == page.count("<img")
    assert all(natural > 0 and shown > 20 for natural, shown in images)
    resources = "return performance.getEntriesByType('resource').map(one => one.name)"
    assert all(name.startswith("data:") for name in browser.execute_script(resources))


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


def test_every_cell_of_the_heat_map_reads_dark_on_light(browser, tmp_path, page):
    opened(browser, tmp_path, page, 1280)
    ratios = browser.execute_script(CONTRAST)
    assert len(ratios) == len(small().findings)
    assert min(ratios) >= 7


def test_the_page_prints(browser, tmp_path, page):
    opened(browser, tmp_path, page, 1280)
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    pdf = io.BytesIO(base64.b64decode(printed["data"])).getvalue()
    assert pdf.startswith(b"%PDF-")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 14
