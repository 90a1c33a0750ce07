"""ROC curves on logarithmic axes, as SVG text: what an attack is sure of is at the left.

Each curve has the Clopper-Pearson band of its points, given the threshold, and its own dashes; the diagonal
is chance. Nothing is drawn below the rate of one false alarm.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

import numpy as np

from secagg_attacks.statistics.roc import Curve

__all__ = ["Line", "svg"]

_WIDTH: Final = 520
_LEFT, _RIGHT, _PLOT, _BOTTOM, _LEGEND = 74, 20, 300, 62, 24
_INK, _QUIET, _GRID, _PAPER = "#1b2430", "#4b5662", "#dfe3e8", "#ffffff"
_STROKES: Final = (
    ("#c4532d", ""), ("#2f6f9f", "9 5"), ("#3b7a48", "2 4"), ("#5d4a9c", "12 4 2 4"),
    ("#8a6d1a", "6 3"), ("#a0366f", "1 3"), ("#1d7a78", "14 4"), ("#6b4a2b", "4 4 1 4"), ("#555555", "3 6"),
)  # fmt: skip
_SIZE: Final = 17
_LEAST: Final = 1e-4


@dataclass(frozen=True, eq=False)
class Line:
    """A curve and its label."""

    label: str
    curve: Curve


def svg(name: str, title: str, lines: Sequence[Line]) -> str:
    """One svg element that refers to nothing outside of itself. name: unique on its page."""
    least = max(_LEAST, min((float(line.curve.fpr[0]) for line in lines), default=_LEAST))
    decades = max(1, math.ceil(-math.log10(least) - 1e-9))
    frame = _Frame(decades, _LEGEND * (len(lines) + 1) + 40)
    said = "; ".join(
        f"{line.label}: TPR {line.curve.tpr[0]:.2g} at FPR {line.curve.fpr[0]:.2g}" for line in lines
    )
    drawn = [*frame.axes(), frame.chance()]
    for index, line in enumerate(lines):
        drawn += frame.curve(line.curve, *_STROKES[index % len(_STROKES)])
    drawn += _legend(lines)
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {frame.height}" role="img" '
            f'aria-labelledby="roc-{name}-title roc-{name}-desc" '
            'font-family="system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif">',
            f'<title id="roc-{name}-title">{escape(title)}</title>',
            f'<desc id="roc-{name}-desc">{escape(said)}. Chance: TPR equals FPR.</desc>',
            f'<rect width="{_WIDTH}" height="{frame.height}" fill="{_PAPER}"/>',
            *drawn,
            "</svg>",
        )
    )


@dataclass(frozen=True)
class _Frame:
    decades: int
    top: int

    @property
    def height(self) -> int:
        return self.top + _PLOT + _BOTTOM

    def x(self, rate: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * self._along(rate)

    def y(self, rate: float) -> float:
        return self.top + _PLOT * (1 - self._along(rate))

    def _along(self, rate: float) -> float:
        return min(1.0, max(0.0, 1 + math.log10(max(rate, 1e-300)) / self.decades))

    def axes(self) -> Iterator[str]:
        bottom = self.top + _PLOT
        for decade in range(self.decades + 1):
            rate = 10.0**-decade
            words = f"{100 * rate:g} %"
            yield f'<path d="M{_LEFT} {self.y(rate):.1f}H{_WIDTH - _RIGHT}" stroke="{_GRID}"/>'
            yield f'<path d="M{self.x(rate):.1f} {self.top}V{bottom}" stroke="{_GRID}"/>'
            yield _text(_LEFT - 8, self.y(rate) + 6, words, _QUIET, "end")
            anchor = "end" if decade == 0 else "start" if decade == self.decades else "middle"
            yield _text(self.x(rate), bottom + 24, words, _QUIET, anchor)
        yield _text((_LEFT + _WIDTH - _RIGHT) / 2, bottom + 52, "false-positive rate", _INK, "middle")
        yield _text(8, self.top - 14, "true-positive rate", _INK, "start")

    def chance(self) -> str:
        least = 10.0**-self.decades
        return (
            f'<path d="M{self.x(least):.1f} {self.y(least):.1f}L{self.x(1):.1f} {self.y(1):.1f}" '
            f'stroke="{_QUIET}" stroke-width="2" fill="none" stroke-dasharray="1 4"/>'
        )

    def curve(self, of: Curve, colour: str, dashes: str) -> Iterator[str]:
        shown = of.fpr >= 10.0**-self.decades * (1 - 1e-9)
        fpr, tpr = of.fpr[shown], of.tpr[shown]
        low, high = (
            np.broadcast_to(of.band.low, of.fpr.shape)[shown],
            np.broadcast_to(of.band.high, of.fpr.shape)[shown],
        )
        outline = [*zip(fpr, high, strict=True), *zip(fpr[::-1], low[::-1], strict=True)]
        yield f'<polygon points="{self._points(outline)}" fill="{colour}" fill-opacity="0.13"/>'
        yield (
            f'<polyline points="{self._points(zip(fpr, tpr, strict=True))}" fill="none" stroke="{colour}" '
            f'stroke-width="3" stroke-dasharray="{dashes or "none"}"/>'
        )

    def _points(self, places: Iterable[tuple[float, float]]) -> str:
        return " ".join(f"{self.x(float(a)):.1f},{self.y(float(b)):.1f}" for a, b in places)


def _legend(lines: Sequence[Line]) -> Iterator[str]:
    for row, line in enumerate(lines):
        colour, dashes = _STROKES[row % len(_STROKES)]
        y = 16 + _LEGEND * row
        stroke = f'stroke="{colour}" stroke-width="3" stroke-dasharray="{dashes or "none"}"'
        yield f'<path d="M8 {y}h36" {stroke}/>'
        yield _text(52, y + 6, line.label, _INK, "start")
    y = 16 + _LEGEND * len(lines)
    yield f'<path d="M8 {y}h36" stroke="{_QUIET}" stroke-width="2" stroke-dasharray="1 4"/>'
    yield _text(52, y + 6, "chance", _INK, "start")


def _text(x: float, y: float, words: str, colour: str, anchor: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{_SIZE}" fill="{colour}" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )
