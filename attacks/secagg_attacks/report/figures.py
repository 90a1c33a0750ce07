"""Numbers as the page and the commands say them.

A figure is named with its unit: "AUC"; "median PSNR, dB"; "share of ..." from 0 to 1; "epsilon, at least".
"""

from __future__ import annotations

from secagg_attacks.results import ACCOUNTED, CLIENTS, Finding, Row

__all__ = ["accuracy", "clients", "epsilon", "headline", "interval", "level", "levels", "seconds"]

_SHARE = "share "


def headline(of: Finding) -> str:
    """The figure of a cell, with its unit; empty where there is none."""
    value, figure = of.measurement.value, of.measurement.figure
    if value is None:
        return ""
    if figure == "AUC":
        return f"AUC {value:.3f}"
    if figure.endswith("dB"):
        return f"{value:.1f} dB"
    if figure.startswith(_SHARE):
        return f"{100 * value:.0f} % {figure.removeprefix(_SHARE)}"
    return f"ε ≥ {value:.2f}"


def interval(of: Finding) -> str:
    """95 %; of a lower bound, what it is held against."""
    low, high, figure = of.measurement.low, of.measurement.high, of.measurement.figure
    if figure.startswith("epsilon"):
        accounted = of.measurement.more.get(ACCOUNTED)
        return "no account" if accounted is None else f"accounted {accounted:.3g}"
    if low is None or high is None:
        return ""
    if figure.startswith(_SHARE):
        return f"{100 * low:.0f} to {100 * high:.0f} %"
    digits = 3 if figure == "AUC" else 1
    return f"{low:.{digits}f} to {high:.{digits}f}"


def level(value: float | None, of: Finding) -> str:
    """A chance level or a ceiling, in the unit of the figure."""
    if value is None:
        return ""
    if of.measurement.figure.startswith(_SHARE):
        return f"{100 * value:.0f} %"
    return f"{value:.1f} dB" if of.measurement.figure.endswith("dB") else f"{value:.3g}"


def levels(of: Finding) -> str:
    """How many it is of, chance and ceiling, the unit said once; empty where nothing was measured."""
    measurement = of.measurement
    if measurement.chance is None:
        return ""
    ceiling = level(measurement.ceiling, of)
    unit = next((unit for unit in (" dB", " %") if ceiling.endswith(unit)), "")
    chance = level(measurement.chance, of).removesuffix(unit)
    return f"n {measurement.n}, chance {chance}, ceiling {ceiling}"


def clients(of: Finding) -> str:
    """How many are in each sum, where a cell says so."""
    count = of.measurement.more.get(CLIENTS)
    return "" if count is None else f"{count:.0f} clients"


def accuracy(row: Row) -> str:
    if row.accuracy is None or row.low is None or row.high is None:
        return "not run"
    return f"{100 * row.accuracy:.1f} % ({100 * row.low:.1f} to {100 * row.high:.1f})"


def epsilon(row: Row) -> str:
    if row.epsilon is None or row.delta is None:
        return "none: no noise" if row.accuracy is not None else "not run"
    return f"{row.epsilon:.3g} at δ = {row.delta:g}, of one {row.unit}"


def seconds(taken: float) -> str:
    return f"{taken:.1f} s"
