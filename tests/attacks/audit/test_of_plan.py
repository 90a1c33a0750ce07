"""A plan's own noise audited by canaries in place of its clients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import secagg
from secagg.plan_settings import noise_multiplier_of
from secagg_attacks.audit import one_run_bound
from secagg_attacks.audit.bound import AuditError
from secagg_attacks.audit.canary_run import CanaryRun
from secagg_attacks.audit.of_plan import planned_audits, play_audit

MODEL = {"w": np.zeros((20, 40)), "b": np.zeros(3)}


CALIBRATED = {"unit": "client", "placement": "distributed", "epsilon": 8.0, "delta": 1e-5}
EXAMPLE = {"unit": "example", "epsilon": 8.0, "delta": 1e-5, "local_steps": 20}


def plan(clients: int = 40, **tables: Any) -> secagg.Plan:
    return secagg.Plan(
        **{
            "run": {"name": "audited", "rounds": 2},
            "cohort": {
                "max_clients": clients,
                "min_survivors": clients,
                "colluders": 0.0,
                "dropouts": 0.0,
            },
            "privacy": {
                "unit": "client",
                "placement": "distributed",
                "noise_multiplier": 0.4,
                "delta": 1e-5,
            },
            **tables,
        },
    )


def audited(given: secagg.Plan, seed: int = 0, weights: Any = MODEL) -> CanaryRun:
    (audit,) = planned_audits(given, weights, seed)
    return play_audit(audit, seed)


def test_every_client_of_the_plan_is_a_canary_and_the_bound_is_below_its_account() -> None:
    played = audited(plan())

    assert played.scores.shape == played.included.shape == (40,)
    assert played.account is not None
    assert played.account.delta == 1e-5
    assert played.scores[played.included].mean() > played.scores[~played.included].mean() + 0.1
    assert 0 < played.bound(one_run_bound).epsilon < played.account.server


def test_the_seed_decides_the_coins_and_the_scores() -> None:
    one, again, other = (audited(plan(12), seed) for seed in (1, 1, 2))

    assert one.included.tolist() == again.included.tolist()
    assert one.scores.tolist() == again.scores.tolist()
    assert one.included.tolist() != other.included.tolist()


def test_a_plan_without_noise_is_refused() -> None:
    with pytest.raises(AuditError) as refused:
        planned_audits(plan(privacy={"unit": "none"}), MODEL, seed=0)

    assert refused.value.code == "audit-unaccounted"


def test_the_noise_of_the_rounds_that_are_played_is_that_of_the_whole_run() -> None:
    """Calibrated anew for fewer rounds, it would be less."""
    asked = plan(privacy=CALIBRATED, run={"name": "long", "rounds": 400})

    (audit,) = planned_audits(asked, MODEL, seed=0)

    assert 1 < audit.plan.run.rounds < 400
    assert audit.about == f"40 canary clients, {audit.plan.run.rounds} of 400 rounds"
    assert noise_multiplier_of(audit.plan, 803) == noise_multiplier_of(asked, 803)


def test_metrics_are_left_out_and_the_noise_beside_them_stays() -> None:
    loss = {"loss": {"min": 0.0, "max": 4.0, "noise_multiplier": 20.0}}
    asked = plan(8, privacy=CALIBRATED, metrics=loss)

    (audit,) = planned_audits(asked, MODEL, seed=0)

    assert audit.plan.metrics == {}
    assert noise_multiplier_of(audit.plan, 803) == noise_multiplier_of(asked, 803)
    assert play_audit(audit, 0).account is not None


def test_of_a_large_model_some_arrays_are_played_with_the_noise_of_all() -> None:
    large = {**MODEL, "[z]": np.broadcast_to(np.float32(0), (1 << 22,))}

    (audit,) = planned_audits(plan(privacy=CALIBRATED), large, seed=0)

    assert audit.about.endswith(f"2 of 2 rounds, 803 of {803 + (1 << 22)} coordinates")
    assert noise_multiplier_of(audit.plan, 803) == noise_multiplier_of(
        plan(privacy=CALIBRATED), 803 + (1 << 22)
    )
    assert {part.name for part in audit.planted.layout.parts} == {"w", "b"}  # type: ignore[union-attr]


def test_clients_may_be_called_anything_in_the_plan_and_pause_between_its_rounds() -> None:
    cohort = {"max_clients": 8, "min_survivors": 6, "clients": ["hospital-*"]}
    played = audited(plan(cohort=cohort, run={"name": "slow", "rounds": 2, "interval": "1h"}))

    assert played.scores.shape == (8,)


def test_of_a_population_that_is_drawn_from_everyone_is_a_canary() -> None:
    cohort = {"max_clients": 10, "min_survivors": 3, "sampling": "poisson", "rate": 0.2, "population": 30}

    (audit,) = planned_audits(plan(cohort=cohort), MODEL, seed=0)

    assert audit.planted.included.shape == (30,)
    assert play_audit(audit, 0).scores.shape == (30,)


def test_noise_on_examples_is_audited_with_examples_whatever_the_model_is() -> None:
    encoding = {"group": [{"match": "b", "clip_norm": 0.5}]}
    asked = plan(2, privacy=EXAMPLE, encoding=encoding, training={"local": ["w"]})

    (audit,) = planned_audits(asked, MODEL, seed=0)
    played = play_audit(audit, 0)

    assert audit.about == "1000 canary examples of 2 clients, 2 of 2 rounds, 20 of 20 steps"
    assert played.account is not None
    assert (played.account.unit, played.account.server) == ("example", 8.0)
    assert 0 < played.bound(one_run_bound).epsilon < 8


def test_the_steps_of_many_rounds_are_taken_in_a_few() -> None:
    (audit,) = planned_audits(plan(2, privacy=EXAMPLE, run={"name": "r", "rounds": 30}), MODEL, seed=0)
    assert audit.about.endswith("4 of 30 rounds, 20 of 20 steps")

    once = {**EXAMPLE, "local_steps": 1}
    (audit,) = planned_audits(plan(2, privacy=once, run={"name": "r", "rounds": 30}), MODEL, seed=0)
    assert audit.about.endswith("1 of 30 rounds, 1 of 1 steps")


def test_each_of_two_kinds_of_noise_is_audited_without_the_other() -> None:
    both = {**CALIBRATED, "example": {name: EXAMPLE[name] for name in ("epsilon", "delta", "local_steps")}}

    of_clients, of_examples = planned_audits(plan(2, privacy=both), MODEL, seed=0)

    assert (of_clients.plan.privacy.unit, of_clients.plan.privacy.example) == ("client", None)
    assert (of_examples.plan.privacy.unit, of_examples.plan.privacy.noise_multiplier) == ("example", None)
    assert of_examples.plan.privacy.local == plan(2, privacy=EXAMPLE).privacy.local
