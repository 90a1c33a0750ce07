"""The demo's three pictures, as SVG documents that need nothing else, with the sentence each one shows.

    masked    the histogram of one client's masked vector, as the server held it
    update    the same for the vector inside it, which the server never held
    attack    one example, and what the analytic attack returns from the update it caused, bare and masked

The first two share one axis, the whole ring, so that they can be laid side by side. Ring vectors are arrays
of uint32 or uint64 words of which the low `bits` count. Drawn for an eye at 400 to 1 280 pixels of width,
dark on light whatever is behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt

from secagg.cli.demo.attack import Recovery, analytic_attack, arrays_of, compare
from secagg.cli.demo.digits import SIDE
from secagg.cli.demo.uniformity import counts, uniformity
from secagg.encoding.ring import centred

__all__ = ["Picture", "attack_picture", "masked_picture", "update_picture"]

RingVector: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]

_WIDTH, _HEIGHT = 640, 480
_INK, _QUIET, _GRID, _PAPER = "#1b2430", "#5b6673", "#dfe3e8", "#ffffff"
_SAFE, _EXPOSED = "#2f6f9f", "#c4532d"
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 24, 124, 76  # margins around a histogram
_INSET_BINS: Final = 41
_SUPERSCRIPTS: Final = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


@dataclass(frozen=True)
class Picture:
    """One SVG document, the sentence it shows, and the figures in that sentence."""

    name: str
    svg: str
    sentence: str
    figures: dict[str, float]

    def write(self, folder: Path) -> Path:
        """Writes `<name>.svg` into an existing folder."""
        path = folder / f"{self.name}.svg"
        path.write_text(self.svg, encoding="utf-8")
        return path


def masked_picture(masked: RingVector, bits: int, client: str) -> Picture:
    """The histogram of what the server held of `client`."""
    test = uniformity(masked, bits)
    verdict = "consistent with uniform noise" if test.plausible else "NOT uniform"
    drawn = _ring_histogram(masked, bits, _SAFE)
    return Picture(
        "masked",
        _document(f"What the server held of {client}", (str(test), verdict), drawn),
        f"The masked vector of {client}, as the server held it: {test}; {verdict}.",
        {"chi_squared": test.statistic, "degrees": test.degrees, "p_value": test.p_value},
    )


def update_picture(update: RingVector, bits: int, client: str) -> Picture:
    """The histogram of the encoded update inside it, with its middle magnified."""
    test = uniformity(update, bits)
    verdict = "anything but uniform" if not test.plausible else "uniform"
    drawn = [*_ring_histogram(update, bits, _EXPOSED), *_magnified(update, bits)]
    return Picture(
        "update",
        _document(f"What was inside: {client}'s update", (str(test), verdict), drawn),
        f"The update of {client} inside it, which never left the client: {test}; {verdict}.",
        {"chi_squared": test.statistic, "degrees": test.degrees, "p_value": test.p_value},
    )


def attack_picture(
    example: npt.NDArray[np.floating[Any]],
    update: RingVector,
    masked: RingVector,
    bits: int,
    layout: Sequence[tuple[str, tuple[int, ...]]],
) -> Picture:
    """The analytic attack on the update of a single example, and on the same update masked.

    example: shape (64,). update, masked: the ring vectors of one SGD step on that example alone. layout:
    name and shape of each array in the order of the vectors, among them `hidden.weight` and `hidden.bias`.
    """
    bare = compare(analytic_attack(arrays_of(update, bits, layout)), example)
    hidden = compare(analytic_attack(arrays_of(masked, bits, layout)), example)
    chance = compare(np.full(example.shape, example.mean()), example)
    panels = (
        ("The example", "stays at home", example, _INK),
        ("Bare update", _score(bare), bare.image, _EXPOSED),
        ("Masked update", _score(hidden), hidden.image, _SAFE),
    )
    drawn: list[str] = []
    for index, (label, score, image, colour) in enumerate(panels):
        left = 24 + index * 202
        drawn += _digit(image, left, 124, 23, colour)
        drawn.append(_text(left + 94, 344, label, 18, colour, "middle", bold=True))
        drawn.append(_text(left + 94, 372, score, 17, _INK, "middle"))
    drawn.append(
        _text(_WIDTH / 2, 420, f"chance (the best plain grey): {_score(chance)}", 17, _QUIET, "middle")
    )
    drawn.append(_text(_WIDTH / 2, 448, "MSE of pixels from 0 to 1, and PSNR in dB", 17, _QUIET, "middle"))
    versus = "worse" if hidden.mse >= chance.mse else "better"
    return Picture(
        "attack",
        _document(
            "The analytic attack: x = ∇W / ∇b",
            ("after one SGD step on one example,", "whose step size and clipping cancel in the ratio"),
            drawn,
        ),
        f"The analytic attack returns the example from its update with {_score(bare)}, and from the masked "
        f"vector with {_score(hidden)}, {versus} than a plain grey square ({_score(chance)}). Learning rate, "
        "clipping and averaging weights do not hinder it, because it takes a ratio; the mask does.",
        {
            "update_mse": bare.mse,
            "update_psnr_db": bare.psnr,
            "masked_mse": hidden.mse,
            "masked_psnr_db": hidden.psnr,
            "chance_mse": chance.mse,
            "chance_psnr_db": chance.psnr,
        },
    )


def _score(recovery: Recovery) -> str:
    return f"MSE {recovery.mse:.2g}, {recovery.psnr:.0f} dB"


def _ring_histogram(vector: RingVector, bits: int, colour: str) -> list[str]:
    """Bars over the whole ring, with axes and labels."""
    found = counts(vector, bits)
    highest = _round_up(int(found.max()))
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    height = bottom - _TOP
    drawn = []
    for tick in range(5):
        y = bottom - height * tick / 4
        drawn.append(f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="{_GRID}"/>')
        drawn.append(_text(_LEFT - 10, y + 5, f"{highest * tick / 4:g}", 16, _QUIET, "end"))
    drawn += _bars(found, highest, (_LEFT, _TOP, right - _LEFT, height), colour)
    drawn.append(f'<path d="M{_LEFT} {bottom}H{right}" stroke="{_INK}" stroke-width="1.5"/>')
    middle = (_LEFT + right) / 2
    drawn.append(_text(_LEFT, bottom + 24, f"−{_power(bits - 1)}", 16, _QUIET, "start"))
    drawn.append(_text(middle, bottom + 24, "0", 16, _QUIET, "middle"))
    drawn.append(_text(right, bottom + 24, _power(bits - 1), 16, _QUIET, "end"))
    drawn.append(
        _text(middle, bottom + 54, f"value of a coordinate, modulo {_power(bits)}", 17, _INK, "middle")
    )
    drawn.append(
        f'<g transform="translate(24 {(_TOP + bottom) / 2:.0f}) rotate(-90)">'
        f"{_text(0, 0, 'coordinates', 17, _INK, 'middle')}</g>"
    )
    return drawn


def _magnified(vector: RingVector, bits: int) -> list[str]:
    """The middle of a narrow histogram in a frame of its own, beside the needle it is on the whole ring."""
    values = centred(vector, bits)
    exponent = max(1, int(np.quantile(np.abs(values), 0.98)).bit_length())
    found, _ = np.histogram(values, bins=_INSET_BINS, range=(-(2.0**exponent), 2.0**exponent))
    left, top, width, height = 392, 142, 212, 176
    return [
        f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="{_PAPER}" stroke="{_QUIET}"/>',
        _text(left + width / 2, top + 26, f"the middle, × {_power(bits - 1 - exponent)}", 17, _INK, "middle"),
        *_bars(found, int(found.max()), (left + 10, top + 38, width - 20, height - 68), _EXPOSED),
        _text(left + 10, top + height - 10, f"−{_power(exponent)}", 16, _QUIET, "start"),
        _text(left + width / 2, top + height - 10, "0", 16, _QUIET, "middle"),
        _text(left + width - 10, top + height - 10, _power(exponent), 16, _QUIET, "end"),
    ]


def _bars(
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


def _digit(
    image: npt.NDArray[np.floating[Any]], left: float, top: float, pixel: int, colour: str
) -> list[str]:
    """An image as squares of grey, ink dark on white, in a frame of `colour`."""
    side = SIDE * pixel
    grey = np.rint(255 * (1 - image.reshape(SIDE, SIDE))).astype(int)
    squares = [
        f'<rect x="{left + column * pixel}" y="{top + row * pixel}" width="{pixel}" height="{pixel}" '
        f'fill="rgb({shade},{shade},{shade})"/>'
        for (row, column), shade in np.ndenumerate(grey)
    ]
    frame = f'<rect x="{left}" y="{top}" width="{side}" height="{side}" fill="none" stroke="{colour}" '
    return [f'<g shape-rendering="crispEdges">{"".join(squares)}</g>', frame + 'stroke-width="2.5"/>']


def _text(x: float, y: float, words: str, size: int, colour: str, anchor: str, *, bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}"{weight}>'
        f"{escape(words)}</text>"
    )


def _power(exponent: int) -> str:
    return "2" + str(exponent).translate(_SUPERSCRIPTS)


def _round_up(value: int) -> int:
    """The next of 4, 8, 12, 16, 20, 40, 80, 120, 200 ...: four even steps, little air."""
    unit = 1
    while True:
        for step in (4, 8, 12, 16, 20):
            if value <= step * unit:
                return step * unit
        unit *= 10


def _document(title: str, notes: Sequence[str], drawn: Iterable[str]) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
            'font-family="system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif" '
            'style="max-width:1280px">',
            f"<title>{escape(title)}</title>",
            f"<desc>{escape('; '.join(notes))}</desc>",
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="{_PAPER}"/>',
            _text(24, 40, title, 24, _INK, "start", bold=True),
            *(_text(24, 70 + 24 * line, note, 17, _QUIET, "start") for line, note in enumerate(notes)),
            *drawn,
            "</svg>",
            "",
        ]
    )
