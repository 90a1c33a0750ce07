"""The demo's three pictures, as SVG documents that need nothing else, with the sentence each one shows.

    masked    the histogram of one client's masked vector, as the server held it
    update    the same for the vector inside it, which the server never held
    attack    one example, and what the analytic attack returns from the update it caused, bare and masked

The first two share one axis, the whole ring, so that they can be laid side by side. Ring vectors are arrays
of uint32 or uint64 words of which the low `bits` count. Drawn for an eye at 400 to 1 280 pixels of width,
dark on light whatever is behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from secagg.cli.demo.attack import Recovery, analytic_attack, arrays_of, chance, compare
from secagg.cli.demo.digits import SIDE
from secagg.cli.demo.svg import (
    EXPOSED,
    GRID,
    HEIGHT,
    INK,
    PAPER,
    QUIET,
    SAFE,
    WIDTH,
    bars,
    document,
    power,
    raster,
    round_up,
    text,
)
from secagg.cli.demo.uniformity import counts, uniformity
from secagg.encoding.ring import centred

__all__ = ["Picture", "attack_picture", "masked_picture", "update_picture"]

RingVector: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]

_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 24, 124, 76  # margins around a histogram
_INSET_BINS: Final = 41


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
    drawn = _ring_histogram(masked, bits, SAFE)
    return Picture(
        "masked",
        document(f"What the server held of {client}", (str(test), verdict), drawn),
        f"The masked vector of {client}, as the server held it: {test}; {verdict}.",
        {"chi_squared": test.statistic, "degrees": test.degrees, "p_value": test.p_value},
    )


def update_picture(update: RingVector, bits: int, client: str) -> Picture:
    """The histogram of the encoded update inside it, with its middle magnified."""
    test = uniformity(update, bits)
    verdict = "anything but uniform" if not test.plausible else "uniform"
    drawn = [*_ring_histogram(update, bits, EXPOSED), *_magnified(update, bits)]
    return Picture(
        "update",
        document(f"What was inside: {client}'s update", (str(test), verdict), drawn),
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
    blind = chance(example)
    panels = (
        ("The example", ("stays at home", ""), example, INK),
        ("Bare update", (_score(bare), _pixels(bare)), bare.image, EXPOSED),
        ("Masked update", (_score(hidden), _pixels(hidden)), hidden.image, SAFE),
    )
    drawn: list[str] = []
    for index, (label, scores, image, colour) in enumerate(panels):
        left = 24 + index * 202
        drawn += raster(image.reshape(SIDE, SIDE), left, 118, 23, colour)
        drawn.append(text(left + 94, 336, label, 18, colour, "middle", bold=True))
        drawn.append(text(left + 94, 362, scores[0], 17, INK, "middle"))
        drawn.append(text(left + 94, 386, scores[1], 17, INK, "middle"))
    guess = f"chance (a plain square): {_score(blind)}, {_pixels(blind)}"
    drawn.append(text(WIDTH / 2, 426, guess, 17, QUIET, "middle"))
    drawn.append(
        text(WIDTH / 2, 452, "pixels from 0 to 1, right to a sixteenth; PSNR in dB", 17, QUIET, "middle")
    )
    versus = "worse" if hidden.mse >= blind.mse else "better"
    return Picture(
        "attack",
        document(
            "The analytic attack: x = ∇W / ∇b",
            ("after one SGD step on one example,", "whose step size and clipping cancel in the ratio"),
            drawn,
        ),
        f"The analytic attack gets {_pixels(bare)} right from the update ({_score(bare)}), and "
        f"{_pixels(hidden)} from the masked vector ({_score(hidden)}): {versus} than a plain square "
        f"({_pixels(blind)}, {_score(blind)}). Learning rate, clipping and averaging weights do not "
        "hinder it, because it takes a ratio; the mask does.",
        {
            "update_mse": bare.mse,
            "update_psnr_db": bare.psnr,
            "update_right_fraction": bare.right,
            "masked_mse": hidden.mse,
            "masked_psnr_db": hidden.psnr,
            "masked_right_fraction": hidden.right,
            "chance_mse": blind.mse,
            "chance_psnr_db": blind.psnr,
            "chance_right_fraction": blind.right,
        },
    )


def _score(recovery: Recovery) -> str:
    return f"MSE {recovery.mse:.2g}, {recovery.psnr:.0f} dB"


def _pixels(recovery: Recovery) -> str:
    count = len(recovery.image)
    return f"{round(recovery.right * count)} of {count} pixels"


def _ring_histogram(vector: RingVector, bits: int, colour: str) -> list[str]:
    """Bars over the whole ring, with axes and labels."""
    found = counts(vector, bits)
    highest = round_up(int(found.max()))
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    height = bottom - _TOP
    drawn = []
    for tick in range(5):
        y = bottom - height * tick / 4
        drawn.append(f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="{GRID}"/>')
        drawn.append(text(_LEFT - 10, y + 5, f"{highest * tick / 4:g}", 16, QUIET, "end"))
    drawn += bars(found, highest, (_LEFT, _TOP, right - _LEFT, height), colour)
    drawn.append(f'<path d="M{_LEFT} {bottom}H{right}" stroke="{INK}" stroke-width="1.5"/>')
    middle = (_LEFT + right) / 2
    drawn.append(text(_LEFT, bottom + 24, f"−{power(bits - 1)}", 16, QUIET, "start"))
    drawn.append(text(middle, bottom + 24, "0", 16, QUIET, "middle"))
    drawn.append(text(right, bottom + 24, power(bits - 1), 16, QUIET, "end"))
    drawn.append(text(middle, bottom + 54, f"value of a coordinate, modulo {power(bits)}", 17, INK, "middle"))
    drawn.append(
        f'<g transform="translate(24 {(_TOP + bottom) / 2:.0f}) rotate(-90)">'
        f"{text(0, 0, 'coordinates', 17, INK, 'middle')}</g>"
    )
    return drawn


def _magnified(vector: RingVector, bits: int) -> list[str]:
    """The middle of a narrow histogram in a frame of its own, beside the needle it is on the whole ring."""
    values = centred(vector, bits)
    exponent = max(1, int(np.quantile(np.abs(values), 0.98)).bit_length())
    found, _ = np.histogram(values, bins=_INSET_BINS, range=(-(2.0**exponent), 2.0**exponent))
    left, top, width, height = 392, 142, 212, 176
    return [
        f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="{PAPER}" stroke="{QUIET}"/>',
        text(left + width / 2, top + 26, f"the middle, × {power(bits - 1 - exponent)}", 17, INK, "middle"),
        *bars(found, int(found.max()), (left + 10, top + 38, width - 20, height - 68), EXPOSED),
        text(left + 10, top + height - 10, f"−{power(exponent)}", 16, QUIET, "start"),
        text(left + width / 2, top + height - 10, "0", 16, QUIET, "middle"),
        text(left + width - 10, top + height - 10, power(exponent), 16, QUIET, "end"),
    ]
