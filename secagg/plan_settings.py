"""What the rooms below need of a plan: its policy, its encoding, its noise, and what a round of it costs.

Noise is sized for the fewest honest clients that a sum can hold, h = min_survivors - c: each adds
noise_multiplier * clip_norm / sqrt(h), so that however many vanish and whichever c collude, what is left is
enough (Kairouz, Liu, Steinke 2021, arXiv 2102.06387, section 4 for the mechanism). Where a plan gives epsilon
and no noise multiplier, the multiplier is the smallest with which all rounds together cost no more; that
takes the model's size, since rounding in d dimensions adds to the sensitivity.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Final, Protocol

from secagg.encoding.codec import Codec, Noise, Settings, UpdateNoise
from secagg.errors import PrivacyError
from secagg.masking.parameters import Policy, smallest_cohort
from secagg.plan_tables import (
    Aggregation,
    Cohort,
    Encoding,
    ExamplePrivacy,
    MetricRange,
    Privacy,
    Protection,
    RunSection,
)
from secagg.privacy.accountant import Audience, local_delta, spent
from secagg.privacy.calibration import calibrate
from secagg.privacy.drawing import chance_in_opened_round
from secagg.privacy.mechanisms import Gaussian, LocalTarget, Placement, Use
from secagg.weights import Layout, Part

__all__ = [
    "NOMINAL_SIZE",
    "Tables",
    "budget_audience",
    "chance_drawn",
    "cost_of_a_round",
    "count_sigma",
    "deltas_of",
    "honest_noise",
    "least_cohort",
    "noise_multiplier_of",
    "policy_of",
    "settings_of",
    "smallest_noise",
    "training_target",
    "uses_of",
]

NOMINAL_SIZE: Final = 1 << 20
"""Coordinates assumed where a plan is looked at without its model."""


class Tables(Protocol):
    """A plan, as far as this module reads it."""

    @property
    def run(self) -> RunSection: ...
    @property
    def cohort(self) -> Cohort: ...
    @property
    def aggregation(self) -> Aggregation: ...
    @property
    def encoding(self) -> Encoding: ...
    @property
    def metrics(self) -> Mapping[str, MetricRange]: ...
    @property
    def protection(self) -> Protection: ...
    @property
    def privacy(self) -> Privacy: ...


def policy_of(plan: Tables) -> Policy:
    """What the plan assumes of its clients."""
    cohort = plan.cohort
    return Policy(
        max_clients=cohort.max_clients,
        min_survivors=cohort.min_survivors,
        colluders=cohort.colluders,
        dropouts=cohort.dropouts,
        adversary=cohort.adversary,
    )


def settings_of(plan: Tables, size: int = NOMINAL_SIZE, clip_norm: float | None = None) -> Settings:
    """How the plan encodes a model of `size` coordinates.

    clip_norm: this round's, where it is adaptive. Raises PrivacyError `budget-impossible`.
    """
    settings = _whole(_Key(plan, size))
    return settings if clip_norm is None else settings.at_clip_norm(clip_norm)


def honest_noise(plan: Tables) -> int:
    """h: how many clients' noise hides the others in every sum that is opened.

    Colluders' shares do not count. Nor does that of a decryptor of ciphertexts: it sees the sum, and knows
    its own share.
    """
    knowing = max(policy_of(plan).c, int(plan.protection.homomorphic))
    return plan.cohort.min_survivors - knowing


def noise_multiplier_of(plan: Tables, size: int) -> float | None:
    """The total noise of client-level privacy over the clip norm; None without it. Calibrated at need."""
    privacy = plan.privacy
    if privacy.unit != "client":
        return None
    if privacy.noise_multiplier is not None:
        return privacy.noise_multiplier
    if privacy.epsilon is None or privacy.delta is None:
        raise PrivacyError(
            "privacy-incomplete", "the plan gives neither noise_multiplier nor epsilon and delta"
        )
    return _calibrated(_Key(plan, size))


def count_sigma(plan: Tables) -> float:
    """Noise of the count that adaptive clipping asks for, in clients: n / 20 (Andrew et al. 2021, 3.1)."""
    return _expected_clients(plan) / 20


def budget_audience(plan: Tables) -> Audience:
    """Against whom a plan's epsilon is meant, and its budget enforced."""
    return "public" if plan.privacy.placement == "central" else "colluders"


def smallest_noise(plan: Tables, size: int = NOMINAL_SIZE) -> float:
    """The smallest standard deviation, in steps, of the noise on any coordinate by whoever adds it."""
    queries = Codec(_layout(size), settings_of(plan, size)).queries
    sigmas = [
        mechanism.sigma for _, mechanism in queries if not isinstance(mechanism, Gaussian | LocalTarget)
    ]
    return min(sigmas, default=math.inf)


def cost_of_a_round(plan: Tables, size: int = NOMINAL_SIZE) -> float:
    """The epsilon of one client in one round, against whom the plan's is meant. Client-level plans only."""
    key = _Key(plan, size)
    return _cost_of_a_round(key, plan.privacy.delta or 0.0, budget_audience(plan))


@lru_cache(maxsize=64)
def _cost_of_a_round(key: _Key, delta: float, audience: Audience) -> float:
    codec = Codec(_layout(key.size), settings_of(key.plan, key.size))
    return spent(_uses_of_clients(key.plan, codec, 1, 1, 1.0), delta, audience).epsilon


def deltas_of(plan: Tables) -> dict[str, float]:
    """Unit -> the delta at which its epsilon is told."""
    deltas = {}
    if plan.privacy.unit == "client" and plan.privacy.delta is not None:
        deltas["client"] = plan.privacy.delta
    if (local := plan.privacy.local) is not None:
        deltas["example"] = local.delta
    return deltas


def training_target(plan: Tables) -> ExamplePrivacy | None:
    """What each client's training keeps to; None: nothing.

    Of the epsilon and delta promised to an example, declared metrics have their part first: what they cost in
    all rounds together. Raises PrivacyError `metrics-too-dear` where they leave nothing.
    """
    local = plan.privacy.local
    if local is None or not plan.metrics:
        return local
    delta = local_delta(local.delta, metrics=True)
    cost = _cost_of_metrics(_Key(plan, NOMINAL_SIZE), local.delta - delta)
    if cost >= local.epsilon:
        raise PrivacyError(
            "metrics-too-dear",
            f"the metrics alone cost an example epsilon = {cost:.3g} in {plan.run.rounds} rounds, and "
            f"{local.epsilon:g} is allowed",
            "more noise_multiplier for each metric, fewer metrics or fewer rounds",
        )
    return local.model_copy(update={"epsilon": local.epsilon - cost, "delta": delta})


@lru_cache(maxsize=64)
def _cost_of_metrics(key: _Key, delta: float) -> float:
    """The epsilon of one example, by the metrics of all rounds."""
    plan = key.plan
    codec = Codec(_layout(key.size), settings_of(plan, key.size))
    uses = [use for number in range(plan.run.rounds) for use in _uses_of_examples(plan, codec, number + 1, 1)]
    return spent(uses, delta, budget_audience(plan)).epsilon


def least_cohort(plan: Tables) -> int:
    """The smallest number of clients with whom an attempt can open a sum, if nobody vanishes."""
    policy = policy_of(plan)
    return policy.min_survivors if plan.protection.kind == "none" else smallest_cohort(policy)


def chance_drawn(plan: Tables, waiting: int | None = None) -> float:
    """With what probability a client is in a round that opened, of so many waiting; 1 without sampling.

    waiting: None for the plan's whole population.
    """
    cohort = plan.cohort
    if cohort.sampling != "poisson" or cohort.rate is None:
        return 1.0
    count = (cohort.population or 0) if waiting is None else waiting
    return chance_in_opened_round(count, cohort.rate, least_cohort(plan), cohort.max_clients)


def uses_of(
    plan: Tables, codec: Codec, round: int, attempt: int, waiting: int | None = None
) -> tuple[Use, ...]:
    """What opening this round's sum costs, by query; as the server knows it.

    waiting: how many there were to draw from, under Poisson sampling; None: the plan's whole population.
    """
    uses: list[Use] = []
    if plan.privacy.unit == "client":
        uses += _uses_of_clients(plan, codec, round, attempt, chance_drawn(plan, waiting))
    if (local := training_target(plan)) is not None:
        uses += _uses_of_examples(plan, codec, round, attempt)
        target = LocalTarget(local.epsilon, local.delta, local.local_steps)
        uses.append(Use(round, attempt, "example", "training", target, "client", plan.cohort.min_survivors))
    return tuple(uses)


def _uses_of_clients(plan: Tables, codec: Codec, round: int, attempt: int, chance: float) -> list[Use]:
    least = plan.cohort.min_survivors
    return [
        Use(round, attempt, "client", query, mechanism, _placement(plan), least, chance)
        for query, mechanism in codec.queries
    ]


def _uses_of_examples(plan: Tables, codec: Codec, round: int, attempt: int) -> list[Use]:
    least = plan.cohort.min_survivors
    return [
        Use(round, attempt, "example", query, mechanism, _placement(plan), least)
        for query, mechanism in codec.queries_of_examples
    ]


def _placement(plan: Tables) -> Placement:
    return "central" if plan.privacy.placement == "central" else "distributed"


def _settings(plan: Tables, noise: Noise | None) -> Settings:
    return Settings(
        max_clients=plan.cohort.max_clients,
        clip_norm=plan.encoding.clip_norm,
        precision=plan.encoding.precision,
        groups=tuple((group.match, group.clip_norm) for group in plan.encoding.group),
        ranges=tuple((name, bounds.min, bounds.max) for name, bounds in sorted(plan.metrics.items())),
        by_examples=plan.aggregation.weighting != "uniform",
        max_examples=_max_examples(plan.aggregation),
        noise=noise,
    )


def _max_examples(aggregation: Aggregation) -> int:
    if aggregation.weighting == "public":
        return max((aggregation.weights or {}).values(), default=1)
    return aggregation.max_examples


def _noise(plan: Tables, multiplier: float | None) -> Noise:
    privacy = plan.privacy
    poisson = plan.cohort.sampling == "poisson"
    update = None
    if multiplier is not None:
        sigma = None
        if privacy.adaptive_clipping is not None:
            sigma = count_sigma(plan)
            multiplier = _beside_count(multiplier, sigma)
        update = UpdateNoise(
            noise_multiplier=multiplier,
            mechanism="skellam" if privacy.mechanism == "skellam" else "discrete-gaussian",
            ring_bits=privacy.ring_bits,
            count_sigma=sigma,
        )
    return Noise(
        contributors=max(1, honest_noise(plan)),  # with less, the plan is refused where clients add any
        minimum=plan.cohort.min_survivors,
        central=privacy.placement == "central",
        metrics=tuple(bounds.noise_multiplier or 0.0 for _, bounds in sorted(plan.metrics.items())),
        update=update,
        expected=_expected_clients(plan) if poisson else None,
    )


def _expected_clients(plan: Tables) -> float:
    cohort = plan.cohort
    if cohort.sampling == "poisson" and cohort.rate is not None and cohort.population is not None:
        return cohort.rate * cohort.population
    return cohort.max_clients


def _beside_count(multiplier: float, sigma: float) -> float:
    """z_Δ = (z^-2 - (2 σ_b)^-2)^(-1/2): the update's share, so that both together cost what z would."""
    left = multiplier**-2 - (2 * sigma) ** -2
    if left <= 0:
        raise PrivacyError(
            "count-too-noisy",
            f"counting who was clipped, with noise of {sigma:g} clients, alone costs more than a noise "
            f"multiplier of {multiplier:g} allows",
            f"more clients, a noise multiplier below {2 * sigma:g}, or a fixed clip_norm",
        )
    return 1 / math.sqrt(left)


def _layout(size: int) -> Layout:
    return Layout((Part("model", (size,), "float32", 0, size),))


class _Key:
    """A plan and a size, to be looked up by: a plan may be compared, but need not be hashable."""

    def __init__(self, plan: Tables, size: int) -> None:
        self.plan, self.size = plan, size
        self._read = (
            plan.run.rounds,
            plan.cohort,
            plan.protection.homomorphic,
            plan.encoding,
            plan.privacy,
            plan.aggregation.weighting,
            _max_examples(plan.aggregation),
            tuple(sorted(plan.metrics.items())),
            size,
        )

    def __hash__(self) -> int:
        return hash(self._read)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._read == other._read


@lru_cache(maxsize=64)
def _whole(key: _Key) -> Settings:
    """Asked for by every client of a simulation in every round."""
    plan = key.plan
    settings = _settings(plan, None)
    if plan.privacy.unit == "none":
        return settings
    return replace(settings, noise=_noise(plan, noise_multiplier_of(plan, key.size)))


@lru_cache(maxsize=64)
def _calibrated(key: _Key) -> float:
    plan, size = key.plan, key.size
    epsilon, delta = plan.privacy.epsilon, plan.privacy.delta
    if epsilon is None or delta is None:
        raise PrivacyError("privacy-incomplete", "the plan gives no epsilon and delta to calibrate for")
    layout = _layout(size)

    def each_round(multiplier: float) -> list[Use]:
        if plan.privacy.adaptive_clipping is not None:  # beyond, the count alone costs more
            multiplier = min(multiplier, 2 * count_sigma(plan) * (1 - 1e-6))
        settings = _settings(plan, _noise(plan, multiplier))
        return _uses_of_clients(plan, Codec(layout, settings), 1, 1, 1.0)

    try:
        return calibrate(each_round, epsilon, delta, budget_audience(plan), times=plan.run.rounds)
    except PrivacyError as error:
        if error.code != "budget-impossible":
            raise
        raise PrivacyError(error.code, error.message, _way_out(plan)) from None


def _way_out(plan: Tables) -> str:
    """Of an epsilon that no noise on the update keeps: what else costs."""
    ways = []
    if plan.privacy.adaptive_clipping is not None:
        ways.append(
            f"more clients, since adaptive clipping counts under noise of {count_sigma(plan):g} of them, or "
            "a fixed clip_norm"
        )
    if plan.metrics:
        ways.append("more noise_multiplier for each metric")
    return "; ".join([*ways, "a larger epsilon or delta, or fewer rounds"])
