"""One weather station of six: its readings, and a small model of the temperature six hours on.

The readings are made here and stand for a station's own: hourly temperatures of two weeks, with a day's
course, weather that comes and goes, and a site of its own. `secagg client station:train` trains on those of
the station that the environment variable STATION names.

python station.py FILE     writes the model that the run begins with
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

import secagg

NAMES = tuple(f"station-{number}" for number in range(1, 7))
PAST, AHEAD = 24, 6  # hours that the model sees, and how far ahead it looks
DAYS, LATER_DAYS = 14, 30  # of readings to train on, and of those that come after
START = {"weights": np.zeros(PAST), "bias": np.zeros(1)}


@dataclass(frozen=True)
class Readings:
    """past: (n, 24) temperatures in units of 10 degrees about 10. ahead: (n,) what it was six hours later."""

    past: np.ndarray
    ahead: np.ndarray

    @classmethod
    def of(cls, temperatures: np.ndarray) -> Readings:
        scaled = (temperatures - 10) / 10
        windows = np.lib.stride_tricks.sliding_window_view(scaled, PAST + AHEAD)
        return cls(windows[:, :PAST], windows[:, -1])


def readings_of(name: str) -> tuple[Readings, Readings]:
    """This station's own, to train on; and what it will measure later, to see what the model is worth."""
    own = np.random.default_rng(list(name.encode()))
    site, course = own.normal(10, 3), own.uniform(3, 7)
    hours = np.arange(24 * (DAYS + LATER_DAYS))
    weather = np.zeros(len(hours))
    for hour in hours[1:]:
        weather[hour] = 0.97 * weather[hour - 1] + own.normal(0, 0.6)
    sun = course * np.sin(2 * np.pi * (hours - 9) / 24)
    temperatures = site + sun + weather + own.normal(0, 0.3, size=len(hours))
    return Readings.of(temperatures[: 24 * DAYS]), Readings.of(temperatures[24 * DAYS :])


def error(weights: dict[str, np.ndarray], readings: Readings) -> float:
    """How far off the forecast is, in degrees (root mean square)."""
    forecast = readings.past @ weights["weights"] + weights["bias"]
    return float(10 * np.sqrt(np.mean((forecast - readings.ahead) ** 2)))


def descend(
    weights: dict[str, np.ndarray], readings: Readings, steps: int, rate: float
) -> dict[str, np.ndarray]:
    """Gradient descent on the squared error."""
    slope, bias = weights["weights"].astype(np.float64), weights["bias"].astype(np.float64)
    for _ in range(steps):
        off = readings.past @ slope + bias - readings.ahead
        slope = slope - rate * readings.past.T @ off / len(off)
        bias = bias - rate * off.mean()
    return {"weights": slope, "bias": bias}


def trainer(readings: Readings) -> Callable[[secagg.Task], secagg.Update]:
    def train(task: secagg.Task) -> secagg.Update:
        new = descend(task.weights, readings, task.config["steps"], task.config["rate"])
        return secagg.Update(new, metrics={"error": error(task.weights, readings)})

    return train


def train(task: secagg.Task) -> secagg.Update:
    own, _ = readings_of(os.environ["STATION"])
    return trainer(own)(task)


if __name__ == "__main__":
    first = Path(sys.argv[1])
    first.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: array.astype(np.float32) for name, array in START.items()}, first)
