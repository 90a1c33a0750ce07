"""From a run's document to its page: every number on it is one of the document's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from secagg.report.attacks import attacks_section
from secagg.report.charts import Chart, Line, points
from secagg.report.figures import NONE, bound, counted, given, left, or_dash, plain
from secagg.report.pages import Page, Section, Table
from secagg.report.parties import shield_of
from secagg.report.rounds_section import MOST_ROWS, rounds_section
from secagg.report.spending import shown_rounds

__all__ = [
    "accounting_words",
    "audience_lines",
    "audience_name",
    "budget_words",
    "encoding_section",
    "key_words",
    "page_of",
    "trust_table",
    "unit_name",
]

AUDIENCES: Final = ("public", "server", "colluders")
_OPENING: Final = "a client that opens the sum"
"""Whom the column of colluders is about where nobody may collude: it knows its own noise in the sum."""

Document = Mapping[str, Any]


def page_of(document: Document) -> Page:
    """The page of a run's privacy.json."""
    run = document["run"]
    return Page(
        f"Privacy report: {run['name']}",
        tuple(document["claim"]),
        tuple(_sections(document)),
        f"Made by {document['digests']['package']} from the run directory alone. "
        "Anybody who has that directory recomputes every figure with: secagg report RUN --verify",
    )


def unit_name(unit: str) -> str:
    return {"client": "A whole client", "example": "One example"}[unit]


def audience_name(audience: str, cohort: Document) -> str:
    """Against whom an epsilon holds. cohort: the document's."""
    colluding = f"the server with {counted(cohort['colluders'], 'colluding client')}"
    return {
        "public": "the public: sees the models only",
        "server": "the server",
        "colluders": _OPENING if _encrypted(cohort) else colluding,
        "amplified": "the public, if who was drawn stays secret",
    }[audience]


def _encrypted(cohort: Document) -> bool:
    return cohort["protection"] in ("bfv", "ckks")


def audience_lines(entries: Sequence[tuple[float, Document]], cohort: Document) -> tuple[Line, ...]:
    """A chart's line for each audience against whom something is proven: (across, epsilons) in order."""
    names = {
        "public": "the public",
        "server": "the server",
        "colluders": _OPENING if _encrypted(cohort) else f"server with {cohort['colluders']} colluding",
        "amplified": "the public, if draws stay secret",
    }
    lines = {audience: points((x, epsilons[audience]) for x, epsilons in entries) for audience in names}
    if lines["amplified"] == lines["public"]:
        del lines["amplified"]
    return tuple(Line(names[audience], drawn) for audience, drawn in lines.items() if drawn)


def _sections(document: Document) -> Iterator[Section]:
    yield _trust(document)
    for unit in document["units"]:
        yield _course(document, unit)
    yield rounds_section(document)
    yield from (_noise(unit, document["encoding"]["adaptive"]) for unit in document["units"])
    yield encoding_section(document)
    yield Section(
        "Who learned what",
        tables=(
            Table(
                "What each party saw, and what was hidden from it",
                ("party", "saw", "hidden from it"),
                tuple((seen["party"], seen["sees"], seen["hidden"]) for seen in document["learns"]),
                prose=True,
            ),
        ),
    )
    if document["covered"]:
        yield Section("What the account covers", items=tuple(document["covered"]))
    yield Section("What it does not cover", items=tuple(document["not_covered"]))
    yield Section("Limits", items=tuple(document["limits"]) or ("None beside those above.",))
    yield attacks_section(document["attacks"], document["digests"]["attacks"])
    yield _recompute(document)


def _trust(document: Document) -> Section:
    cohort = document["cohort"]
    if not document["units"]:
        return Section(
            "Against whom",
            (
                "There is no epsilon to report. Without differential privacy, what a sum gives away depends "
                "on the model, on the data and on who else is in the sum, and nothing bounds it.",
            ),
        )
    return Section(
        "Against whom",
        (
            "Epsilon bounds how much one unit's data can change what is seen: the smaller, the less can be "
            f'told. "{NONE}" means that nothing is proven against that party.',
        ),
        tables=(trust_table(document["units"], cohort),),
        items=tuple(_remarks(document)),
    )


def trust_table(units: Sequence[Document], cohort: Document) -> Table:
    """Epsilon of every unit against every party, side by side."""
    amplified = any(unit["epsilon"]["amplified"] is not None for unit in units)
    audiences = (*AUDIENCES, "amplified") if amplified else AUDIENCES
    return Table(
        "Epsilon, an upper bound rounded up",
        ("what is protected", "delta", *(audience_name(audience, cohort) for audience in audiences)),
        tuple(
            (
                unit_name(unit["unit"]),
                plain(unit["delta"]),
                *(
                    NONE if (entry := unit["epsilon"][audience]) is None else entry["says"]
                    for audience in audiences
                ),
            )
            for unit in units
        ),
        prose=True,
    )


def accounting_words(unit: Document) -> Iterator[str]:
    """Adjacency, accountant and concentrated differential privacy of a unit."""
    name, adjacency = unit_name(unit["unit"]), unit["adjacency"]
    yield f"{name}: adjacency is {adjacency['name']}, {adjacency['meaning']}."
    entries = [unit["epsilon"][audience] for audience in AUDIENCES]
    proven = [entry for entry in entries if entry["epsilon"] is not None]
    for accountant in sorted({entry["accountant"] for entry in proven} - {"exact target"}):
        version = proven[0]["version"]
        yield f"{name}: accounted by {accountant}, with {version}; an upper bound, no approximation."
    if proven and all(entry["rho"] is not None for entry in proven):
        rhos = ", ".join(NONE if entry["rho"] is None else plain(entry["rho"]) for entry in entries)
        yield f"{name}: rho, of concentrated differential privacy, in the same order: {rhos}."


def _remarks(document: Document) -> Iterator[str]:
    for unit in document["units"]:
        name = unit_name(unit["unit"])
        yield from accounting_words(unit)
        if unit.get("asserted"):
            yield (
                f"{name}: epsilon is the target that each client's own software was given. That it was kept "
                "to is asserted by each client, in a ledger of its own."
            )
        if unit["budget"] is not None:
            yield f"{name}: {budget_words(unit['budget'], document['cohort'])}"
    run = document["run"]
    shares = document["encoding"]["wrap"] != "impossible"  # clients add the noise
    if shares and run["simulated"] and not run["protected"]:
        shield = shield_of(document["cohort"]["protection"])
        yield (
            f"This simulation left out the {shield.noun} that the plan asks for: epsilon against the server "
            f"is that of the same run with {shield.pronoun}."
        )
    yield from key_words(document)
    sampling = document["sampling"]
    yield f"Sampling asserted: {sampling['asserted']}. Enforced: {sampling['enforced']}."


def key_words(document: Document) -> Iterator[str]:
    """Whom no epsilon of a homomorphic sum holds against, where clients' noise is in it."""
    cohort = document["cohort"]
    if not _encrypted(cohort) or document["encoding"]["wrap"] == "impossible":
        return
    alone = "a client that holds the key and opens more than the sum, nor against " * cohort["recompute"]
    yield (
        f"No epsilon of this table holds against {alone}the server together with any client: its columns "
        "count on no client that helps it."
    )


def budget_words(budget: Document, cohort: Document) -> str:
    """What a plan's epsilon is, and what is left of it."""
    helped = f"the server and {_OPENING if _encrypted(cohort) else 'those who collude with it'}"
    against = {"public": "the public", "colluders": helped}
    whole = f"the plan's epsilon is {given(budget['epsilon'])} against {against[budget['audience']]}"
    if not budget["ends_the_run"]:
        return f"{whole}, and noise is calibrated so that all rounds keep to it."
    return f"{whole}; {left(budget['left'])} of it is left, and a round that costs more does not begin."


def _course(document: Document, unit: Document) -> Section:
    cohort, totals = document["cohort"], unit["after_round"]
    audiences = [
        audience
        for audience in (*AUDIENCES, "amplified")
        if any(total[audience] is not None for total in totals)
    ]
    name = unit_name(unit["unit"])
    if not totals:
        return Section(f"Epsilon over the rounds: {name.lower()}", ("No sum was opened.",))
    if all({**total, "round": 0} == {**totals[0], "round": 0} for total in totals) and unit["asserted"]:
        whole = (
            f"Epsilon is {bound(totals[0]['public'])} from the first round on: a target for the whole run."
        )
        return Section(f"Epsilon over the rounds: {name.lower()}", (whole,))
    lines = audience_lines([(total["round"], total) for total in totals], cohort)
    budget = unit["budget"]
    kept = shown_rounds([total["round"] for total in totals], MOST_ROWS)
    table = Table(
        "Spent once the round's sum was open",
        ("round", *(audience_name(audience, cohort) for audience in audiences)),
        tuple(
            (str(total["round"]), *(bound(total[audience]) for audience in audiences))
            for total in totals
            if total["round"] in kept
        ),
    )
    chart = Chart(
        f"epsilon-{unit['unit']}",
        f"Epsilon spent, by round: {name.lower()}",
        "round",
        "epsilon",
        lines,
        level=None if budget is None else ("the plan's epsilon", budget["epsilon"]),
        whole=True,
        bounds=True,
    )
    return Section(
        f"Epsilon over the rounds: {name.lower()}", tables=(table,), charts=(chart,) if lines else ()
    )


def _noise(unit: Document, adaptive: bool) -> Section:
    name = unit_name(unit["unit"]).lower()
    sensitivity = unit["sensitivity"]
    words = []
    if sensitivity["norm"] is not None:
        of_clients = adaptive and unit["unit"] == "client"
        most = "the clip norm of the round" if of_clients else plain(sensitivity["norm"])
        steps = sensitivity["l2_steps"]
        rounded = "" if steps is None else f", which is {plain(steps)} steps once it is rounded"
        words.append(f"Sensitivity: the L2 norm of {sensitivity['of']}, at most {most}{rounded}.")
    return Section(
        f"Noise: {name}",
        tuple(words),
        tables=(
            Table(
                "Every use of a mechanism, as the ledger has it, equal ones together",
                (
                    "query",
                    "mechanism",
                    "added by",
                    "honest noise counted",
                    "standard deviation in the sum, steps",
                    "over the L2 sensitivity",
                    "rounds",
                ),
                tuple(_mechanism_row(used) for used in unit["mechanisms"]),
            ),
        )
        if unit["mechanisms"]
        else (),
    )


def _mechanism_row(used: Document) -> tuple[str, ...]:
    mechanism = used["mechanism"]
    by = {"distributed": "each client", "central": "the server", "client": "each client, in training"}
    return (
        used["query"],
        mechanism["name"],
        by[used["placement"]],
        f"of {counted(mechanism['contributors'], 'client')}" if "contributors" in mechanism else "–",
        or_dash(used["noise_steps"]),
        or_dash(used["noise_multiplier"]),
        used["rounds"],
    )


def encoding_section(document: Document) -> Section:
    """The ring, and how an update becomes one of its vectors."""
    encoding = document["encoding"]
    rows = [
        ("parameters of the model", str(encoding["parameters"])),
        ("ring", f"{encoding['ring_bits']} bits, {encoding['coordinates']} coordinates"),
        ("a vector", f"{encoding['vector_bytes']} bytes"),
        ("clip norm (L2, whole update)", plain(encoding["clip_norm"]) + " at first" * encoding["adaptive"]),
        ("rounding step", plain(encoding["step"])),
        ("rounding", encoding["rounding"]),
        ("rotated before rounding", "yes" if encoding["rotated"] else "no"),
        ("a sum wraps", encoding["wrap"]),
        ("clients are weighted", encoding["weighting"]),
    ]
    if encoding["steps_per_clip_norm"] is not None:
        rows.insert(4, ("steps per clip norm", plain(encoding["steps_per_clip_norm"])))
    return Section(
        "Ring, scale and rounding",
        tables=(Table("How an update is encoded", ("what", "value"), tuple(rows), prose=True),),
    )


def _recompute(document: Document) -> Section:
    digests, run = document["digests"], document["run"]
    ledger = "SHA-256 of the ledger's rows" + (
        ", names and numbers of clients left out" if digests["ledger_without_rosters"] else ""
    )
    rows = [
        ("run", f"{run['id']}, begun {run['created']}, finished {run['finished'] or 'not yet'}"),
        ("plan's digest", digests["plan"]),
        (ledger, digests["ledger"]),
        ("SHA-256 of metrics.jsonl", digests["metrics"] or "left out: it holds the numbers of clients"),
        *([("SHA-256 of attacks.json", digests["attacks"])] if digests["attacks"] is not None else []),
        ("SHA-256 of the code", digests["code"]),
        ("version", digests["package"]),
    ]
    return Section(
        "To recompute it",
        tables=(Table("What this report is tied to", ("what", "value"), tuple(rows), prose=True),),
    )
