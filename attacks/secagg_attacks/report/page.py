"""The page: one file of HTML that needs no network, reads on a phone and prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy.typing as npt

from secagg_attacks.defences import NONE
from secagg_attacks.matrix.attacks import COLUMNS
from secagg_attacks.matrix.column import Column
from secagg_attacks.matrix.play import Outcome
from secagg_attacks.report import figures
from secagg_attacks.report.png import data_uri, grid
from secagg_attacks.report.roc_chart import Line, svg
from secagg_attacks.results import Finding, Row
from secagg_attacks.statistics.holm import ALPHA
from secagg_attacks.statistics.roc import log_log_curve, roc

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["Picture", "html", "three_pictures"]

_IN_A_ROW: Final = 8
_SHOWN: Final = 60
"""Pixels across which one image of a grid is shown."""
_CLASSES: Final = {
    "at chance": "chance",
    "partial": "partial",
    "leaks": "leaks",
    "not shown": "unshown",
    "not applicable": "none",
    "not run": "none",
}
_MEANINGS: Final = (
    ("at chance", "not told apart from chance, while the same attack with the same seed wins on the row "
     "without protection. It says nothing of other attacks."),
    ("partial", "better than chance, and below the level at which the view is given away."),
    ("leaks", "the figure reaches the level at which the view is given away: 27 dB, an AUC of 0.9, or "
     "nine tenths of the largest epsilon that so many canaries can show. A canary audit may show much of an "
     "epsilon that is large by choice, and be within its account."),
    ("not shown", "not told apart from chance, but the attack does not win without protection either, or its "
     "figure is above chance and of too few to rule chance out: nothing follows."),
    ("not applicable", "there is no such attack on this view or model; the notes say why."),
    ("not run", "the budget was spent. Nothing follows."),
)  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """An image to show: words above it, its data URI, and the size to show it at, in pixels."""

    words: str
    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class _Cell:
    kind: str
    verdict: str
    headline: str
    interval: str
    levels: str


def html(outcome: Outcome) -> str:
    """The page of a table."""
    chosen = [COLUMNS[name] for name in outcome.config.attacks]
    return (
        _environment()
        .get_template("page.html")
        .render(
            outcome=outcome,
            columns=chosen,
            rows=[
                (row, [_cell(outcome.finding(row.defence, each.name)) for each in chosen])
                for row in outcome.rows
            ],
            costs=[_cost(row) for row in outcome.rows],
            pictures=three_pictures(outcome),
            grids=_grids(outcome, chosen),
            charts=_charts(outcome, chosen),
            details=[_detail(each) for each in outcome.findings],
            threats=_threats(outcome),
            meanings=_MEANINGS,
            alpha=ALPHA,
            failures=outcome.failures,
            classes=_CLASSES,
        )
    )


def three_pictures(outcome: Outcome) -> tuple[Picture, ...]:
    """A client's image, what a server without protection makes of its upload, and what ours does.

    By the attack that comes nearest without protection; empty where no inversion was measured on both.
    """
    best: tuple[float, Finding, Finding] | None = None
    for name in outcome.config.attacks:
        bare = outcome.finding(NONE.name, name)
        ours = next(
            (
                found
                for row in outcome.rows
                if row.defence != NONE.name and not row.defence.startswith("none")
                for found in [outcome.finding(row.defence, name)]
                if "images" in outcome.arrays.get((row.defence, name), {})
            ),
            None,
        )
        value = bare.measurement.value
        if COLUMNS[name].family != "inversion" or ours is None or value is None or name.startswith("mean"):
            continue
        if best is None or value > best[0]:
            best = (value, bare, ours)
    if best is None:
        return ()
    _, bare, ours = best
    attack = bare.measurement.attack
    open_, shut = outcome.arrays[NONE.name, attack], outcome.arrays[ours.measurement.defence, attack]
    title = COLUMNS[attack].title
    return (
        _picture("A client's image", open_["originals"][0]),
        _picture(f"What a server without protection makes of its upload: {open_['psnr'][0]:.0f} dB ({title})",
                 open_["images"][0]),
        _picture(f"What it makes of the upload under {ours.measurement.defence}: {shut['psnr'][0]:.0f} dB",
                 shut["images"][0]),
    )  # fmt: skip


def _picture(words: str, image: npt.NDArray[Any]) -> Picture:
    """One image (channels, height, width), or several side by side."""
    _, height, width = image.shape
    across = _SHOWN * max(1, round(width / height))
    return Picture(words, data_uri(image), across, round(across * height / width))


def _cell(of: Finding) -> _Cell:
    measurement = of.measurement
    levels = ""
    if measurement.chance is not None:
        levels = f"n {measurement.n}, chance {figures.level(measurement.chance, of)}"
        levels += f", ceiling {figures.level(measurement.ceiling, of)}"
    return _Cell(_CLASSES[of.verdict], of.verdict, figures.headline(of), figures.interval(of), levels)


def _cost(row: Row) -> tuple[str, ...]:
    bound = "not audited" if row.lower_bound is None else f"{row.lower_bound:.2f}"
    chance = "" if row.chance is None else f"{100 * row.chance:.1f} %"
    return (
        row.defence, str(row.clients), figures.accuracy(row), chance, figures.epsilon(row), bound,
        row.view[:12], "; ".join(row.notes),
    )  # fmt: skip


def _detail(of: Finding) -> tuple[str, ...]:
    measurement = of.measurement
    more = ", ".join(f"{name} {value:.4g}" for name, value in measurement.more.items())
    share = measurement.share
    taken = figures.seconds(measurement.seconds) + f" of {figures.seconds(share)}" * (share > 0)
    adjusted = "" if of.adjusted is None else f"{of.adjusted:.2g}"
    return (
        f"{COLUMNS[measurement.attack].title}, {measurement.defence}", of.verdict,
        f"{figures.headline(of)} {figures.interval(of)}".strip(), adjusted, more,
        "; ".join(measurement.notes),
        taken,
        measurement.view[:12],
    )  # fmt: skip


def _grids(outcome: Outcome, chosen: Sequence[Column]) -> list[tuple[Column, list[Picture]]]:
    found = []
    for column in chosen:
        shown: list[Picture] = []
        for row in outcome.rows:
            arrays = outcome.arrays.get((row.defence, column.name), {})
            if "images" not in arrays:
                continue
            if not shown:
                shown.append(_picture("the clients' images", grid(arrays["originals"][:_IN_A_ROW])))
            value = outcome.finding(row.defence, column.name)
            words = f"{row.defence}: {figures.headline(value)}, {value.verdict}"
            shown.append(_picture(words, grid(arrays["images"][:_IN_A_ROW])))
        if shown:
            found.append((column, shown))
    return found


def _charts(outcome: Outcome, chosen: Sequence[Column]) -> list[tuple[str, str]]:
    found = []
    for column in chosen:
        lines = []
        for row in outcome.rows:
            arrays = outcome.arrays.get((row.defence, column.name), {})
            if "scores" in arrays and column.family == "membership":
                curve = log_log_curve(roc(arrays["scores"], arrays["is_member"]), points=80)
                auc = outcome.finding(row.defence, column.name).measurement.value
                lines.append(Line(f"{row.defence}, AUC {auc:.3f}", curve))
        if lines:
            title = f"{column.title}: members found at each rate of false alarms"
            found.append((title, svg(column.name, title, lines)))
    return found


def _threats(outcome: Outcome) -> list[tuple[str, ...]]:
    """Each threat model once, with the attacks that it is of."""
    known: dict[tuple[str, ...], list[str]] = {}
    for each in outcome.findings:
        threat = each.measurement.threat
        if threat is not None:
            facts = (threat.holder, threat.adversary, threat.labels, threat.buffers, threat.local_steps)
            names = known.setdefault(facts, [])
            title = COLUMNS[each.measurement.attack].title
            if title not in names:
                names.append(title)
    return [(", ".join(names), *facts) for facts, names in known.items()]


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("secagg_attacks.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
