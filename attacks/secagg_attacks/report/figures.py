"""Numbers as the page says them."""

from __future__ import annotations

from secagg_attacks.results import Finding, Row

__all__ = ["accuracy", "epsilon", "headline", "interval", "level", "seconds"]


def headline(of: Finding) -> str:
    """The figure of a cell, with its unit; empty where there is none."""
    value = of.measurement.value
    if value is None:
        return ""
    if of.measurement.figure == "AUC":
        return f"AUC {value:.3f}"
    if of.measurement.figure.endswith("dB"):
        return f"{value:.1f} dB"
    return f"ε ≥ {value:.2f}"


def interval(of: Finding) -> str:
    """95 %; of a lower bound, what it is held against."""
    low, high = of.measurement.low, of.measurement.high
    if of.measurement.figure.startswith("epsilon"):
        return "no account" if high is None else f"accounted {high:.3g}"
    if low is None or high is None:
        return ""
    digits = 3 if of.measurement.figure == "AUC" else 1
    return f"{low:.{digits}f} to {high:.{digits}f}"


def level(value: float | None, of: Finding) -> str:
    """A chance level or a ceiling, in the unit of the figure."""
    if value is None:
        return ""
    return f"{value:.1f} dB" if of.measurement.figure.endswith("dB") else f"{value:.3g}"


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
