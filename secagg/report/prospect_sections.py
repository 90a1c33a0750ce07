"""From a plan's prospect to its page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from secagg.report.charts import Chart
from secagg.report.figures import NONE, counted, given, plain
from secagg.report.pages import Page, Section, Table
from secagg.report.sections import (
    accounting_words,
    audience_lines,
    audience_name,
    budget_words,
    encoding_section,
    key_words,
    trust_table,
    unit_name,
)

__all__ = ["alternative_words", "early_end", "prospect_page"]

Document = Mapping[str, Any]


def prospect_page(document: Document) -> Page:
    """The page of what a plan would cost."""
    plan = document["plan"]
    return Page(
        f"What the plan {plan['name']} would cost",
        tuple(document["claim"]),
        tuple(_sections(document)),
        f"Computed by {document['digests']['package']} from the plan {document['digests']['plan']} and the "
        "size of its model. Nothing was run.",
    )


def _sections(document: Document) -> Iterator[Section]:
    plan = document["plan"]
    if document["units"]:
        yield Section(
            f"After {counted(plan['rounds_affordable'], 'round')}, against whom",
            (f'"{NONE}" means that nothing is proven against that party.',),
            items=tuple(_remarks(document)),
            tables=(trust_table(document["units"], document["cohort"]),),
        )
    else:
        yield Section(
            "Against whom",
            (
                "There is no epsilon: the plan asks for no differential privacy. In its table [privacy], "
                'unit = "client" protects whole clients, and unit = "example" single examples.',
            ),
        )
    if document["noise"] is not None:
        yield _noise(document)
        yield _choices(document)
    yield encoding_section(document)
    yield Section(
        "Who would learn what",
        tables=(
            Table(
                "What each party would see, and what stays hidden from it",
                ("party", "sees", "hidden from it"),
                tuple((seen["party"], seen["sees"], seen["hidden"]) for seen in document["learns"]),
                prose=True,
            ),
        ),
    )
    if document["covered"]:
        yield Section("What the account covers", items=tuple(document["covered"]))
    yield Section("What it does not cover", items=tuple(document["not_covered"]))
    yield Section("Limits", items=tuple(document["limits"]))


def _remarks(document: Document) -> Iterator[str]:
    for unit in document["units"]:
        name = unit_name(unit["unit"])
        yield from accounting_words(unit)
        if unit["unit"] == "example":
            yield (
                f"{name}: epsilon is the target for each client's own training, over the whole run. Each "
                "client calibrates its noise to it by itself, for its own amount of data."
            )
        if unit["budget"] is not None:
            yield f"{name}: {budget_words(unit['budget'], document['cohort'])}"
    yield from key_words(document)
    yield from early_end(document["plan"])


def early_end(plan: Document) -> Iterator[str]:
    """That the plan's epsilon ends the run before its last round, where it does."""
    begun, rounds = plan["rounds_affordable"], plan["rounds"]
    if 0 < begun < rounds:
        yield (
            f"The plan's epsilon lets {begun} of its {rounds} rounds begin; the run would end there, with "
            "its model kept."
        )


def _noise(document: Document) -> Section:
    noise, encoding = document["noise"], document["encoding"]
    central = noise["per_client"] == 0
    rows = [
        (
            "noise multiplier" + (", calibrated" if noise["calibrated"] else ""),
            f"{_norms(noise['noise_multiplier'])}, in the sum",
        ),
        (
            "added by each client" if not central else "added by the server",
            _of_weights(noise["in_the_sum"] if central else noise["per_client"]),
        ),
        ("in the sum, at the least", _of_weights(noise["in_the_sum"])),
        (
            "a client sends",
            f"{encoding['vector_bytes']} bytes a round, {encoding['ring_bits']} bits a coordinate",
        ),
    ]
    if noise["in_the_mean"] is not None:
        rows.insert(-1, ("in the mean of as many clients as are expected", _of_weights(noise["in_the_mean"])))
    if noise["update_noise_multiplier"] != noise["noise_multiplier"]:
        rows.insert(
            1,
            (
                "of it for the update, the count apart",
                _norms(noise["update_noise_multiplier"]),
            ),
        )
    if not central:
        rows.insert(1, ("honest clients whose noise is counted", str(noise["honest_contributors"])))
    return Section(
        "Noise",
        tables=(
            Table(
                "Standard deviation of the noise of a coordinate", ("what", "value"), tuple(rows), prose=True
            ),
        ),
    )


def _norms(multiplier: float) -> str:
    return "1 clip norm" if multiplier == 1 else f"{plain(multiplier)} clip norms"


def _of_weights(deviation: float) -> str:
    return f"{plain(deviation)}, in the unit of the weights"


def _choices(document: Document) -> Section:
    plan, cohort, noise = document["plan"], document["cohort"], document["noise"]
    audience = next(iter(document["alternatives"]))["audience"]
    against = audience_name(audience, cohort)
    charts = [
        chart
        for chart in (
            _chart(
                document,
                "rounds",
                "Epsilon against rounds",
                "rounds",
                [(entry["rounds"], entry) for entry in document["against_rounds"]],
                plan["rounds"],
                whole=True,
            ),
            _chart(
                document,
                "noise",
                "Epsilon against noise multiplier",
                "noise multiplier",
                [(entry["noise_multiplier"], entry) for entry in document["against_noise"]],
                noise["noise_multiplier"],
                logarithmic=True,
            ),
            _chart(
                document,
                "cohort",
                "Epsilon against clients in a round, at an equal noise of the mean",
                "clients in a round",
                [(entry["max_clients"], entry) for entry in document["against_cohort"]],
                cohort["max_clients"],
                logarithmic=True,
            ),
        )
        if chart is not None
    ]
    table = Table(
        f"For {counted(plan['rounds'], 'round')}: the noise multiplier that an epsilon takes, against "
        f"{against}",
        ("epsilon", "noise multiplier", "the plan's epsilon"),
        tuple(
            (
                given(row["epsilon"]),
                alternative_words(row),
                "yes" if row["planned"] else "–",
            )
            for row in document["alternatives"]
        ),
    )
    return Section(
        "To choose by",
        (
            "Other plans, of which one thing differs. With more clients, at the same noise multiplier, "
            "epsilon stays and the mean gets better; the third chart keeps the mean as noisy as it is "
            "instead, and the share of min_survivors in max_clients as well.",
        ),
        tables=(table,),
        charts=tuple(charts),
    )


def alternative_words(row: Document) -> str:
    """The noise multiplier that an epsilon takes, or why there is none."""
    return str(row["why"]) if row["noise_multiplier"] is None else plain(row["noise_multiplier"])


def _chart(
    document: Document,
    name: str,
    title: str,
    across: str,
    entries: Sequence[tuple[float, Document]],
    own: float,
    *,
    whole: bool = False,
    logarithmic: bool = False,
) -> Chart | None:
    lines = audience_lines(entries, document["cohort"])
    marks = tuple(
        (x, entry[audience])
        for audience in ("public", "server", "colluders")
        for x, entry in entries
        if abs(x - own) <= 1e-9 * own and entry[audience] is not None
    )
    if not lines:
        return None
    budget = next((unit["budget"] for unit in document["units"] if unit["unit"] == "client"), None)
    return Chart(
        name,
        title,
        across,
        "epsilon",
        lines,
        level=None if budget is None else ("the plan's epsilon", budget["epsilon"]),
        marks=marks,
        mark_label="this plan",
        whole=whole,
        logarithmic=logarithmic,
        bounds=True,
    )
