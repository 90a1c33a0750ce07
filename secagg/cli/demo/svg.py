"""The few marks the demo's pictures are made of, as SVG text.

Every picture has the same size and palette, and type that is still read when it is shown 400 pixels wide. It
is not a plotting library: what these functions cannot draw, the demo does not show.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt

__all__ = [
    "EXPOSED",
    "GRID",
    "HEIGHT",
    "INK",
    "PAPER",
    "QUIET",
    "SAFE",
    "WIDTH",
    "bars",
    "document",
    "power",
    "raster",
    "round_up",
    "text",
]

WIDTH, HEIGHT = 640, 480
INK, QUIET, GRID, PAPER = "#1b2430", "#5b6673", "#dfe3e8", "#ffffff"
SAFE, EXPOSED = "#2f6f9f", "#c4532d"
"""Blue for what hides an update, red for what shows it."""

_SUPERSCRIPTS: Final = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def document(title: str, notes: Sequence[str], drawn: Iterable[str]) -> str:
    """A whole SVG document: title, up to two lines of notes, and what was drawn below them."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            'font-family="system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif" '
            'style="max-width:1280px">',
            f"<title>{escape(title)}</title>",
            f"<desc>{escape('; '.join(notes))}</desc>",
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{PAPER}"/>',
            text(24, 40, title, 24, INK, "start", bold=True),
            *(text(24, 70 + 24 * line, note, 17, QUIET, "start") for line, note in enumerate(notes)),
            *drawn,
            "</svg>",
            "",
        ]
    )


def text(x: float, y: float, words: str, size: int, colour: str, anchor: str, *, bold: bool = False) -> str:
    """Words at a baseline; `anchor` is start, middle or end."""
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}"{weight}>'
        f"{escape(words)}</text>"
    )


def bars(
    found: npt.NDArray[np.integer[Any]], highest: int, frame: tuple[float, float, float, float], colour: str
) -> list[str]:
    """One path for all bars, in a frame (left, top, width, height)."""
    left, top, width, height = frame
    step = width / len(found)
    path = "".join(
        f"M{left + i * step:.2f} {top + height:.2f}v{-height * int(n) / max(highest, 1):.2f}"
        f"h{step * 0.86:.2f}V{top + height:.2f}z"
        for i, n in enumerate(found)
        if n
    )
    return [f'<path d="{path}" fill="{colour}"/>']


def raster(
    image: npt.NDArray[np.floating[Any]], left: float, top: float, pixel: int, colour: str
) -> list[str]:
    """A square image of ink from 0 to 1, dark on white, a square a pixel, in a frame of `colour`."""
    side = len(image) * pixel
    grey = np.rint(255 * (1 - image)).astype(int)
    squares = [
        f'<rect x="{left + column * pixel}" y="{top + row * pixel}" width="{pixel}" height="{pixel}" '
        f'fill="rgb({shade},{shade},{shade})"/>'
        for (row, column), shade in np.ndenumerate(grey)
    ]
    frame = f'<rect x="{left}" y="{top}" width="{side}" height="{side}" fill="none" stroke="{colour}" '
    return [f'<g shape-rendering="crispEdges">{"".join(squares)}</g>', frame + 'stroke-width="2.5"/>']


def power(exponent: int) -> str:
    """2 to the `exponent`, with a raised exponent."""
    return "2" + str(exponent).translate(_SUPERSCRIPTS)


def round_up(value: int) -> int:
    """The next of 4, 8, 12, 16, 20, 40, 80, 120, 200 ...: four even steps, little air."""
    unit = 1
    while True:
        for step in (4, 8, 12, 16, 20):
            if value <= step * unit:
                return step * unit
        unit *= 10
