"""ROC curves on logarithmic axes, as SVG text: what an attack is sure of is at the left.

Small, to stand side by side: a page has one legend for all. Each curve has the Clopper-Pearson band of its
points, given the threshold; the diagonal is chance. Nothing is drawn below the rate of one false alarm.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from secagg_attacks.report.svg_marks import CHANCE, GRID, INK, QUIET, element, stroke, text
from secagg_attacks.statistics.roc import Curve

__all__ = ["Line", "svg"]

_WIDTH, _HEIGHT = 340, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 26, 48
_SIZE: Final = 14
_LEAST: Final = 1e-4


@dataclass(frozen=True, eq=False)
class Line:
    """A curve, what it is of, and the number of its stroke (`svg_marks.stroke`)."""

    label: str
    stroke: int
    curve: Curve


def svg(name: str, title: str, lines: Sequence[Line]) -> str:
    """One svg element that refers to nothing outside of itself. name: unique on its page."""
    least = max(_LEAST, min((float(line.curve.fpr[0]) for line in lines), default=_LEAST))
    frame = _Frame(max(1, math.ceil(-math.log10(least) - 1e-9)))
    said = "; ".join(
        f"{line.label}: TPR {line.curve.tpr[0]:.2g} at FPR {line.curve.fpr[0]:.2g}" for line in lines
    )
    drawn = [*frame.axes(), frame.chance()]
    for line in lines:
        drawn += frame.curve(line.curve, line.stroke)
    return element(f"roc-{name}", title, f"{said}. Chance: TPR equals FPR.", (_WIDTH, _HEIGHT), drawn)


@dataclass(frozen=True)
class _Frame:
    decades: int

    def x(self, rate: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * self._along(rate)

    def y(self, rate: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - self._along(rate))

    def _along(self, rate: float) -> float:
        return min(1.0, max(0.0, 1 + math.log10(max(rate, 1e-300)) / self.decades))

    def axes(self) -> Iterator[str]:
        bottom = _HEIGHT - _BOTTOM
        for decade in range(self.decades + 1):
            rate = 10.0**-decade
            words = f"{100 * rate:g} %"
            yield f'<path d="M{_LEFT} {self.y(rate):.1f}H{_WIDTH - _RIGHT}" stroke="{GRID}"/>'
            yield f'<path d="M{self.x(rate):.1f} {_TOP}V{bottom}" stroke="{GRID}"/>'
            yield text(_LEFT - 6, self.y(rate) + 5, words, QUIET, "end", _SIZE)
            anchor = "end" if decade == 0 else "start" if decade == self.decades else "middle"
            yield text(self.x(rate), bottom + 18, words, QUIET, anchor, _SIZE)
        yield text((_LEFT + _WIDTH - _RIGHT) / 2, bottom + 40, "false-positive rate", INK, "middle", _SIZE)
        yield text(4, 14, "true-positive rate", INK, "start", _SIZE)

    def chance(self) -> str:
        least = 10.0**-self.decades
        return (
            f'<path d="M{self.x(least):.1f} {self.y(least):.1f}L{self.x(1):.1f} {self.y(1):.1f}" '
            f'fill="none" {CHANCE}/>'
        )

    def curve(self, of: Curve, index: int) -> Iterator[str]:
        shown = of.fpr >= 10.0**-self.decades * (1 - 1e-9)
        fpr, tpr = of.fpr[shown], of.tpr[shown]
        low, high = (
            np.broadcast_to(of.band.low, of.fpr.shape)[shown],
            np.broadcast_to(of.band.high, of.fpr.shape)[shown],
        )
        outline = [*zip(fpr, high, strict=True), *zip(fpr[::-1], low[::-1], strict=True)]
        colour, attributes = stroke(index)
        yield f'<polygon points="{self._points(outline)}" fill="{colour}" fill-opacity="0.1"/>'
        yield f'<polyline points="{self._points(zip(fpr, tpr, strict=True))}" fill="none" {attributes}/>'

    def _points(self, places: Iterable[tuple[float, float]]) -> str:
        return " ".join(f"{self.x(float(a)):.1f},{self.y(float(b)):.1f}" for a, b in places)
