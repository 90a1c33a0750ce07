"""What is made of a mean of n clients, by n, as SVG text: PSNR with its 95 % interval, and chance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from secagg_attacks.report.svg_marks import CHANCE, GRID, INK, QUIET, element, stroke, text

__all__ = ["MeanLine", "Point", "svg"]

_WIDTH, _HEIGHT = 520, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 30, 34, 58
_SIZE: Final = 17
_STEP: Final = 10
_LEAST_TOP: Final = 30
"""Decibels of the top of the axis, at least: above what is recognised."""
_APART: Final = 3.0
"""Between the bars of lines that stand on the same n, so that each is seen."""


@dataclass(frozen=True)
class Point:
    """clients: in the mean. psnr, low, high: median in dB, and its 95 % interval."""

    clients: int
    psnr: float
    low: float
    high: float


@dataclass(frozen=True)
class MeanLine:
    """Points of one defence by their clients, rising; stroke: the number of its stroke."""

    label: str
    stroke: int
    points: tuple[Point, ...]


def svg(name: str, title: str, lines: Sequence[MeanLine], chance: Mapping[int, float]) -> str:
    """One svg element. name: unique on its page. chance: its level in dB by clients. Each number of clients
    has a place of its own, evenly spaced."""
    counts = sorted({*chance, *(point.clients for line in lines for point in line.points)})
    highest = max([*chance.values(), *(point.high for line in lines for point in line.points), _LEAST_TOP])
    frame = _Frame(counts, _STEP * math.ceil(highest / _STEP))
    said = [
        f"{line.label}: " + ", ".join(f"{point.psnr:.1f} dB of {point.clients}" for point in line.points)
        for line in lines
    ]
    said.append("chance: " + ", ".join(f"{chance[n]:.1f} dB of {n}" for n in sorted(chance)))
    drawn = [*frame.axes()]
    drawn.append(f'<polyline points="{frame.path(chance.items())}" fill="none" {CHANCE}/>')
    for place, line in enumerate(lines):
        drawn += frame.line(line, _APART * (place - (len(lines) - 1) / 2))
    return element(name, title, "; ".join(said), (_WIDTH, _HEIGHT), drawn)


@dataclass(frozen=True)
class _Frame:
    counts: Sequence[int]
    top: int

    def x(self, clients: int) -> float:
        wide = _WIDTH - _LEFT - _RIGHT
        return _LEFT + wide * (self.counts.index(clients) + 0.5) / len(self.counts)

    def y(self, decibels: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * max(0.0, decibels) / self.top

    def axes(self) -> Iterator[str]:
        for level in range(0, self.top + 1, _STEP * max(1, self.top // 60)):
            yield f'<path d="M{_LEFT} {self.y(level):.1f}H{_WIDTH - _RIGHT}" stroke="{GRID}"/>'
            yield text(_LEFT - 8, self.y(level) + 6, f"{level}", QUIET, "end", _SIZE)
        for clients in self.counts:
            yield text(self.x(clients), _HEIGHT - _BOTTOM + 22, f"{clients}", QUIET, "middle", _SIZE)
        across = (_LEFT + _WIDTH - _RIGHT) / 2
        yield text(across, _HEIGHT - 10, "clients in the mean", INK, "middle", _SIZE)
        yield text(8, 16, "PSNR, dB", INK, "start", _SIZE)

    def line(self, of: MeanLine, aside: float) -> Iterator[str]:
        colour, attributes = stroke(of.stroke)
        places = [(point.clients, point.psnr) for point in of.points]
        yield f'<polyline points="{self.path(places, aside)}" fill="none" {attributes}/>'
        for point in of.points:
            x = self.x(point.clients) + aside
            yield f'<path d="M{x:.1f} {self.y(point.low):.1f}V{self.y(point.high):.1f}" stroke="{colour}"/>'
            yield f'<circle cx="{x:.1f}" cy="{self.y(point.psnr):.1f}" r="4" fill="{colour}"/>'

    def path(self, places: Iterable[tuple[int, float]], aside: float = 0) -> str:
        return " ".join(
            f"{self.x(clients) + aside:.1f},{self.y(level):.1f}" for clients, level in sorted(places)
        )
