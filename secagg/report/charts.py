"""Line charts as SVG text: what a report draws, and no more.

Type stays readable when a chart is shown 360 pixels wide, and every line differs from the others by its
dashes as well as by its colour. A chart carries a title and a description for whoever does not see it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from secagg.report.figures import bound, given

__all__ = ["Chart", "Line", "points", "svg"]

_WIDTH: Final = 520
_LEFT, _RIGHT, _TOP, _PLOT, _BOTTOM = 70, 24, 18, 236, 66
_LEGEND: Final = 26
_INK, _QUIET, _GRID, _PAPER = "#1b2430", "#4b5662", "#dfe3e8", "#ffffff"
_STROKES: Final = (("#2f6f9f", ""), ("#c4532d", "9 5"), ("#5d4a9c", "2 4"), ("#3b7a48", "12 4 2 4"))
_SIZE: Final = 18
_TELLABLE: Final = 1e-9
"""What is nearer to the floor than this is drawn on it."""


@dataclass(frozen=True)
class Line:
    """Points joined in order, each (x, y) finite. A line of one point is drawn as a mark."""

    label: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Chart:
    """What is drawn, and said about it.

    name: unique on its page, for references. across, up: what the axes count. level: a horizontal line to
    compare with, its label and value. marks: points of their own, labelled by `mark_label`. whole: ticks
    across are whole numbers. logarithmic: the axis across is; then every x is positive. bounds: what is drawn
    are upper bounds, and words round them up. floor: where the axis up begins, at most the smallest y.
    """

    name: str
    title: str
    across: str
    up: str
    lines: tuple[Line, ...]
    level: tuple[str, float] | None = None
    marks: tuple[tuple[float, float], ...] = ()
    mark_label: str = ""
    whole: bool = False
    logarithmic: bool = False
    bounds: bool = False
    floor: float = 0.0

    def __post_init__(self) -> None:
        """Lines that lie on each other are one, named for both."""
        together: dict[tuple[tuple[float, float], ...], list[str]] = {}
        for line in self.lines:
            together.setdefault(line.points, []).append(line.label)
        lines = tuple(Line(_listed(labels), places) for places, labels in together.items())
        object.__setattr__(self, "lines", lines)

    @property
    def description(self) -> str:
        """The chart in words, to follow its title: where each line begins and ends."""
        said = []
        for line in self.lines:
            first, last = self._place(line.points[0]), self._place(line.points[-1])
            label = f"{line.label}: " * (line.label != self.up)
            said.append(f"{label}{first}" + f" to {last}" * (len(line.points) > 1))
        if self.level is not None:
            said.append(f"{self.level[0]}: {given(self.level[1])}")
        said += [f"{self.mark_label}: {self._place(mark)}" for mark in dict.fromkeys(self.marks)]
        axes = f"{self.up} against {self.across}"
        unsaid = "" if self.title.casefold().startswith(axes.casefold()) else f"{axes}. "
        return unsaid + "; ".join(said) + "."

    def _place(self, point: tuple[float, float]) -> str:
        x, y = point
        return f"{bound(y) if self.bounds else f'{y:.4g}'} at {x:.4g}"


def svg(chart: Chart) -> str:
    """The chart as one svg element. It refers to nothing outside of itself."""
    frame = _Frame(chart)
    identity = f"chart-{chart.name}"
    drawn = [*frame.axes(), *frame.level(), *frame.lines(), *frame.marks(), *frame.legend()]
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {frame.height}" role="img" '
            f'aria-labelledby="{identity}-title {identity}-description" '
            'font-family="system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif">',
            f'<title id="{identity}-title">{escape(chart.title)}</title>',
            f'<desc id="{identity}-description">{escape(chart.description)}</desc>',
            f'<rect width="{_WIDTH}" height="{frame.height}" fill="{_PAPER}"/>',
            *drawn,
            "</svg>",
        )
    )


class _Frame:
    """The chart's axes: numbers to places, and everything that is drawn in those places."""

    def __init__(self, chart: Chart) -> None:
        self._chart = chart
        points = [point for line in chart.lines for point in line.points] + list(chart.marks)
        entries = [line.label for line in chart.lines]
        entries += [chart.level[0]] if chart.level else []
        entries += [chart.mark_label] if chart.marks else []
        self._top = _TOP + _LEGEND * len(entries) + 30
        self.height = self._top + _PLOT + _BOTTOM
        across = [self._along(x) for x, _ in points] or [0.0, 1.0]
        up = [y for _, y in points] + ([chart.level[1]] if chart.level else [])
        self._first, self._last = min(across), max(across)
        if self._first == self._last:
            self._first, self._last = self._first - 0.5, self._last + 0.5
        highest = max(up, default=0.0)
        self._up = _ticks(chart.floor, highest if highest - chart.floor > _TELLABLE else chart.floor + 1)

    def _along(self, x: float) -> float:
        return math.log10(x) if self._chart.logarithmic else x

    def _x(self, x: float) -> float:
        width = _WIDTH - _LEFT - _RIGHT - 24
        return _LEFT + 12 + width * (self._along(x) - self._first) / (self._last - self._first)

    def _y(self, y: float) -> float:
        return self._top + _PLOT * (1 - (y - self._up[0]) / (self._up[-1] - self._up[0]))

    def axes(self) -> Iterator[str]:
        bottom = self._top + _PLOT
        for tick in self._up:
            yield f'<path d="M{_LEFT} {self._y(tick):.1f}H{_WIDTH - _RIGHT}" stroke="{_GRID}"/>'
            yield _text(_LEFT - 8, self._y(tick) + 6, f"{tick:.6g}", _QUIET, "end")
        for tick in self._across_ticks():
            yield f'<path d="M{self._x(tick):.1f} {bottom}v5" stroke="{_QUIET}"/>'
            yield _text(self._x(tick), bottom + 25, f"{tick:.6g}", _QUIET, "middle")
        yield f'<path d="M{_LEFT} {bottom}H{_WIDTH - _RIGHT}" stroke="{_QUIET}"/>'
        across = self._chart.across + " (logarithmic)" * self._chart.logarithmic
        yield _text((_LEFT + _WIDTH - _RIGHT) / 2, bottom + 54, across, _INK, "middle")
        yield _text(8, self._top - 12, self._chart.up, _INK, "start")

    def _across_ticks(self) -> list[float]:
        if self._chart.logarithmic:
            decades = range(math.floor(self._first), math.ceil(self._last) + 1)
            all_ticks = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
        elif self._chart.whole:
            first, last = math.ceil(self._first), math.floor(self._last)
            step = max(1, round(_step((last - first) / 5))) if last > first else 1
            later = [float(at) for at in range(step, last + 1, step) if at - first >= 0.6 * step]
            all_ticks = [float(first), *later]
        else:
            all_ticks = _ticks(self._first, self._last)
        return [at for at in all_ticks if self._first - 1e-9 <= self._along(at) <= self._last + 1e-9]

    def level(self) -> Iterator[str]:
        if self._chart.level is not None:
            y = self._y(self._chart.level[1])
            yield f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="{_INK}" stroke-width="2"/>'

    def lines(self) -> Iterator[str]:
        for line, (colour, dashes) in zip(self._chart.lines, _strokes(self._chart.lines), strict=True):
            if len(line.points) == 1:
                ((x, y),) = line.points
                yield f'<circle cx="{self._x(x):.1f}" cy="{self._y(y):.1f}" r="5" fill="{colour}"/>'
                continue
            places = " ".join(f"{self._x(x):.1f},{self._y(y):.1f}" for x, y in line.points)
            yield (
                f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="3" '
                f"stroke-dasharray={quoteattr(dashes or 'none')}/>"
            )

    def marks(self) -> Iterator[str]:
        for x, y in dict.fromkeys(self._chart.marks):
            yield (
                f'<circle cx="{self._x(x):.1f}" cy="{self._y(y):.1f}" r="6" fill="{_PAPER}" stroke="{_INK}" '
                'stroke-width="3"/>'
            )

    def legend(self) -> Iterator[str]:
        entries = [
            (line.label, f'stroke="{colour}" stroke-width="3" stroke-dasharray="{dashes or "none"}"')
            for line, (colour, dashes) in zip(self._chart.lines, _strokes(self._chart.lines), strict=True)
        ]
        if self._chart.level is not None:
            entries.append((self._chart.level[0], f'stroke="{_INK}" stroke-width="2"'))
        for row, (label, stroke) in enumerate(entries):
            y = _TOP + _LEGEND * row
            yield f'<path d="M8 {y}h36" {stroke}/>'
            yield _text(52, y + 6, label, _INK, "start")
        if self._chart.marks:
            y = _TOP + _LEGEND * len(entries)
            yield f'<circle cx="26" cy="{y}" r="6" fill="{_PAPER}" stroke="{_INK}" stroke-width="3"/>'
            yield _text(52, y + 5, self._chart.mark_label, _INK, "start")


def _listed(labels: Sequence[str]) -> str:
    *before, last = labels
    return f"{', '.join(before)} and {last}" if before else last


def _strokes(lines: Sequence[Line]) -> list[tuple[str, str]]:
    return [_STROKES[index % len(_STROKES)] for index in range(len(lines))]


def _ticks(low: float, high: float) -> list[float]:
    """Even steps of 1, 2 or 5 times a power of ten, from at most `low` to at least `high`."""
    step = _step((high - low) / 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def _step(least: float) -> float:
    decade = 10.0 ** math.floor(math.log10(least)) if least > 0 else 1.0
    return next(step * decade for step in (1, 2, 5, 10) if step * decade >= least * (1 - 1e-9))


def _text(x: float, y: float, words: str, colour: str, anchor: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{_SIZE}" fill="{colour}" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )


def points(pairs: Iterable[tuple[float, float | None]]) -> tuple[tuple[float, float], ...]:
    """Those of the pairs that can be drawn."""
    return tuple((x, y) for x, y in pairs if y is not None and math.isfinite(y))
