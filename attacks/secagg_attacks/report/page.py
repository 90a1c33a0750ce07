"""The page: one file of HTML that needs no network and no script, reads on a phone and prints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from secagg_attacks.matrix.attacks import COLUMNS
from secagg_attacks.matrix.column import Column
from secagg_attacks.matrix.outcome import Outcome
from secagg_attacks.report import figures
from secagg_attacks.report.groups import CLASSES, Group, groups
from secagg_attacks.report.honest_row import honest_row
from secagg_attacks.report.pictures import Picture, best_of_uploads, strips, three_pictures
from secagg_attacks.report.roc_chart import Line, svg
from secagg_attacks.report.svg_marks import CHANCE, stroke, swatch
from secagg_attacks.results import Finding, Row
from secagg_attacks.statistics.holm import ALPHA
from secagg_attacks.statistics.roc import log_log_curve, roc

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["html"]

_POINTS: Final = 48
"""Of a curve, along the logarithm of the rate of false alarms."""
_MEANINGS: Final = (
    ("leaks", "the figure reaches the level at which the view is given away: 27 dB, a quarter of the "
     "examples (half of chosen victims), an AUC of 0.9, or nine tenths of the largest epsilon that so many "
     "canaries can show. An audit may show much of an epsilon that is large by choice, and be within its "
     "account."),
    ("partial", "better than chance, and below the level at which the view is given away."),
    ("at chance", "under a protection, not told apart from chance, with an interval that ends below a leak, "
     "while the same attack with the same seed wins without protection. It says nothing of other attacks."),
    ("not shown", "not told apart from chance, but the attack is not shown to win without protection, or the "
     "examples are too few to rule a leak out, or it would be told apart alone: nothing follows."),
    ("not applicable", "there is no such attack on this view or model; the notes say why."),
    ("not run", "the budget was spent. Nothing follows."),
)  # fmt: skip


@dataclass(frozen=True)
class _Charts:
    """The ROC curves of one group: (swatch, words) of the legend, and (title, SVG) of each attack."""

    title: str
    legend: tuple[tuple[str, str], ...]
    charts: tuple[tuple[str, str], ...]


def html(outcome: Outcome) -> str:
    """The page of a table."""
    found = groups(outcome)
    return (
        _environment()
        .get_template("page.html")
        .render(
            outcome=outcome,
            groups=found,
            costs=[_cost(row) for row in outcome.rows],
            pictures=three_pictures(outcome),
            honest=honest_row(outcome),
            images=_images(outcome, found),
            charts=[each for each in (_charts(outcome, group) for group in found) if each.charts],
            details=[
                _detail(outcome.finding(row.defence, name))
                for name in outcome.config.attacks
                for row in outcome.rows
            ],
            threats=_threats(outcome),
            meanings=_MEANINGS,
            alpha=ALPHA,
            failures=outcome.failures,
            classes=CLASSES,
        )
    )


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


def _images(outcome: Outcome, found: tuple[Group, ...]) -> list[tuple[str, bool, tuple[Picture, ...]]]:
    """(group and attack, whether it stands open, strips): open is the attack of the three pictures."""
    best = best_of_uploads(outcome)
    shown = "" if best is None else best[0].measurement.attack
    return [
        (f"{group.title}: {column.title}", column.name == shown, made)
        for group in found
        for column in group.columns
        for made in [strips(outcome, column)]
        if made
    ]


def _charts(outcome: Outcome, group: Group) -> _Charts:
    charts, drawn = [], set()
    for column in group.columns if group.family == "membership" else ():
        lines = tuple(_curves(outcome, column))
        if lines:
            drawn |= {line.stroke for line in lines}
            title = f"{column.title}: members found at each rate of false alarms"
            charts.append((column.title, svg(column.name, title, lines)))
    legend = [(swatch(stroke(n)[1]), row.defence) for n, row in enumerate(outcome.rows) if n in drawn]
    return _Charts(group.title, (*legend, (swatch(CHANCE), "chance")), tuple(charts))


def _curves(outcome: Outcome, column: Column) -> Iterator[Line]:
    for index, row in enumerate(outcome.rows):
        arrays = outcome.arrays.get((row.defence, column.name), {})
        if "scores" in arrays:
            curve = log_log_curve(roc(arrays["scores"], arrays["is_member"]), points=_POINTS)
            said = figures.headline(outcome.finding(row.defence, column.name))
            yield Line(f"{row.defence}, {said}", index, curve)


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
