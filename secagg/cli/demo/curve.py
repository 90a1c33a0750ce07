"""The demo's fourth picture: accuracy by round, beside what it is compared with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from secagg.cli.demo.audiences import Baselines, percent
from secagg.cli.demo.federation import Federation
from secagg.cli.demo.pictures import Picture
from secagg.cli.demo.setting import NAMES
from secagg.cli.demo.svg import EXPOSED, GRID, HEIGHT, INK, PAPER, QUIET, SAFE, WIDTH, document, text

__all__ = ["accuracy_picture"]

_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 24, 118, 70
_STEPS: Final = (0.05, 0.1, 0.2)


def accuracy_picture(federation: Federation, baselines: Baselines) -> Picture:
    """Three curves over the rounds; a hollow mark where the sum was over fewer than all clients."""
    federated = [closed.accuracy for closed in federation.rounds]
    known = [accuracy for accuracy in federated if accuracy is not None]
    killing = federation.killing
    frame = _Frame(len(federated), min([*known, *baselines.pooled, *baselines.alone]))
    across = frame.x(killing.round)
    bottom = HEIGHT - _BOTTOM
    drawn = [
        *frame.axes(),
        f'<path d="M{across:.1f} {_TOP}V{bottom}" stroke="{QUIET}" stroke-dasharray="2 4"/>',
        text(across + 6, bottom - 10, f"{killing.client} killed", 16, QUIET, "start"),
        frame.curve(baselines.alone, EXPOSED, "6 5"),
        frame.curve(baselines.pooled, INK, "6 5"),
        frame.curve(known if len(known) == len(federated) else [], SAFE, ""),
    ]
    for closed in federation.rounds:
        if closed.accuracy is not None:
            fill = SAFE if closed.survivors == len(NAMES) else PAPER
            drawn.append(
                f'<circle cx="{frame.x(closed.round):.1f}" cy="{frame.y(closed.accuracy):.1f}" r="4.5" '
                f'fill="{fill}" stroke="{SAFE}" stroke-width="2"/>'
            )
    last = federated[-1]
    for index, (label, value, colour, dashes) in enumerate(
        (
            ("federated", last, SAFE, ""),
            ("pooled", baselines.pooled[-1], INK, "6 5"),
            ("alone", baselines.alone[-1], EXPOSED, "6 5"),
        )
    ):
        left = 24 + (0, 212, 402)[index]
        drawn.append(
            f'<path d="M{left} 65H{left + 26}" stroke="{colour}" stroke-width="3" '
            f'stroke-dasharray="{dashes}"/>'
        )
        drawn.append(text(left + 34, 71, f"{label} {percent(value)}", 17, colour, "start", bold=True))
    drawn.append(text(24, 96, "a hollow mark: a sum over four", 16, QUIET, "start"))
    return Picture(
        "accuracy",
        document("Accuracy on the common test set", (), drawn),
        f"After {len(federated)} rounds the federated model has {percent(last)} of the test set right, the "
        f"model trained on the pooled data {percent(baselines.pooled[-1])}, the average client alone "
        f"{percent(baselines.alone[-1])}.",
        {"pooled": baselines.pooled[-1], "alone": baselines.alone[-1]}
        | ({} if last is None else {"federated": last}),
    )


class _Frame:
    """Rounds across, accuracy up to 100 %."""

    def __init__(self, rounds: int, lowest: float) -> None:
        step = next(step for step in _STEPS if (1 - lowest) / step <= 6 or step == _STEPS[-1])
        self._ticks = [1 - step * tick for tick in range(math.ceil((1 - lowest) / step) + 1)]
        self._low = self._ticks[-1]
        self._rounds = rounds

    def x(self, round: int) -> float:
        return _LEFT + 12 + (WIDTH - _LEFT - _RIGHT - 24) * (round - 1) / max(1, self._rounds - 1)

    def y(self, accuracy: float) -> float:
        return HEIGHT - _BOTTOM - (HEIGHT - _BOTTOM - _TOP) * (accuracy - self._low) / (1 - self._low)

    def axes(self) -> list[str]:
        drawn = []
        for tick in self._ticks:
            y = self.y(tick)
            drawn.append(f'<path d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}" stroke="{GRID}"/>')
            drawn.append(text(_LEFT - 10, y + 5, f"{100 * tick:.0f} %", 16, QUIET, "end"))
        every = max(1, math.ceil(self._rounds / 5))
        drawn += [
            text(self.x(round), HEIGHT - _BOTTOM + 24, str(round), 16, QUIET, "middle")
            for round in sorted({1, *range(every, self._rounds + 1, every)})
        ]
        middle = (_LEFT + WIDTH - _RIGHT) / 2
        drawn.append(text(middle, HEIGHT - _BOTTOM + 52, "round", 17, INK, "middle"))
        return drawn

    def curve(self, accuracies: Sequence[float], colour: str, dashes: str) -> str:
        points = " ".join(f"{self.x(at):.1f},{self.y(value):.1f}" for at, value in enumerate(accuracies, 1))
        return (
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="3" '
            f'stroke-dasharray="{dashes}"/>'
        )
