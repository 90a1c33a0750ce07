"""What a plan would cost, before anybody runs it: the same document as a run's, for rounds that are to come.

What is varied: the rounds, the noise multiplier, and the cohort. More clients at the same noise multiplier
would leave epsilon where it is and the mean less noisy; so the cohort is varied at an equal noise of the
mean, the noise multiplier growing with it, and what falls is epsilon.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any, Final

from secagg.encoding.codec import Codec
from secagg.errors import EncodingError, PrivacyError
from secagg.plan import Plan
from secagg.plan_settings import (
    budget_audience,
    deltas_of,
    honest_noise,
    noise_multiplier_of,
    settings_of,
    uses_of,
)
from secagg.plan_tables import Aggregation, Cohort, Encoding, MetricRange, Privacy, Protection, RunSection
from secagg.privacy.accountant import privacy_of, within
from secagg.privacy.mechanisms import Use
from secagg.report.claims import Circumstances, claims
from secagg.report.digests import code_digest
from secagg.report.document import FORMAT, cohort_of, encoding_of, noise_of, sampling_of, unit_of
from secagg.report.parties import learns
from secagg.report.scope import covered, limits, not_covered
from secagg.report.spending import shown_rounds
from secagg.weights import Layout, Part

__all__ = ["prospect"]

_EPSILONS: Final = (1.0, 2.0, 4.0, 8.0)
_ROUND_POINTS: Final = 12
_NOISE_FACTORS: Final = tuple(2 ** (power / 2) for power in range(-5, 6))
_COHORT_FACTORS: Final = (0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0)
_MOST_SHOWN: Final = 100.0
"""Epsilons beyond this protect nobody, and would flatten a chart."""


@dataclass(frozen=True)
class _Variant:
    """The tables of a plan, some of them changed; not checked as a whole plan would be."""

    run: RunSection
    cohort: Cohort
    aggregation: Aggregation
    encoding: Encoding
    metrics: Mapping[str, MetricRange]
    protection: Protection
    privacy: Privacy

    @classmethod
    def of(cls, plan: Plan) -> _Variant:
        return cls(
            plan.run,
            plan.cohort,
            plan.aggregation,
            plan.encoding,
            plan.metrics,
            plan.protection,
            plan.privacy,
        )

    def with_noise(self, multiplier: float) -> _Variant:
        return replace(self, privacy=self.privacy.model_copy(update={"noise_multiplier": multiplier}))


def prospect(plan: Plan, size: int) -> dict[str, Any]:
    """What a run of this plan over a model of `size` parameters would cost, if every round opens its sum.

    Where the plan's epsilon ends the run before its last round, what the rounds until then would cost.

    Raises PrivacyError `budget-impossible`, EncodingError for an encoding that cannot be.
    """
    variant, layout = _Variant.of(plan), _layout(size)
    codec = Codec(layout, settings_of(plan, size))
    one = _one_round(variant, layout)
    deltas = deltas_of(plan)
    rounds = _affordable(plan, one)
    accounts = privacy_of(_repeated(one, rounds), deltas)
    about = Circumstances(rounds, prospect=True)
    return {
        "format": FORMAT,
        "kind": "plan",
        "claim": list(claims(plan, accounts, about)),
        "plan": {"name": plan.run.name, "rounds": plan.run.rounds, "rounds_affordable": rounds},
        "units": [
            {**unit_of(plan, codec, account), "mechanisms": _queries(one, account.unit)}
            for account in accounts
        ],
        "cohort": cohort_of(plan),
        "noise": _noise(plan, size, codec),
        "sampling": sampling_of(plan),
        "encoding": encoding_of(plan, codec),
        "against_rounds": [
            {"rounds": rounds, **_epsilons(_repeated(one, rounds), deltas)}
            for rounds in shown_rounds(range(1, plan.run.rounds + 1), _ROUND_POINTS)
        ]
        if "client" in deltas
        else [],
        "against_noise": list(_against_noise(variant, layout)),
        "against_cohort": list(_against_cohort(variant, layout)),
        "alternatives": list(_alternatives(variant, layout)),
        "covered": list(covered(plan)),
        "not_covered": list(not_covered(plan)),
        "learns": [asdict(seen) for seen in learns(plan, protected=True)],
        "limits": list(limits(plan, codec, simulated=False, protected=True)),
        "digests": {
            "plan": plan.digest.hex(),
            "code": code_digest(),
            "package": f"secagg {version('secagg')}",
        },
    }


def _layout(size: int) -> Layout:
    return Layout((Part("model", (size,), "float32", 0, size),))


def _one_round(variant: _Variant, layout: Layout) -> list[Use]:
    if variant.privacy.unit == "none":
        return []
    return list(uses_of(variant, Codec(layout, settings_of(variant, layout.size)), 1, 1))


def _repeated(one: Sequence[Use], rounds: int) -> list[Use]:
    """As if every round cost what one does; uses of one round share that round's draw of clients."""
    return [replace(use, round=number) for number in range(1, rounds + 1) for use in one]


def _affordable(plan: Plan, one: Sequence[Use]) -> int:
    """How many of the plan's rounds its epsilon lets begin."""
    epsilon, delta = plan.privacy.epsilon, plan.privacy.delta
    if plan.privacy.unit != "client" or epsilon is None or delta is None:
        return plan.run.rounds
    ours = [use for use in one if use.unit == "client"]
    if within(_repeated(ours, plan.run.rounds), epsilon, delta, budget_audience(plan)):
        return plan.run.rounds
    fits, too_many = 0, plan.run.rounds
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if within(_repeated(ours, middle), epsilon, delta, budget_audience(plan)):
            fits = middle
        else:
            too_many = middle
    return fits


def _queries(one: Sequence[Use], unit: str) -> list[dict[str, Any]]:
    return [
        {
            "query": use.query,
            "mechanism": use.mechanism.as_json(),
            "placement": use.placement,
            **noise_of(use.mechanism),
        }
        for use in one
        if use.unit == unit
    ]


def _noise(plan: Plan, size: int, codec: Codec) -> dict[str, Any] | None:
    """Of client-level privacy: in clip norms and in the model's own units, in a sum and in its mean."""
    multiplier = noise_multiplier_of(plan, size)
    update = None if codec.settings.noise is None else codec.settings.noise.update
    if multiplier is None or update is None:
        return None
    total, honest = update.noise_multiplier, honest_noise(plan)
    norm = codec.settings.total_clip
    clients = sampling_of(plan)["divisor"] or plan.cohort.max_clients
    central = plan.privacy.placement == "central"
    everybody = total if central else total * math.sqrt(clients / honest)
    weighed = plan.aggregation.weighting == "public"  # by constants of whoever comes
    return {
        "noise_multiplier": multiplier,
        "update_noise_multiplier": total,
        "calibrated": plan.privacy.noise_multiplier is None,
        "honest_contributors": honest,
        "per_client": 0.0 if central else total * norm / math.sqrt(honest),
        "in_the_sum": total * norm,
        "in_the_mean": None if weighed else everybody * norm / clients,
    }


def _epsilons(uses: Sequence[Use], deltas: Mapping[str, float]) -> dict[str, float | None]:
    """Of clients, against each audience."""
    account = next(one for one in privacy_of(uses, deltas) if one.unit == "client")
    amplified = None if account.amplified is None else _shown(account.amplified.epsilon)
    return {
        "public": _shown(account.public.epsilon),
        "server": _shown(account.server.epsilon),
        "colluders": _shown(account.colluders.epsilon),
        "amplified": amplified,
    }


def _shown(epsilon: float) -> float | None:
    return epsilon if epsilon <= _MOST_SHOWN else None


def _against_noise(variant: _Variant, layout: Layout) -> Iterator[dict[str, Any]]:
    multiplier = noise_multiplier_of(variant, layout.size)
    if multiplier is None:
        return
    for factor in _NOISE_FACTORS:
        changed = variant.with_noise(multiplier * factor)
        epsilons = _tried(changed, layout)
        if epsilons is not None:
            yield {"noise_multiplier": multiplier * factor, **epsilons}


def _against_cohort(variant: _Variant, layout: Layout) -> Iterator[dict[str, Any]]:
    multiplier = noise_multiplier_of(variant, layout.size)
    if multiplier is None:
        return
    cohort = variant.cohort
    for factor in _COHORT_FACTORS:
        clients = round(cohort.max_clients * factor)
        survivors = round(cohort.min_survivors * factor)
        changed = replace(
            variant.with_noise(multiplier * clients / cohort.max_clients),
            cohort=cohort.model_copy(
                update={
                    "max_clients": clients,
                    "min_survivors": survivors,
                    "population": None if cohort.population is None else round(cohort.population * factor),
                }
            ),
        )
        if clients < 2 or honest_noise(changed) < 2:
            continue
        epsilons = _tried(changed, layout)
        if epsilons is not None:
            yield {
                "max_clients": clients,
                "min_survivors": survivors,
                "honest_contributors": honest_noise(changed),
                "noise_multiplier": multiplier * clients / cohort.max_clients,
                **epsilons,
            }


def _tried(variant: _Variant, layout: Layout) -> dict[str, float | None] | None:
    """None where there is no such plan: too little noise to be drawn, or too much for the ring."""
    try:
        one = _one_round(variant, layout)
    except (PrivacyError, EncodingError):
        return None
    return _epsilons(_repeated(one, variant.run.rounds), deltas_of(variant))


def _alternatives(variant: _Variant, layout: Layout) -> Iterator[dict[str, Any]]:
    """What noise the usual epsilons take, over these rounds and at this delta."""
    delta = variant.privacy.delta
    if variant.privacy.unit != "client" or delta is None:
        return
    asked = variant.privacy.epsilon
    for epsilon in sorted({*_EPSILONS, *([] if asked is None else [asked])}):
        privacy = variant.privacy.model_copy(update={"epsilon": epsilon, "noise_multiplier": None})
        found: float | None = None
        why = None
        try:
            found = noise_multiplier_of(replace(variant, privacy=privacy), layout.size)
        except PrivacyError:
            why = _too_dear(variant)
        except EncodingError:
            why = "so much noise fits no ring"
        yield {
            "epsilon": epsilon,
            "audience": budget_audience(variant),
            "noise_multiplier": found,
            "why": why,
            "planned": epsilon == asked,
        }


def _too_dear(variant: _Variant) -> str:
    """What costs more than an epsilon however much noise the update has: what has noise of its own."""
    others = ["the count"] * (variant.privacy.adaptive_clipping is not None)
    others += ["the metrics"] * bool(variant.metrics)
    if not others:
        return "no noise suffices"
    return f"{' and '.join(others)} alone cost{'s' * (others == ['the count'])} more"
