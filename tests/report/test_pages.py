"""The page in a real browser, and the same facts as Markdown."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from secagg import report
from secagg.report.figures import bound
from secagg.report.pages import Page, Section, Table, html, markdown
from tests.report.attacked import BOUND, attacked
from tests.report.runs import KINDS, plan_of, played

WIDTHS = (1280, 400)


class Found(HTMLParser):
    """Tags in order, text outside of style, and every attribute's value."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.values: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.values += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] != "style":
            self.texts.append(data)


@pytest.fixture(scope="module")
def documents(tmp_path_factory) -> dict[str, dict[str, Any]]:
    """Of every kind: a run's document, and a plan's."""
    made = {}
    for kind in KINDS:
        path = played(tmp_path_factory.mktemp("runs"), plan_of(kind), failed=2)
        made[f"run {kind}"] = report.document(report.read(path))
        made[f"plan {kind}"] = report.prospect(plan_of(kind), 1000)
    plan = plan_of("client")
    path = attacked(played(tmp_path_factory.mktemp("runs"), plan), plan, bounds=(BOUND, ABOVE))
    made["run attacked"] = report.document(report.read(path))
    return made


ABOVE = {**BOUND, "epsilon": 1234.5, "method": "clopper-pearson", "assumes": "independence"}
"""A lower bound that no account is above."""

BOTH = [*(f"{what} {kind}" for what in ("run", "plan") for kind in KINDS), "run attacked"]


@pytest.mark.parametrize("name", BOTH)
def test_the_page_refers_to_nothing_outside_of_itself(documents, name):
    page = report.html(documents[name])
    found = Found(page)
    assert set(found.tags) & {"script", "link", "img", "iframe", "object", "embed"} == set()
    assert [value for value in found.values if value[1] in ("src", "href", "srcset", "action")] == []
    assert "url(" not in page and "@import" not in page
    outside = re.findall(r"(?:https?:)?//[\w.-]+", page.replace("http://www.w3.org/2000/svg", ""))
    assert outside == []


@pytest.mark.parametrize("name", BOTH)
def test_headings_are_in_order_and_tables_have_their_heads(documents, name):
    found = Found(report.html(documents[name]))
    headings = [tag for tag in found.tags if re.fullmatch(r"h[1-6]", tag)]
    assert headings[0] == "h1" and set(headings[1:]) == {"h2"}
    assert found.tags.count("table") == found.tags.count("caption") == found.tags.count("thead")
    scopes = [value for tag, attribute, value in found.values if (tag, attribute) == ("th", "scope")]
    assert len(scopes) == found.tags.count("th") and set(scopes) == {"col", "row"}
    identities = [value for _, attribute, value in found.values if attribute == "id"]
    assert len(identities) == len(set(identities))
    assert found.tags.count("svg") == found.tags.count("desc") == found.tags.count("figcaption")


@pytest.mark.parametrize("name", BOTH)
def test_the_numbers_of_the_page_are_those_of_the_document(documents, name):
    document = documents[name]
    page = re.sub(r'<span class="whole">([^<]*)</span>', r"\1", report.html(document))
    for text in (page, report.markdown(document).replace("\\", "")):
        for unit in document["units"]:
            for entry in filter(None, unit["epsilon"].values()):
                assert entry["says"] == bound(entry["epsilon"]) and entry["says"] in text
            for total in unit.get("after_round", []):
                assert bound(total["public"]) in text
        assert document["digests"]["plan"] in text
        for sentence in document["claim"]:
            assert sentence.replace("'", "&#39;") in text or sentence in text


@pytest.mark.parametrize("name", BOTH)
def test_markdown_tables_are_as_wide_as_their_heads(documents, name):
    rows = [line for line in report.markdown(documents[name]).splitlines() if line.startswith("|")]
    assert rows and "\n\n\n" not in report.markdown(documents[name])
    width = 0
    for row, following in zip(rows, [*rows[1:], ""], strict=True):
        cells = len(re.findall(r"(?<!\\)\|", row)) - 1
        if set(following) <= {"|", "-"} and following:
            width = cells
        assert cells == width


@pytest.mark.parametrize("name", BOTH)
def test_nothing_is_counted_wrongly_or_said_twice(documents, name):
    text = report.markdown(documents[name])
    assert not re.search(r"(?<![\d.])1 (rounds|clients|attempts|uses|lines|clip norms)\b", text)
    for line in text.splitlines():
        title, colon, description = line.partition(": ")
        assert not colon or not description.casefold().startswith(title.casefold())


def test_what_a_plan_names_is_text_in_both_forms():
    nasty = "<b>|`*x*`\n# no heading"
    page = Page(
        nasty,
        (nasty,),
        (Section(nasty, (nasty,), (nasty,), (Table(nasty, ("a", nasty), ((nasty, nasty),)),)),),
        nasty,
    )
    assert Found(html(page)).tags.count("b") == 0
    lines = markdown(page).splitlines()
    assert [line for line in lines if line.startswith("# ")] == [lines[0]]
    assert not any(line.startswith("# no") for line in lines) and "\\<b\\>" in lines[0]


# In a browser


def shown(browser: Any, path: Path, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(path.as_uri())


OVERFLOWING = """
return [...document.querySelectorAll("main *")].filter(element => {
  const box = element.getBoundingClientRect();
  const scrolls = element.closest(".table");
  return box.width && !scrolls && (box.right > innerWidth + 0.5 || box.left < -0.5);
}).map(element => element.outerHTML.slice(0, 200));
"""

SPILLED = """
return [...document.querySelectorAll("svg text")].filter(text => {
  const box = text.getBoundingClientRect(), picture = text.ownerSVGElement.getBoundingClientRect();
  return box.left < picture.left - 0.5 || box.right > picture.right + 0.5
    || box.top < picture.top - 0.5 || box.bottom > picture.bottom + 0.5;
}).map(text => text.textContent);
"""

COLLIDING = """
const met = [];
for (const picture of document.querySelectorAll("svg")) {
  const texts = [...picture.querySelectorAll("text")]
    .map(text => [text.textContent, text.getBoundingClientRect()]);
  texts.forEach(([words, a], index) => texts.slice(index + 1).forEach(([others, b]) => {
    const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (wide > 0 && high > 0.35 * Math.min(a.height, b.height)) met.push([words, others]);
  }));
}
return met;
"""

PICTURES = """
return [...document.querySelectorAll("figure svg")].map(picture => {
  const box = picture.getBoundingClientRect();
  const inner = [...picture.querySelectorAll("polyline, circle")].map(mark => mark.getBoundingClientRect());
  return [box.width, box.height, inner.filter(mark => mark.width > 0).length];
});
"""

SMALLEST = """
return Math.min(...[...document.querySelectorAll("svg text")].map(text => {
  const picture = text.ownerSVGElement;
  const scale = picture.getBoundingClientRect().width / picture.viewBox.baseVal.width;
  return parseFloat(text.getAttribute("font-size")) * scale;
}));
"""


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    "name",
    [
        "run both",
        "run adaptive",
        "run poisson",
        "run none",
        "run bfv",
        "run attacked",
        "plan budget",
        "plan poisson",
    ],
)
def test_the_page_fits_its_window_and_its_charts_are_whole(documents, browser, tmp_path, name, width):
    path = tmp_path / "report.html"
    path.write_text(report.html(documents[name]))
    shown(browser, path, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script(OVERFLOWING) == []
    assert browser.execute_script(SPILLED) == []
    assert browser.execute_script(COLLIDING) == []
    pictures = browser.execute_script(PICTURES)
    assert (
        len(pictures)
        == {
            "run both": 2,
            "run adaptive": 3,
            "run poisson": 1,
            "run none": 1,
            "run bfv": 2,
            "run attacked": 2,
            "plan budget": 3,
            "plan poisson": 3,
        }[name]
    )
    assert all(wide > 200 and high > 200 and marks for wide, high, marks in pictures)
    assert browser.execute_script(SMALLEST) >= 10
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert len(base64.b64decode(browser.get_screenshot_as_base64())) > 10_000


def test_a_table_of_numbers_that_is_too_wide_scrolls_in_its_own_box(documents, browser, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(report.html(documents["run adaptive"]))
    shown(browser, path, 400)
    wider = browser.execute_script(
        "return [...document.querySelectorAll('.table')].filter(box => box.scrollWidth > box.clientWidth)"
        ".map(box => getComputedStyle(box).overflowX)"
    )
    assert wider and set(wider) == {"auto"}


BROKEN = """
const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
const broken = [];
for (let node = walker.nextNode(); node; node = walker.nextNode()) {
  if (node.parentElement.closest("svg")) continue;
  for (const found of node.textContent.matchAll(/[0-9]e-[0-9]+/g)) {
    const range = document.createRange();
    range.setStart(node, found.index);
    range.setEnd(node, found.index + found[0].length);
    broken.push(range.getClientRects().length);
  }
}
return broken;
"""


def test_no_number_is_broken_after_its_hyphen_at_any_width(documents, browser, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(report.html(documents["run client"]))
    for width in range(320, 420, 7):
        shown(browser, path, width)
        lines = browser.execute_script(BROKEN)
        assert len(lines) > 2 and set(lines) == {1}, width


def test_the_heads_of_the_rounds_take_two_lines_on_a_phone(documents, browser, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(report.html(documents["run adaptive"]))
    shown(browser, path, 400)
    heights = browser.execute_script(
        "return [...document.querySelectorAll('table')]"
        ".filter(table => table.caption.textContent.startsWith('How each round'))"
        ".map(table => [table.tHead.rows[0].getBoundingClientRect().height,"
        " parseFloat(getComputedStyle(table).lineHeight)])"
    )
    ((height, line),) = heights
    assert height <= 2 * line + 12


def test_the_page_prints_with_no_chart_cut_in_two(documents, browser, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(report.html(documents["run adaptive"]))
    shown(browser, path, 1280)
    printed = browser.execute_cdp_cmd(
        "Page.printToPDF", {"printBackground": False, "preferCSSPageSize": True}
    )
    pdf = base64.b64decode(printed["data"])
    assert pdf.startswith(b"%PDF-") and pdf.rstrip().endswith(b"%%EOF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 12
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    rules = browser.execute_script(
        "return [...document.querySelectorAll('figure')].map(one => getComputedStyle(one).breakInside)"
    )
    paper = {"width": 717, "height": 900, "deviceScaleFactor": 1, "mobile": False}  # A4 within its margins
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", paper)
    cut = browser.execute_script(
        "return [...document.querySelectorAll('.table')]"
        ".filter(box => box.scrollWidth > box.clientWidth).length"
    )
    assert cut == 0
    colours = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert set(rules) == {"avoid"} and colours == "rgb(255, 255, 255)"


def test_the_document_survives_json(documents):
    for document in documents.values():
        assert json.loads(report.as_json(document)) == json.loads(json.dumps(document))
