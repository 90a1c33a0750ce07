"""The tables of a plan, each with its fields, defaults and ranges.

This is `plan.toml` section by section, and nothing that relates one section to another: that, and the whole,
is `secagg.plan`. Quantities with units are held as numbers: durations in seconds, rates in bytes per second.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    model_serializer,
    model_validator,
)

from secagg.encoding.codec import CLIPPED_FRACTION
from secagg.strict_toml import Section
from secagg.units import format_duration, format_rate, parse_duration, parse_rate

__all__ = [
    "AdaptiveClipping",
    "Aggregation",
    "ClipGroup",
    "Cohort",
    "Encoding",
    "ExamplePrivacy",
    "MetricRange",
    "Metrics",
    "Privacy",
    "Protection",
    "RunSection",
    "Training",
    "canonical_json",
]

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LONGEST_WAIT = 366 * 86400.0


def canonical_json(document: object) -> str:
    """Sorted keys, no spaces, shortest floats, text as it is: one document, one string."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("a name is 1 to 64 of the letters A-Z a-z, the digits 0-9 and . _ -")
    return text


def _metric_name(text: str) -> str:
    if text == CLIPPED_FRACTION:
        raise ValueError(f"{CLIPPED_FRACTION} is measured by secagg itself; call yours something else")
    return _name(text)


def _pattern(text: str) -> str:
    if not text:
        raise ValueError('is empty; "*" matches every name')
    return text


def _someone(patterns: tuple[str, ...]) -> tuple[str, ...]:
    if not patterns:
        raise ValueError('admits nobody; leave it out, or write ["*"], to admit all the authority signed')
    return patterns


def _deadline(text: object) -> float:
    seconds = parse_duration(text)
    if not 0 < seconds <= _LONGEST_WAIT:
        raise ValueError("must be longer than 0s and at most 366d")
    return seconds


def _pause(text: object) -> float:
    seconds = parse_duration(text)
    if seconds > _LONGEST_WAIT:
        raise ValueError("must be at most 366d")
    return seconds


def _rate(text: object) -> int:
    rate = parse_rate(text)
    if not 0 < rate < 2**63:
        raise ValueError("must be at least 1B/s")
    return rate


Name = Annotated[str, AfterValidator(_name)]
MetricName = Annotated[str, AfterValidator(_metric_name)]
Patterns = Annotated[tuple[Annotated[str, AfterValidator(_pattern)], ...], Field(strict=False)]
Deadline = Annotated[float, BeforeValidator(_deadline), PlainSerializer(format_duration)]
Pause = Annotated[float, BeforeValidator(_pause), PlainSerializer(format_duration)]
Rate = Annotated[int, BeforeValidator(_rate), PlainSerializer(format_rate)]
Count = Annotated[int, Field(ge=1, lt=2**31)]
Norm = Annotated[float, Field(ge=1e-30, le=1e30)]


class RunSection(Section):
    """[run]: what it is called and how long it goes on; `interval` is the pause between rounds."""

    name: Name = Field(examples=["digits"])
    rounds: Count = Field(examples=[20])
    interval: Pause = 0.0


class Cohort(Section):
    """[cohort]: who takes part, how many must, what is assumed of them, how long they have.

    sampling = "poisson" draws each waiting client with probability `rate`; `population` is how many there
    are to draw from, and the mean update's divisor is rate * population, whoever was drawn.
    """

    clients: Annotated[Patterns, AfterValidator(_someone)] = ("*",)
    max_clients: Annotated[int, Field(ge=2, lt=2**31)] = Field(examples=[10])
    min_survivors: Annotated[int, Field(ge=2, lt=2**31)] = 3
    sampling: Literal["fixed", "poisson"] = "fixed"
    rate: Annotated[float, Field(gt=0, lt=1)] | None = None
    population: Annotated[int, Field(ge=2, lt=2**31)] | None = None
    colluders: Annotated[float, Field(ge=0, lt=1)] = 0.1
    dropouts: Annotated[float, Field(ge=0, lt=1)] = 0.2
    adversary: Literal["malicious", "semi-honest"] = "malicious"
    join_deadline: Deadline = 600.0
    train_deadline: Deadline = 1800.0
    stage_deadline: Deadline = 30.0
    min_rate: Rate = 1_000_000

    def admits(self, client: str) -> bool:
        """Whether the name matches one of the patterns in `clients`."""
        return any(fnmatchcase(client, pattern) for pattern in self.clients)


class Training(Section):
    """[training]: what the train function is given, opaque to the library but for `local`.

    `config_json` is everything beside `local` as canonical JSON: a text, so that nobody can change it;
    `Plan.task_config()` is the dict made of it.
    """

    local: Patterns = ()
    config_json: str = "{}"

    @model_validator(mode="before")
    @classmethod
    def _free_form(cls, table: Any) -> Any:
        if not isinstance(table, dict):
            return table
        config = {key: value for key, value in table.items() if key != "local"}
        return {"local": table.get("local", []), "config_json": canonical_json(config)}

    @model_serializer
    def _table(self) -> dict[str, object]:
        return {**json.loads(self.config_json), "local": list(self.local)}


def _weighed(name: str) -> str:
    return name if name == "*" else _name(name)


PublicWeights = Annotated[
    Mapping[Annotated[str, AfterValidator(_weighed)], Count],
    AfterValidator(lambda weights: MappingProxyType(dict(sorted(weights.items())))),
    PlainSerializer(dict),
]


class Aggregation(Section):
    """[aggregation]: how the mean update changes the model, and what a client counts for.

    weighting = "public": a client counts for the constant that `weights` declares for its name, or for "*".
    """

    method: Literal["fedavg", "fedavgm"] = "fedavg"
    weighting: Literal["uniform", "examples", "public"] = "uniform"
    weights: PublicWeights | None = None
    max_examples: Count = 1000
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    server_learning_rate: Annotated[float, Field(gt=0)] = 1.0


class ClipGroup(Section):
    """[[encoding.group]]: the arrays whose names match are clipped together to a norm of their own."""

    match: Annotated[str, AfterValidator(_pattern)] = Field(examples=["head.*"])
    clip_norm: Norm = Field(examples=[1.0])


class Encoding(Section):
    """[encoding]: L2 norms that bound a client's update, and the largest rounding step of a coordinate.

    The step is that of a client's weighted contribution. Of the mean it is `precision` under uniform
    weighting, and `precision * max_examples / (mean examples of a client)` under `weighting = "examples"`.
    """

    clip_norm: Norm = 1.0
    precision: Annotated[float, Field(gt=0)] = 1e-6
    group: Annotated[tuple[ClipGroup, ...], Field(strict=False)] = ()


class MetricRange(Section):
    """An entry of [metrics]: values outside are clamped to it.

    noise_multiplier: under a privacy unit, the metric's own noise over what one unit can change of it.
    """

    min: float = Field(examples=[0.0])
    max: float = Field(examples=[10.0])
    noise_multiplier: Annotated[float, Field(gt=0, le=1e6)] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.min < self.max:
            raise ValueError(f"min must be below max, and {self.min!r} is not below {self.max!r}")
        if self.max / 2 == self.min / 2:
            raise ValueError(f"{self.min!r} and {self.max!r} are too close to tell apart")
        return self


class Protection(Section):
    """[protection]: what hides an update. "none" hides nothing, and a floor refuses it by default.

    "bfv", "ckks": homomorphic summation; clients may leave after one upload, and who holds the key can,
    together with the server, open every update. recompute: those who do add the ciphertexts themselves.
    """

    kind: Literal["masks", "bfv", "ckks", "none"] = "masks"
    recompute: Annotated[bool, AfterValidator(lambda asked: asked or None)] | None = None

    @property
    def homomorphic(self) -> bool:
        """Whether ciphertexts are summed."""
        return self.kind in ("bfv", "ckks")


Epsilon = Annotated[float, Field(gt=0)]
Delta = Annotated[float, Field(gt=0, lt=1)]


class AdaptiveClipping(Section):
    """[privacy.adaptive_clipping]: the clip norm follows a quantile of the updates' norms.

    quantile: the share of clients that shall not be clipped. rate: how fast (Andrew et al. 2021, 2.1).
    """

    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.5
    rate: Annotated[float, Field(gt=0, le=1)] = 0.2


class ExamplePrivacy(Section):
    """[privacy.example]: DP-SGD within each client, beside client-level noise. All for the whole run."""

    epsilon: Epsilon = Field(examples=[8.0])
    delta: Delta = Field(examples=[1e-5])
    local_steps: Count = Field(examples=[1000])
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0


class Privacy(Section):
    """[privacy]: whose presence noise hides, where it is added, how much.

    unit = "example": each client trains with DP-SGD to (epsilon, delta) over `local_steps` in the whole run.
    unit = "client": noise on the sum, by the clients ("distributed") or by the server ("central"), of
    `noise_multiplier` times the clip norm; without it, calibrated so that all rounds together cost
    (epsilon, delta). With both, epsilon is a budget that ends the run. ring_bits: a small ring instead of
    the one that `precision` asks for.
    """

    unit: Literal["none", "example", "client"] = "none"
    placement: Literal["distributed", "central"] | None = None
    mechanism: Literal["discrete-gaussian", "skellam"] | None = None
    noise_multiplier: Annotated[float, Field(gt=0, le=1e6)] | None = None
    epsilon: Epsilon | None = None
    delta: Delta | None = None
    local_steps: Count | None = None
    max_grad_norm: Annotated[float, Field(gt=0)] | None = None
    ring_bits: Annotated[int, Field(ge=8, le=20)] | None = None
    adaptive_clipping: AdaptiveClipping | None = None
    example: ExamplePrivacy | None = None

    @property
    def local(self) -> ExamplePrivacy | None:
        """What is asked of each client's training, under either unit; None: nothing."""
        if self.unit != "example":
            return self.example
        if self.epsilon is None or self.delta is None or self.local_steps is None:
            return None
        return ExamplePrivacy(
            epsilon=self.epsilon,
            delta=self.delta,
            local_steps=self.local_steps,
            max_grad_norm=1.0 if self.max_grad_norm is None else self.max_grad_norm,
        )


Metrics = Annotated[
    Mapping[MetricName, MetricRange],
    AfterValidator(lambda metrics: MappingProxyType(dict(sorted(metrics.items())))),
    PlainSerializer(
        lambda metrics: {name: extent.model_dump(exclude_none=True) for name, extent in metrics.items()}
    ),
]
