"""What a run does, validated whole: `plan.toml` as one immutable value.

A plan is the one document that the server, every client and an auditor share. It is read strictly: unknown
keys, wrong types, numbers that are not finite and contradictions between sections are all listed at once,
each with its path and the way out (`PlanError.problems`). Equal plans have equal canonical JSON, whatever
their files looked like, and so an equal `digest`, by which a client's floor can pin one.

A plan says what is asked for. Whether a client accepts it is `secagg.floor`'s business, and which protocol it
leads to is `secagg.protections`'s.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from pydantic import Field, ModelWrapValidatorHandler, ValidationInfo, model_validator

from secagg.encoding.codec import Settings
from secagg.errors import EncodingError, Problem, ProtocolError
from secagg.masking.parameters import Policy, threshold
from secagg.plan_tables import (
    Aggregation,
    ClipGroup,
    Cohort,
    Encoding,
    MetricRange,
    Metrics,
    Privacy,
    Protection,
    RunSection,
    Training,
    canonical_json,
)
from secagg.strict_toml import Parsed, Section, parse_json, parse_toml, read_text, validate_whole
from secagg.units import written

__all__ = [
    "Aggregation",
    "ClipGroup",
    "Cohort",
    "Encoding",
    "MetricRange",
    "Plan",
    "Privacy",
    "Protection",
    "RunSection",
    "Training",
    "cross_problems",
    "policy_of",
    "settings_of",
]


class Plan(Section):
    """A whole, valid plan. Equal if and only if the canonical JSON is equal; hashable; a value.

    `Plan.load` and `Plan.parse` read TOML, `Plan.from_json` what a server sent, and `Plan(run={...},
    cohort={...})` takes the same tables as dicts. All raise `PlanError` with every problem.
    """

    run: RunSection
    cohort: Cohort
    training: Training = Training()
    aggregation: Aggregation = Aggregation()
    encoding: Encoding = Encoding()
    metrics: Metrics = Field(default_factory=lambda: MappingProxyType({}))
    protection: Protection = Protection()
    privacy: Privacy = Privacy()

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """The plan in a TOML file."""
        return cls.parse(read_text(path), source=Path(path).name)

    @classmethod
    def parse(cls, toml_text: str, source: str = "plan.toml") -> Plan:
        """The plan in a TOML text; `source` is what its errors call it."""
        return cls.model_validate(parse_toml(toml_text, source), context={"source": source})

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan that `to_json` wrote, checked as strictly as one from a file."""
        source = "the plan received"
        return cls.model_validate(parse_json(text, source), context={"source": source})

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces, shortest floats, every default filled in."""
        return canonical_json(self.model_dump())

    def to_toml(self) -> str:
        """The same as a TOML text, every default filled in, that parses to an equal plan."""
        tables = self.model_dump()
        lines = []
        for name, table in tables.items():
            lines.append(f"[{name}]")
            lines += [f"{_toml(key)} = {_toml(value, value=True)}" for key, value in table.items()]
            lines.append("")
        return "\n".join(lines)

    @property
    def digest(self) -> bytes:
        """SHA-256 over "secagg/v1 plan" and the canonical JSON."""
        return hashlib.sha256(b"secagg/v1 plan" + self.to_json().encode()).digest()

    def task_config(self) -> dict[str, Any]:
        """The free keys of [training], a fresh copy for the train function to do with as it likes."""
        config: dict[str, Any] = json.loads(self.training.config_json)
        return config

    def __eq__(self, other: object) -> bool:
        return self.to_json() == other.to_json() if isinstance(other, Plan) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.to_json())

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Plan.from_json, (self.to_json(),)

    @model_validator(mode="wrap")
    @classmethod
    def _whole(cls, document: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        return validate_whole(cls, document, handler, info, cross_problems)


def settings_of(plan: Plan) -> Settings:
    """How the plan encodes."""
    return Settings(
        max_clients=plan.cohort.max_clients,
        clip_norm=plan.encoding.clip_norm,
        precision=plan.encoding.precision,
        groups=tuple((group.match, group.clip_norm) for group in plan.encoding.group),
        ranges=tuple((name, bounds.min, bounds.max) for name, bounds in sorted(plan.metrics.items())),
        by_examples=plan.aggregation.weighting == "examples",
        max_examples=plan.aggregation.max_examples,
    )


def policy_of(plan: Plan) -> Policy:
    """What the plan assumes of its clients."""
    cohort = plan.cohort
    return Policy(
        max_clients=cohort.max_clients,
        min_survivors=cohort.min_survivors,
        colluders=cohort.colluders,
        dropouts=cohort.dropouts,
        adversary=cohort.adversary,
    )


def cross_problems(plan: Plan, parsed: Parsed) -> Iterator[Problem]:
    """Contradictions between fields that are each fine alone.

    `plan` may be completed with examples where the document was broken; `parsed(path, ...)` is True for what
    can be believed, and every rule asks it first for all the fields it reads.
    """
    yield from _enough_survivors(plan.cohort, parsed)
    if parsed("protection.kind") and plan.protection.kind == "masks":
        contradictions = [
            *_survivable_dropouts(plan.cohort, parsed),
            *_outnumbered_colluders(plan, parsed),
        ]
        yield from contradictions or _feasible_thresholds(plan, parsed)
    yield from _one_group_per_pattern(plan.encoding, parsed)
    yield from _steps_below_norms(plan.encoding, parsed)
    yield from _sums_that_fit(plan, parsed)


def _enough_survivors(cohort: Cohort, parsed: Parsed) -> Iterator[Problem]:
    if not parsed("cohort.min_survivors", "cohort.max_clients"):
        return
    if cohort.min_survivors > cohort.max_clients:
        yield Problem(
            "cohort.min_survivors",
            f"is {cohort.min_survivors}, and max_clients is {cohort.max_clients}: no round could ever open",
            "lower min_survivors or raise max_clients",
        )


def _survivable_dropouts(cohort: Cohort, parsed: Parsed) -> Iterator[Problem]:
    """Malicious: two confirm quorums must share an honest client. Semi-honest: an honest one must survive."""
    if not parsed("cohort.adversary", "cohort.colluders", "cohort.dropouts"):
        return
    factor, times = (2, "2·") if cohort.adversary == "malicious" else (1, "")
    if 1 - factor * written(cohort.dropouts) <= written(cohort.colluders):
        yield Problem(
            "cohort.dropouts",
            f"with a {cohort.adversary} server 1 - {times}dropouts must exceed colluders, "
            f"and 1 - {times}{cohort.dropouts!r} does not exceed {cohort.colluders!r}",
            "lower dropouts or colluders",
        )


def _outnumbered_colluders(plan: Plan, parsed: Parsed) -> Iterator[Problem]:
    """A sum must hold two clients beside the colluders. In a malicious plan the confirm quorum implies it."""
    cohort = plan.cohort
    if not parsed("cohort.adversary", "cohort.colluders", "cohort.max_clients", "cohort.min_survivors"):
        return
    colluding = policy_of(plan).c
    if cohort.adversary == "semi-honest" and cohort.min_survivors < colluding + 2:
        yield Problem(
            "cohort.min_survivors",
            f"is {cohort.min_survivors}, and {colluding} of {cohort.max_clients} clients may collude: "
            "a sum minus their own parts could be one client's update",
            f"at least {colluding + 2}",
        )


def _one_group_per_pattern(encoding: Encoding, parsed: Parsed) -> Iterator[Problem]:
    patterns = [group.match for group in encoding.group] if parsed("encoding.group") else []
    for at, pattern in enumerate(patterns):
        if pattern in patterns[:at]:
            yield Problem(
                f"encoding.group.{at}.match", f'"{pattern}" already has a group', "remove one of them"
            )


def _steps_below_norms(encoding: Encoding, parsed: Parsed) -> Iterator[Problem]:
    norms = {"encoding.clip_norm": encoding.clip_norm} if parsed("encoding.clip_norm") else {}
    if parsed("encoding.group"):
        norms |= {
            f"encoding.group.{at}.clip_norm": group.clip_norm for at, group in enumerate(encoding.group)
        }
    for path, norm in norms.items():
        if parsed("encoding.precision") and encoding.precision >= norm:
            yield Problem(
                path,
                f"is {norm!r}, and precision is {encoding.precision!r}: a rounding step must be smaller",
                "lower encoding.precision; a millionth of the norm is usual",
            )


def _feasible_thresholds(plan: Plan, parsed: Parsed) -> Iterator[Problem]:
    """A full cohort has a threshold, and it survives the dropouts the plan expects."""
    cohort = plan.cohort
    sizes = ("cohort.adversary", "cohort.colluders", "cohort.max_clients", "cohort.min_survivors")
    if not parsed(*sizes, "cohort.dropouts") or cohort.min_survivors > cohort.max_clients:
        return
    try:
        limits = threshold(policy_of(plan), cohort.max_clients)
    except ProtocolError as error:
        yield Problem("cohort.max_clients", error.message, error.hint)
        return
    expected = policy_of(plan).expected_dropouts(cohort.max_clients)
    if limits.tolerated < expected:
        yield Problem(
            "cohort.dropouts",
            f"{expected} of {cohort.max_clients} clients may vanish, and {limits.needed} must stay for a sum",
            f"dropouts of at most {limits.tolerated / cohort.max_clients:.3g}, fewer colluders or a lower "
            "min_survivors",
        )


def _sums_that_fit(plan: Plan, parsed: Parsed) -> Iterator[Problem]:
    """No sum of a full cohort may wrap in the widest ring there is."""
    if not parsed("encoding.precision", "encoding.clip_norm", "encoding.group", "cohort.max_clients"):
        return
    if not parsed("aggregation.weighting", "aggregation.max_examples"):
        return
    try:
        settings_of(plan).bits  # noqa: B018 - computing it is the check
    except EncodingError as error:
        yield Problem("encoding.precision", error.message, error.hint)


def _toml(item: object, *, value: bool = False) -> str:
    match item:
        case dict():
            return (
                "{ "
                + ", ".join(f"{_toml(key)} = {_toml(inner, value=True)}" for key, inner in item.items())
                + " }"
            )
        case list() | tuple():
            return "[" + ", ".join(_toml(inner, value=True) for inner in item) + "]"
        case str() if not value and re.fullmatch(r"[A-Za-z0-9_-]+", item):
            return item
        case str():
            return json.dumps(item, ensure_ascii=False).replace("\x7f", "\\u007f")
        case bool():
            return "true" if item else "false"
    return repr(item)
