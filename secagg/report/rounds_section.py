"""The rounds of a run as a section of its page: how each ended, and who held keys in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from secagg.report.charts import Chart, Line, points
from secagg.report.figures import counted, or_dash
from secagg.report.pages import Section, Table
from secagg.report.spending import shown_rounds

__all__ = ["MOST_ROWS", "rounds_section"]

MOST_ROWS: Final = 120
"""Of a table with a row for each round; of longer runs, rounds evenly spread."""

Document = Mapping[str, Any]


def rounds_section(document: Document) -> Section:
    """How each round ended, and who held the keys where sums were homomorphic."""
    rounds, run = document["rounds"], document["run"]
    words = [
        f"{run['rounds_opened']} of {counted(run['rounds_planned'], 'planned round')} opened a sum; the run "
        f"ended: {run['ended']}. A sum over fewer than {rounds['minimum']} clients is never opened."
    ]
    if rounds["counts_private"]:
        words.append(f"How many clients were in each round is left out: {rounds['why']}.")
    entries = rounds["list"]
    words += [
        explained for key, explained in _EXPLAINED.items() if any(entry[key] is not None for entry in entries)
    ]
    adaptive = document["encoding"]["adaptive"]
    head, rows = _round_rows(document)
    charts = []
    survivors = points((entry["round"], entry["survivors"]) for entry in entries)
    if survivors:
        charts.append(
            Chart(
                "survivors",
                "Clients in each sum",
                "round",
                "clients in the sum",
                (Line("clients in the sum", survivors),),
                level=("the fewest a sum may hold", rounds["minimum"]),
                whole=True,
            )
        )
    norms = points((entry["round"], entry["clip_norm"]) for entry in entries)
    if adaptive and norms:
        charts.append(
            Chart(
                "clip-norm",
                "Clip norm, by round",
                "round",
                "L2 norm",
                (Line("clip norm", norms),),
                whole=True,
            )
        )
    tables = (Table("How each round ended", head, rows),) if rows else ()
    words += _words_on_keys(document)
    return Section(
        "Round by round", tuple(words), tables=(*tables, *_key_tables(document)), charts=tuple(charts)
    )


def _words_on_keys(document: Document) -> Iterator[str]:
    keys = document["key_holders"]
    if keys is None:
        return
    can = (
        "each of them could open every update of that attempt, alone"
        if document["cohort"]["recompute"]
        else "with the server, each of them could open every update of that attempt"
    )
    yield f"In each attempt up to {keys['at_most']} clients held the key, the first of whom made it: {can}."
    if keys["private"]:
        yield f"Who held keys is left out: {document['rounds']['why']}."
    if keys["unlogged"]:
        yield f"The log does not say who held the key in round {keys['unlogged']}."


def _key_tables(document: Document) -> Iterator[Table]:
    keys, entries = document["key_holders"], document["rounds"]["list"]
    if keys is None or not keys["list"]:
        return
    kept = shown_rounds([entry["round"] for entry in entries], MOST_ROWS)
    yield Table(
        "Who held the key, its maker first",
        ("round", "attempt", "clients"),
        tuple(
            (str(entry["round"]), str(held["attempt"]), ", ".join(held["clients"]))
            for entry in entries
            if entry["round"] in kept
            for held in entry["key_holders"] or ()
        ),
        prose=True,
    )
    yield Table(
        "How often each client held a key",
        ("client", "attempts", "in rounds"),
        tuple((held["client"], str(held["attempts"]), held["rounds"]) for held in keys["list"]),
        prose=True,
    )


_EXPLAINED: Final = {
    "cohort": "Trained: the clients whose updates were ready; in sum: those of them that the sum holds.",
    "noise": "Noise: its standard deviation on a coordinate of the sum, at the least, in the weights' unit.",
    "unclipped": "Unclipped: the share of clients that were not clipped, as the noisy count has it.",
}
"""What the short heads of the table of rounds mean."""


def _round_rows(document: Document) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    rounds = document["rounds"]
    columns: list[tuple[str, str, Callable[[Any], str]]] = [
        ("outcome", "outcome", str),
        ("opened", "opened", lambda opened: "yes" if opened else "no"),
    ]
    if not rounds["counts_private"]:
        columns += [("cohort", "trained", or_dash), ("survivors", "in sum", or_dash)]
    for key, head in (
        ("clip_norm", "clip norm"),
        ("noise", "noise"),
        ("unclipped", "unclipped"),
    ):
        if any(entry[key] is not None for entry in rounds["list"]):
            columns.append((key, head, or_dash))
    kept = shown_rounds([entry["round"] for entry in rounds["list"]], MOST_ROWS)
    return ("round", *(head for _, head, _ in columns)), tuple(
        (str(entry["round"]), *(form(entry[key]) for key, _, form in columns))
        for entry in rounds["list"]
        if entry["round"] in kept
    )
