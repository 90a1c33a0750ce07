"""A plan's own noise audited by canaries in place of its clients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import secagg
from secagg_attacks.audit import one_run_bound
from secagg_attacks.audit.bound import AuditError
from secagg_attacks.audit.of_plan import audit_plan

MODEL = {"w": np.zeros((20, 40)), "b": np.zeros(3)}


def plan(clients: int = 40, **tables: Any) -> secagg.Plan:
    return secagg.Plan(
        run={"name": "audited", "rounds": 2},
        **{
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


def test_every_client_of_the_plan_is_a_canary_and_the_bound_is_below_its_account() -> None:
    played = audit_plan(plan(), MODEL, seed=0)

    assert played.scores.shape == played.included.shape == (40,)
    assert played.account is not None
    assert played.account.delta == 1e-5
    assert played.scores[played.included].mean() > played.scores[~played.included].mean() + 0.1
    assert 0 < played.bound(one_run_bound).epsilon < played.account.server


def test_the_seed_decides_the_coins_and_the_scores() -> None:
    one, again, other = (audit_plan(plan(), MODEL, seed) for seed in (1, 1, 2))

    assert one.included.tolist() == again.included.tolist()
    assert one.scores.tolist() == again.scores.tolist()
    assert one.included.tolist() != other.included.tolist()


@pytest.mark.parametrize(
    "privacy",
    [{"unit": "none"}, {"unit": "example", "epsilon": 8.0, "delta": 1e-5, "local_steps": 10}],
    ids=["none", "example"],
)
def test_a_plan_that_hides_no_clients_is_refused(privacy: dict[str, Any]) -> None:
    with pytest.raises(AuditError) as refused:
        audit_plan(plan(privacy=privacy), MODEL, seed=0)

    assert refused.value.code == "audit-unaccounted"
