"""Images beside what attacks made of them, as strips that stand in the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy.typing as npt

from secagg_attacks.defences import NONE, defence
from secagg_attacks.matrix.attacks import COLUMNS
from secagg_attacks.matrix.column import Column
from secagg_attacks.matrix.outcome import Outcome
from secagg_attacks.report import figures
from secagg_attacks.report.png import data_uri, grid
from secagg_attacks.results import Finding

__all__ = ["Picture", "best_of_uploads", "strip", "strips", "three_pictures"]

_IN_A_ROW: Final = 8
_NUMBERS: Final = 8192
"""Of a strip, about: what noise there is does not compress, and a page holds hundreds of strips."""
_SHOWN: Final = 60
"""Pixels across which one image of a strip is shown."""


@dataclass(frozen=True)
class Picture:
    """An image to show: words above it, its data URI, and the size to show it at, in pixels."""

    words: str
    uri: str
    width: int
    height: int


def best_of_uploads(outcome: Outcome) -> tuple[Finding, Finding] | None:
    """The inversion of single uploads that comes nearest without protection: what it found there, and under
    the first defence that protects uploads. None where no inversion was measured on both."""
    found: list[tuple[float, Finding, Finding]] = []
    for name in outcome.config.attacks:
        column, bare = COLUMNS[name], outcome.finding(NONE.name, name)
        value = bare.measurement.value
        if (column.family, column.seen) != ("inversion", "upload") or value is None:
            continue
        if not bare.measurement.figure.endswith("dB") or not _images(outcome, NONE.name, name):
            continue
        ours = [
            outcome.finding(row.defence, name)
            for row in outcome.rows
            if defence(row.defence).kind != NONE.kind and _images(outcome, row.defence, name)
        ]
        if ours:
            found.append((value, bare, ours[0]))
    if not found:
        return None
    _, bare, protected = max(found, key=lambda each: each[0])
    return bare, protected


def three_pictures(outcome: Outcome) -> tuple[Picture, ...]:
    """A client's image, what a server without protection makes of its upload, and what it makes of one that a
    defence protects; empty where there is no `best_of_uploads`."""
    best = best_of_uploads(outcome)
    if best is None:
        return ()
    bare, ours = (each.measurement for each in best)
    open_, shut = (outcome.arrays[each.defence, each.attack] for each in (bare, ours))
    title = COLUMNS[bare.attack].title
    return (
        _picture("A client's image", open_["originals"][0]),
        _picture(f"What a server without protection makes of its upload: {open_['psnr'][0]:.0f} dB ({title})",
                 open_["images"][0]),
        _picture(f"What it makes of the upload under {ours.defence}: {shut['psnr'][0]:.0f} dB",
                 shut["images"][0]),
    )  # fmt: skip


def strip(words: str, images: npt.NDArray[Any]) -> Picture:
    """The first of images (n, channels, height, width), side by side: eight, or fewer large ones."""
    most = max(1, min(_IN_A_ROW, _NUMBERS // images[0].size))
    return _picture(words, grid(images[:most]), min(most, len(images)))


def strips(outcome: Outcome, column: Column) -> tuple[Picture, ...]:
    """The clients' images, and what the attack made of them under each defence; empty without images."""
    shown: list[Picture] = []
    for row in outcome.rows:
        arrays = outcome.arrays.get((row.defence, column.name), {})
        if "images" not in arrays:
            continue
        if not shown:
            shown.append(strip("the clients' images", arrays["originals"]))
        found = outcome.finding(row.defence, column.name)
        shown.append(strip(f"{row.defence}: {figures.headline(found)}, {found.verdict}", arrays["images"]))
    return tuple(shown)


def _images(outcome: Outcome, defence: str, attack: str) -> bool:
    return "images" in outcome.arrays.get((defence, attack), {})


def _picture(words: str, image: npt.NDArray[Any], count: int = 1) -> Picture:
    """One image (channels, height, width), or as many as said side by side."""
    _, height, width = image.shape
    across = _SHOWN * count
    return Picture(words, data_uri(image), across, round(across * height / width))
