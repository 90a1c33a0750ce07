"""Whether a run's report is what its ledger, its plan and its metrics say: everything recomputed.

Four comparisons, none of which trusts another's side: the ledger's rows with those that the plan asks for,
the lines of metrics.jsonl with the ledger's, the ledger's rounds with what models and log tell of them
(`traces`), and privacy.json and report.html with what this code makes of all that.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secagg.encoding.codec import Codec
from secagg.errors import EncodingError, PlanError, PrivacyError, RunError
from secagg.plan_settings import uses_of
from secagg.report.attack_record import ATTACKS
from secagg.report.attacks import BeatenAccountError, beaten
from secagg.report.comparison import EXACT, against, claimed_in, differences, of_page
from secagg.report.document import codec_for, document
from secagg.report.figures import counted, ranges
from secagg.report.finding import Finding
from secagg.report.key_holders import misplaced_keys, unlogged
from secagg.report.record import Attempt, Row, RunRecord, read
from secagg.report.sequence import out_of_sequence
from secagg.report.traces import missing_rounds, traces_in
from secagg.report.untrusted import parsed

__all__ = ["Verdict", "verify"]


@dataclass(frozen=True)
class Verdict:
    """findings: empty if all is as claimed. checked: what was compared. remarks: said, and no fault.

    beaten: why the account cannot be trusted although it is what is claimed: a measurement is above it.
    """

    findings: tuple[Finding, ...]
    checked: tuple[str, ...]
    remarks: tuple[str, ...]
    beaten: BeatenAccountError | None = None


def verify(path: str | Path) -> Verdict:
    """Recomputes the report of the run directory `path`.

    Raises RunError `run-missing` or `run-damaged` where there is nothing to recompute from.
    """
    path = Path(path)
    findings: list[Finding] = []
    try:
        traces = traces_in(path) if (path / "run.json").is_file() else None
        record = read(path)
        findings += [*_of_ledger(record), *_of_metrics(record)]
        findings += missing_rounds(record, traces) if traces is not None else ()
        findings += [*out_of_sequence(record), *misplaced_keys(record)]
        recomputed = document(record)
    except PlanError as error:
        return Verdict((Finding("plan.toml", error.message),), (), ())
    except RunError as error:
        if error.code != "run-other-plan":
            raise
        return Verdict((Finding("plan.toml", error.message),), (), ())
    except PrivacyError as error:
        return Verdict((*findings, Finding("ledger.sqlite", error.message)), (), ())
    except EncodingError as error:
        return Verdict((*findings, Finding("checkpoints", error.message)), (), ())
    checked = [
        f"plan.toml is the plan that the run began with, {record.plan.digest.hex()[:16]}...",
        f"{counted(len(record.attempts), 'attempt')} and {counted(len(record.rows), 'use')} in the ledger "
        "are those of this plan",
        f"metrics.jsonl has the ledger's records, {counted(len(record.closed), 'line')}",
        "no model and no line of log.jsonl tells of a round that the ledger has not",
    ]
    remarks: list[str] = []
    if record.encrypted:
        checked.append(
            f"log.jsonl names the key holders of {counted(len(record.keys), 'attempt')}, each of them of its "
            "cohort"
        )
        if missing := ranges(unlogged(record)):
            remarks.append(
                f"log.jsonl does not say who held the key in round {missing}, whose sum was opened"
            )
    if recomputed["attacks"] is not None:
        if recomputed["attacks"]["of_this_plan"]:
            checked.append(f"{ATTACKS} is of this plan, and the report is tied to its digest")
        else:
            findings.append(Finding(ATTACKS, f"is of another plan, {recomputed['attacks']['plan']}"))
    claimed = claimed_in(path)
    if isinstance(claimed, Finding):
        findings.append(claimed)
    else:
        other, grave = against(claimed, recomputed)
        findings += grave
        checked.append("every value of privacy.json, epsilon recomputed from the ledger's rows")
        if other:
            remarks.append(
                "privacy.json was written by other code than this; with this code, "
                + ("it comes out the same" if not grave else "it comes out otherwise")
            )
        page = of_page(path, claimed, other)
        if page is None:
            checked.append("report.html shows what privacy.json says")
        elif isinstance(page, Finding):
            findings.append(page)
        else:
            remarks.append(page)
    return Verdict(tuple(findings), tuple(checked), tuple(remarks), beaten(recomputed))


# -- the ledger ---------------------------------------------------------------------------------------


def _of_ledger(record: RunRecord) -> Iterator[Finding]:
    opened: set[int] = set()
    rows: dict[tuple[int, int], list[Row]] = {_key(attempt): [] for attempt in record.attempts}
    for row in record.rows:
        rows.setdefault((row.use.round, row.use.attempt), []).append(row)
    codec = codec_for(record)
    for attempt in record.attempts:
        where = f"ledger.sqlite, round {attempt.round}, attempt {attempt.attempt}"
        if attempt.state == "opened":
            if attempt.round in opened:
                yield Finding(where, "a second sum of this round was opened")
            opened.add(attempt.round)
        yield from _of_roster(record, attempt, where)
        yield from _of_uses(record, codec, attempt, rows.pop(_key(attempt)), where)
    for (round, number), orphans in rows.items():
        yield Finding(
            f"ledger.sqlite, round {round}, attempt {number}",
            f"a use of '{orphans[0].use.query}' belongs to no attempt",
        )
    yield from _of_norms(record)


def _key(attempt: Attempt) -> tuple[int, int]:
    return attempt.round, attempt.attempt


def _of_roster(record: RunRecord, attempt: Attempt, where: str) -> Iterator[Finding]:
    least = record.plan.cohort.min_survivors
    if len(set(attempt.cohort)) < len(attempt.cohort):
        yield Finding(where, "a client is in the cohort twice")
    if attempt.survivors is None:
        if attempt.state == "opened":
            yield Finding(where, "was opened, and nobody is in the sum")
        return
    if set(attempt.survivors) - set(attempt.cohort):
        yield Finding(where, "somebody is in the sum who was not in the cohort")
    if len(set(attempt.survivors)) < least:
        there = counted(len(set(attempt.survivors)), "client")
        yield Finding(where, f"{there} in the sum, and the plan asks for {least}")


def _of_uses(
    record: RunRecord, codec: Codec, attempt: Attempt, rows: Sequence[Row], where: str
) -> Iterator[Finding]:
    """The rows that are there are those that the plan asks for, noise and all."""
    expected = {}
    if record.plan.privacy.unit != "none":
        uses = uses_of(record.plan, codec, *_key(attempt))
        expected = {(use.unit, use.query): use for use in uses}
    found = {(row.use.unit, row.use.query): row.use for row in rows}
    for unit, query in sorted(expected.keys() | found.keys()):
        wanted, there = expected.get((unit, query)), found.get((unit, query))
        if wanted is None or there is None:
            fault = "is missing" if there is None else "is not of this plan"
            yield Finding(where, f"the use '{query}' {fault}")
            continue
        pairs = {"mechanism": (there.mechanism.as_json(), wanted.mechanism.as_json())} | {
            name: (getattr(there, name), getattr(wanted, name)) for name in ("placement", "minimum")
        }
        if not _least_rate(record, unit) * (1 - EXACT) <= there.sampling_rate <= 1:
            yield Finding(f"{where}, '{query}'", "its sampling rate is below what the plan can mean")
        for name, (left, right) in pairs.items():
            for one in differences(name, left, right):
                yield Finding(f"{where}, '{query}'", f"{one.where} {one.what}")


def _least_rate(record: RunRecord, unit: str) -> float:
    """What the chance to be in an opened round comes down to, the more clients there are to draw from."""
    cohort = record.plan.cohort
    drawn = unit == "client" and cohort.sampling == "poisson"
    return cohort.rate if drawn and cohort.rate is not None else 1.0


def _of_norms(record: RunRecord) -> Iterator[Finding]:
    """The clip norm is the plan's, or follows from one round to the next as adaptive clipping lets it."""
    adaptive = record.plan.privacy.adaptive_clipping
    norm = record.plan.encoding.clip_norm
    unclipped = {
        int(closed["round"]): closed["metrics"]["unclipped"]
        for closed in record.closed
        if "unclipped" in (closed.get("metrics") or {})
    }
    allowed = [norm]
    last = 0
    for row in record.spent:
        if row.use.round > last and adaptive is not None and last in unclipped:
            moved = norm * _factor(-adaptive.rate * (unclipped[last] - adaptive.quantile))
            allowed = [moved] if _moved(record, last) else [norm, moved]
        last = row.use.round
        if not any(math.isclose(row.clip_norm, one, rel_tol=EXACT) for one in allowed):
            yield Finding(
                f"ledger.sqlite, round {row.use.round}, '{row.use.query}'",
                f"the clip norm is {row.clip_norm:g}, and {allowed[0]:g} follows from what came before",
            )
        norm = row.clip_norm
        allowed = [norm]


def _factor(exponent: float) -> float:
    try:
        return math.exp(exponent)
    except OverflowError:
        return math.inf


def _moved(record: RunRecord, round: int) -> bool:
    """Whether the round's norm was kept with its model; else a restart goes back to the one before."""
    return any(closed["round"] == round and closed["outcome"] == "aggregated" for closed in record.closed)


# -- metrics ------------------------------------------------------------------------------------------


def _of_metrics(record: RunRecord) -> Iterator[Finding]:
    lines = record.metrics.decode("utf-8", "replace").splitlines()
    for number, closed in enumerate(record.closed, 1):
        line = lines[number - 1] if number <= len(lines) else None
        if line is None or not _same_record(line, closed):
            state = "is missing" if line is None else "is not the ledger's record"
            yield Finding(f"metrics.jsonl, line {number}", f"round {closed.get('round')} {state}")
    if len(lines) > len(record.closed):
        more = counted(len(lines) - len(record.closed), "line")
        yield Finding("metrics.jsonl", f"has {more} more than the ledger has rounds")
    for closed in record.closed:
        yield from _of_outcome(record, closed)
    numbers = {int(closed["round"]) for closed in record.closed}
    if record.about.finished is not None:
        for left in sorted(set(record.opened) - numbers):
            yield Finding("ledger.sqlite", f"round {left} was opened and never closed, and the run is over")


def _of_outcome(record: RunRecord, closed: Mapping[str, Any]) -> Iterator[Finding]:
    where = f"ledger.sqlite, round {closed['round']}"
    opened = record.opened.get(int(closed["round"]))
    if closed["outcome"] != "failed" and opened is None:
        yield Finding(where, f"ended '{closed['outcome']}', and no attempt of it was opened")
        return
    if closed["outcome"] != "aggregated" or opened is None or opened.survivors is None:
        return
    in_sum, metrics = len(opened.survivors), closed.get("metrics") or {}
    survivors = metrics.get("survivors", in_sum)
    if survivors > in_sum or (survivors < in_sum and record.protected):
        yield Finding(where, f"{counted(in_sum, 'client')} in the sum, and its record says {survivors}")
    norms = {row.clip_norm for row in record.spent if row.use.round == closed["round"]}
    if "clip_norm" in metrics and metrics["clip_norm"] not in norms:
        yield Finding(where, f"its record says a clip norm of {metrics['clip_norm']:g}, which no use has")


def _same_record(line: str, closed: Mapping[str, Any]) -> bool:
    """Type for type: in Python, 1, 1.0 and true are equal."""
    try:
        return json.dumps(parsed(line), sort_keys=True) == json.dumps(closed, sort_keys=True)
    except ValueError:
        return False
