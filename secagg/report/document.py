"""privacy.json of a run: every fact of the report, in one document with a fixed schema.

The same run directory gives the same document, to the byte: nothing in it is of the moment or the machine at
which it was made. An epsilon that is infinite is null, and `says` is then "none".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any, Final

from secagg.encoding.codec import Codec
from secagg.plan import Plan, policy_of
from secagg.plan_settings import budget_audience, deltas_of, honest_noise, settings_of
from secagg.privacy.accountant import Privacy, Spent, privacy_of
from secagg.privacy.mechanisms import (
    DiscreteGaussian,
    DistributedGaussian,
    DistributedSkellam,
    LocalTarget,
    Mechanism,
)
from secagg.report.attacks import alarms, attacks_of
from secagg.report.claims import ADJACENCY, Circumstances, claims
from secagg.report.digests import code_digest, ledger_digest, metrics_digest, rosters_stay_private
from secagg.report.figures import bound, guess_bound, ranges
from secagg.report.key_holders import held_in_round, key_holders
from secagg.report.parties import learns
from secagg.report.record import Row, RunRecord
from secagg.report.scope import covered, limits, noise_in_the_ring, not_covered
from secagg.report.spending import Total, after_rounds

__all__ = [
    "FORMAT",
    "codec_for",
    "cohort_of",
    "document",
    "encoding_of",
    "noise_of",
    "sampling_of",
    "spent_entry",
    "unit_of",
]

FORMAT: Final = 1
"""The version of the schema."""


def document(record: RunRecord) -> dict[str, Any]:
    """What privacy.json holds for this run. Raises PrivacyError for rows that no account can be made of."""
    plan, opened = record.plan, record.opened
    codec = codec_for(record)
    uses = [row.use for row in record.spent]
    accounts = privacy_of(uses, deltas_of(plan))
    totals = after_rounds(uses, deltas_of(plan))
    over = record.about.finished is not None
    about = Circumstances(len(opened), over, simulated=record.simulated, protected=record.protected)
    attacks = attacks_of(record.attacks, plan, codec, len(opened), accounts)
    return {
        "format": FORMAT,
        "kind": "run",
        "claim": [*alarms(attacks), *claims(plan, accounts, about)],
        "run": {
            "id": record.about.id,
            "name": record.about.name,
            "created": record.about.created,
            "finished": record.about.finished,
            "ended": _ended(record),
            "rounds_planned": plan.run.rounds,
            "rounds_closed": len(record.closed),
            "rounds_opened": len(opened),
            "simulated": record.simulated,
            "protected": record.protected,
        },
        "units": [_unit(record, codec, account, totals.get(account.unit, [])) for account in accounts],
        "cohort": cohort_of(plan),
        "sampling": sampling_of(plan),
        "encoding": encoding_of(plan, codec),
        "rounds": _rounds(record, codec),
        "key_holders": key_holders(record),
        "covered": list(covered(plan)),
        "not_covered": list(not_covered(plan)),
        "learns": [asdict(seen) for seen in learns(plan, record.protected)],
        "limits": list(limits(plan, codec, record.simulated, record.protected)),
        "attacks": attacks,
        "digests": {
            "plan": plan.digest.hex(),
            "ledger": ledger_digest(record),
            "ledger_without_rosters": rosters_stay_private(record),
            "metrics": metrics_digest(record),
            "attacks": None if record.attacks is None else record.attacks.digest,
            "code": code_digest(),
            "package": f"secagg {version('secagg')}",
        },
    }


def codec_for(record: RunRecord) -> Codec:
    """The encoding of this run's model, at the plan's clip norm."""
    return Codec(record.layout, settings_of(record.plan, record.layout.size))


def _ended(record: RunRecord) -> str:
    """A run is finished early only where its budget ends it."""
    if record.about.finished is None:
        return "not yet"
    last = max((int(closed["round"]) for closed in record.closed), default=0)
    return "all rounds" if last >= record.plan.run.rounds else "budget exhausted"


# -- one unit -----------------------------------------------------------------------------------------


def _unit(record: RunRecord, codec: Codec, account: Privacy, totals: Sequence[Total]) -> dict[str, Any]:
    rows = [row for row in record.spent if row.use.unit == account.unit]
    return {
        **unit_of(record.plan, codec, account),
        "asserted": any(isinstance(row.use.mechanism, LocalTarget) for row in rows),
        "mechanisms": _mechanisms(rows),
        "after_round": [
            {
                "round": total.round,
                "public": _finite(total.privacy.public.epsilon),
                "server": _finite(total.privacy.server.epsilon),
                "colluders": _finite(total.privacy.colluders.epsilon),
                "amplified": None
                if total.privacy.amplified is None
                else _finite(total.privacy.amplified.epsilon),
            }
            for total in totals
        ],
    }


def unit_of(plan: Plan, codec: Codec, account: Privacy) -> dict[str, Any]:
    """What is the same of a unit before and after a run: its meaning, its sensitivity, its epsilons."""
    name, meaning = ADJACENCY[account.unit]
    return {
        "unit": account.unit,
        "delta": account.delta,
        "adjacency": {"name": name, "meaning": meaning},
        "sensitivity": _sensitivity(plan, codec, account.unit),
        "epsilon": {
            "public": spent_entry(account.public),
            "server": spent_entry(account.server),
            "colluders": spent_entry(account.colluders),
            "amplified": None if account.amplified is None else spent_entry(account.amplified),
        },
        "budget": _budget(plan, account),
    }


def spent_entry(spent: Spent) -> dict[str, Any]:
    """One epsilon with everything that is needed to check it."""
    finite = math.isfinite(spent.epsilon)
    return {
        "epsilon": _finite(spent.epsilon),
        "says": bound(spent.epsilon),
        "rho": spent.rho,
        "guess": guess_bound(spent.epsilon, spent.delta) if finite else None,
        "accountant": spent.accountant,
        "version": spent.version,
        "upper_bound": spent.upper_bound,
    }


def _sensitivity(plan: Plan, codec: Codec, unit: str) -> dict[str, Any]:
    local = plan.privacy.local
    update = next((mechanism for name, mechanism in codec.queries if name == "update"), None)
    if unit == "client" and isinstance(update, DiscreteGaussian | DistributedGaussian | DistributedSkellam):
        return {
            "norm": codec.settings.total_clip,
            "of": "a client's update",
            "l2_steps": update.l2,
            "l1_steps": getattr(update, "l1", None),
        }
    return {
        "norm": None if local is None else local.max_grad_norm,
        "of": "the gradient of one example",
        "l2_steps": None,
        "l1_steps": None,
    }


def _budget(plan: Plan, account: Privacy) -> dict[str, Any] | None:
    """Only the epsilon of clients is held against a ledger before each round; of examples it is a target."""
    epsilon = plan.privacy.epsilon
    if account.unit != "client" or epsilon is None:
        return None
    audience = budget_audience(plan)
    spent = getattr(account, audience).epsilon
    return {
        "epsilon": epsilon,
        "audience": audience,
        "left": max(0.0, epsilon - spent) if math.isfinite(spent) else 0.0,
        "ends_the_run": plan.privacy.noise_multiplier is not None,
    }


def _mechanisms(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Equal uses together, in the order in which they were first used."""
    alike: dict[Any, list[Row]] = {}
    for row in rows:
        alike.setdefault(replace(row.use, round=0, attempt=0), []).append(row)
    return [
        {
            "query": use.query,
            "mechanism": use.mechanism.as_json(),
            "placement": use.placement,
            "minimum": use.minimum,
            "sampling_rate": use.sampling_rate,
            **noise_of(use.mechanism),
            "rounds": ranges(row.use.round for row in same),
            "uses": len(same),
        }
        for use, same in alike.items()
    ]


def noise_of(mechanism: Mechanism) -> dict[str, float | None]:
    """Standard deviation, in steps, of the noise that is sure to be in the sum; and that over the L2
    sensitivity. Null for a local target, whose noise each client chooses."""
    if isinstance(mechanism, DistributedGaussian | DistributedSkellam):
        total = math.sqrt(mechanism.contributors) * mechanism.sigma
        return {"noise_steps": total, "noise_multiplier": total / mechanism.l2}
    if isinstance(mechanism, DiscreteGaussian):
        return {"noise_steps": mechanism.sigma, "noise_multiplier": mechanism.sigma / mechanism.l2}
    return {"noise_steps": None, "noise_multiplier": None}


# -- the whole run ------------------------------------------------------------------------------------


def cohort_of(plan: Plan) -> dict[str, Any]:
    """Who may take part, what is assumed of them, and what hides their updates."""
    return {
        "max_clients": plan.cohort.max_clients,
        "min_survivors": plan.cohort.min_survivors,
        "colluders": policy_of(plan).c,
        "adversary": plan.cohort.adversary,
        "protection": plan.protection.kind,
        "recompute": bool(plan.protection.recompute),
    }


def sampling_of(plan: Plan) -> dict[str, Any]:
    """What is asserted of how clients were drawn, and what is enforced."""
    cohort = plan.cohort
    if cohort.sampling == "poisson" and cohort.rate is not None and cohort.population is not None:
        return {
            "asserted": f"each client that waits is drawn by itself with probability {cohort.rate:g}",
            "enforced": "by the server's own software; too few or too many drawn, and nothing is drawn again",
            "rate": cohort.rate,
            "population": cohort.population,
            "divisor": cohort.rate * cohort.population,
        }
    return {
        "asserted": "nothing: no epsilon counts on how clients were chosen",
        "enforced": "nothing",
        "rate": None,
        "population": None,
        "divisor": None,
    }


def encoding_of(plan: Plan, codec: Codec) -> dict[str, Any]:
    """The ring, and how an update becomes one of its vectors."""
    settings = codec.settings
    update = None if settings.noise is None else settings.noise.update
    steps = _steps_per_norm(codec)
    small = update is not None and update.ring_bits is not None
    shares = noise_in_the_ring(codec)
    if not shares:
        wrap = "impossible"
    else:
        wrap = "beyond four standard deviations" if small else "probability below 2⁻⁴⁰ a round"
    return {
        "ring_bits": codec.bits,
        "coordinates": codec.length,
        "parameters": codec.layout.size,
        "vector_bytes": codec.size,
        "clip_norm": settings.total_clip if update is not None else settings.clip_norm,
        "adaptive": plan.privacy.adaptive_clipping is not None,
        "steps_per_clip_norm": steps if update is not None else None,
        "step": 1 / settings.scale if steps is None else settings.total_clip / steps,
        "rounding": "stochastic"
        if update is None
        else "stochastic, drawn again until the L2 norm is within the sensitivity",
        "rotated": small,
        "wrap": wrap,
        "weighting": plan.aggregation.weighting,
        "honest_contributors": honest_noise(plan) if update is not None or shares else None,
    }


def _steps_per_norm(codec: Codec) -> float | None:
    """S, from the noise that the codec itself adds: that many steps are one (total) clip norm."""
    noise = codec.settings.noise
    mechanism = dict(codec.queries).get("update")
    if noise is None or noise.update is None or mechanism is None:
        return None
    total = noise_of(mechanism)["noise_steps"]
    return None if total is None else total / noise.update.noise_multiplier


def _rounds(record: RunRecord, codec: Codec) -> dict[str, Any]:
    private = rosters_stay_private(record)
    norms = {row.use.round: row for row in record.spent if row.use.query == "update"}
    closed = {int(entry["round"]): entry for entry in record.closed}
    steps = _steps_per_norm(codec)
    return {
        "minimum": record.plan.cohort.min_survivors,
        "counts_private": private,
        "why": "the amplified epsilon holds only while nobody knows who was drawn, and how many"
        if private
        else None,
        "list": [
            _round(record, number, closed.get(number), norms.get(number), codec, steps, private)
            for number in sorted({*closed, *record.opened})
        ],
    }


def _round(
    record: RunRecord,
    number: int,
    closed: Mapping[str, Any] | None,
    row: Row | None,
    codec: Codec,
    steps: float | None,
    private: bool,
) -> dict[str, Any]:
    opened = record.opened.get(number)
    outcome = "not closed" if closed is None else str(closed["outcome"])
    survivors = None if opened is None or opened.survivors is None else len(opened.survivors)
    norm = noise = None
    if row is not None:
        norm = replace(codec.settings, clip_norm=row.clip_norm).total_clip
        total = noise_of(row.use.mechanism)["noise_steps"]
        noise = None if total is None or steps is None else total * norm / steps
    return {
        "round": number,
        "outcome": outcome,
        "opened": opened is not None,
        "cohort": None if private or opened is None else len(opened.cohort),
        "survivors": None if private else survivors,
        "clip_norm": norm,
        "noise": noise,
        "unclipped": _unclipped(closed),
        "key_holders": held_in_round(record, number),
    }


def _unclipped(closed: Mapping[str, Any] | None) -> float | None:
    """The noisy share of clients that were not clipped, which the next round's norm follows."""
    value = ((closed or {}).get("metrics") or {}).get("unclipped")
    return float(value) if isinstance(value, int | float) else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
