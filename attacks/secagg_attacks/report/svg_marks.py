"""What the charts of a page have in common: colours, the strokes of defences, text, the frame of an SVG.

A defence has one stroke on the whole page, its dashes as well as its colour, and one legend for each set of
charts says which. An element refers to nothing outside of itself and carries a title and a description.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from xml.sax.saxutils import escape

__all__ = ["CHANCE", "GRID", "INK", "QUIET", "element", "stroke", "swatch", "text"]

INK, QUIET, GRID = "#1b2430", "#4b5662", "#dfe3e8"
CHANCE: Final = f'stroke="{QUIET}" stroke-width="2" stroke-dasharray="1 4"'
"""How a line of chance is drawn."""
_PAPER: Final = "#ffffff"
_STROKES: Final = (
    ("#c4532d", "none"), ("#2f6f9f", "9 5"), ("#3b7a48", "2 4"), ("#5d4a9c", "12 4 2 4"),
    ("#8a6d1a", "6 3"), ("#a0366f", "1 3"), ("#1d7a78", "14 4"), ("#6b4a2b", "4 4 1 4"), ("#555555", "3 6"),
)  # fmt: skip


def stroke(index: int) -> tuple[str, str]:
    """Colour and attributes of the line of the row with this number."""
    colour, dashes = _STROKES[index % len(_STROKES)]
    return colour, f'stroke="{colour}" stroke-width="3" stroke-dasharray="{dashes}"'


def swatch(attributes: str) -> str:
    """A short line, to stand before its words in a legend."""
    line = f'<path d="M0 4h36" {attributes}/>'
    return f'<svg viewBox="0 0 36 8" width="36" height="8" aria-hidden="true">{line}</svg>'


def text(x: float, y: float, words: str, colour: str, anchor: str, size: int) -> str:
    """anchor: "start", "middle" or "end". size: in units of the drawing."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )


def element(name: str, title: str, said: str, size: tuple[int, int], marks: Iterable[str]) -> str:
    """One svg element. name: unique on its page. said: the same facts in words. size: width and height, in
    units of the drawing."""
    width, height = size
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            f'aria-labelledby="{name}-title {name}-desc" '
            'font-family="system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif">',
            f'<title id="{name}-title">{escape(title)}</title>',
            f'<desc id="{name}-desc">{escape(said)}</desc>',
            f'<rect width="{width}" height="{height}" fill="{_PAPER}"/>',
            *marks,
            "</svg>",
        )
    )
