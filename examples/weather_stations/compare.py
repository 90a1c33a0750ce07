"""One run twice in one process, over ciphertexts and under masks: the same sums, and who is needed for them.

python compare.py
"""

from __future__ import annotations

import json
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import station

import secagg
from secagg.frames import Frame, Reply, Request

PLAN = Path(__file__).with_name("plan.toml")
UPLOADS = ("upload", "mask")  # the stage in which a vector leaves: with ciphertexts, and with masks
NEW = tuple(f"station-{number}" for number in range(7, 13))  # they have no readings to train on yet


@dataclass(frozen=True)
class Played:
    """One run: the model after each round, and by round who held its key and who was asked again."""

    models: list[dict[str, np.ndarray]]
    holders: dict[int, list[str]]
    asked_again: dict[int, set[str]]


class Watch:
    """Notes whom the server asks for something after their vector has left."""

    def __init__(self) -> None:
        self.asked_again: dict[int, set[str]] = defaultdict(set)
        self._done: dict[int, set[str]] = defaultdict(set)

    def __call__(self, sender: str, receiver: str, frame: Frame) -> None:
        if isinstance(frame, Reply) and frame.stage in UPLOADS:
            self._done[frame.round].add(sender)
        elif isinstance(frame, Request) and receiver in self._done[frame.round]:
            self.asked_again[frame.round].add(receiver)


def fixed(name: str) -> Callable[[int], bytes]:
    """What rounds a station's update up or down: the same in both runs, so that they can be compared."""
    return np.random.default_rng(list(name.encode())).bytes


def play(kind: str) -> Played:
    """The plan of plan.toml under this kind of protection."""
    tables = tomllib.loads(PLAN.read_text())
    tables["protection"]["kind"] = kind
    clients = {name: station.trainer(station.readings_of(name)[0]) for name in station.NAMES}
    watch, models = Watch(), []

    def keep(weights: dict[str, np.ndarray]) -> dict[str, float]:
        models.append({name: array.copy() for name, array in weights.items()})
        return {}

    with tempfile.TemporaryDirectory() as runs:
        plan = secagg.Plan(**tables)
        result = secagg.simulate(
            station.START, plan, clients, tap=watch, evaluate=keep, runs=runs, rounding=fixed
        )
        events = [json.loads(line) for line in (result.run_dir / "log.jsonl").read_text().splitlines()]
    holders = {event["round"]: event["clients"] for event in events if event["event"] == "keys-held"}
    return Played(models, holders, watch.asked_again)


def same_to_the_bit(one: Played, other: Played) -> bool:
    pairs = list(zip(one.models, other.models, strict=True))
    return all(mine[name].tobytes() == theirs[name].tobytes() for mine, theirs in pairs for name in mine)


def alone(name: str) -> dict[str, np.ndarray]:
    """What a station learns from its own readings only, in as many steps."""
    plan = secagg.Plan.load(PLAN)
    steps, rate = plan.task_config()["steps"], plan.task_config()["rate"]
    return station.descend(station.START, station.readings_of(name)[0], plan.run.rounds * steps, rate)


def main() -> None:
    summed, masked = play("bfv"), play("masks")
    print("round  held the key                      asked again after its upload")
    for number, holders in summed.holders.items():
        again, under_masks = len(summed.asked_again[number]), len(masked.asked_again[number])
        print(f"{number:5}  {', '.join(sorted(holders))}   {again} of 6; under masks {under_masks}")
    same = "yes" if same_to_the_bit(summed, masked) else "NO"
    print(f"\nEvery round's model is the one under masks, to the bit: {same}")
    later = [station.readings_of(name)[1] for name in NEW]
    common = np.mean([station.error(summed.models[-1], readings) for readings in later])
    single = np.mean([station.error(alone(name), readings) for name in station.NAMES for readings in later])
    print(
        f"Six hours ahead, at six new stations: {common:.1f} degrees off; by one station's own model "
        f"{single:.1f}"
    )
    print(
        "The limit: the server together with any one who held a round's key could open every update of that "
        "round."
    )


if __name__ == "__main__":
    main()
