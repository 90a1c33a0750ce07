"""gRPC and simulation: the same weights to the last bit, from the same explicit randomness."""

from __future__ import annotations

import numpy as np
import pytest

import secagg
from tests.integration.arena import plan_for
from tests.integration.model import PRECISION, assert_same_bits, delta_of, initial_weights, name_of
from tests.integration.party import AGGREGATES, example_count, loss, rounding

CLIENTS = range(4)
NAMES = [name_of(index) for index in CLIENTS]


def simulated(plan, *, masks: bool, aggregate=None):
    """The same clients in one process."""

    def train_of(name: str):
        def train(task: secagg.Task) -> secagg.Update:
            arrays = {key: task.weights[key] + step for key, step in delta_of(name).items()}
            metrics = {"loss": loss(name), "seen": float(task.weights["who"].sum())}
            return secagg.Update(arrays, example_count(name), metrics)

        return train

    return secagg.simulate(
        initial_weights(),
        plan,
        {name: train_of(name) for name in NAMES},
        masks=masks,
        aggregate=aggregate,
        rounding=rounding,
    )


@pytest.mark.parametrize(
    ("changes", "aggregate"),
    [
        ({}, ""),
        (
            {
                "aggregation": {"method": "fedavgm", "weighting": "examples", "max_examples": 30},
                "metrics": {"loss": {"min": 0.0, "max": 2.0}, "seen": {"min": -10.0, "max": 10.0}},
            },
            "",
        ),
        ({}, "user"),
    ],
    ids=["fedavg", "fedavgm-by-examples-with-metrics", "a-users-own-aggregate"],
)
def test_grpc_and_simulation_with_masks_and_without_agree_to_the_last_bit(arena, changes, aggregate):
    plan = plan_for(clients=len(CLIENTS), rounds=3, **changes)
    orders = {"same_rounding": True, "measures": bool(changes), "evaluates": bool(changes)}
    server = arena.server(plan, aggregate=aggregate, evaluates=bool(changes))
    clients = arena.clients(CLIENTS, **orders)
    weights = server.weights()

    masked = simulated(plan, masks=True, aggregate=AGGREGATES.get(aggregate))
    unmasked = simulated(plan, masks=False, aggregate=AGGREGATES.get(aggregate))
    assert_same_bits(masked.weights, weights)
    assert_same_bits(unmasked.weights, weights)
    assert [r.metrics for r in masked.history] == [r["metrics"] for r in server.rounds]
    assert [r.metrics for r in unmasked.history] == [r["metrics"] for r in server.rounds]
    for client in clients:
        assert_same_bits(client.weights(), weights)

    if changes:
        check_by_hand(weights, server.rounds)


def check_by_hand(weights, rounds: list[dict]) -> None:
    """Momentum 0.9, example weights 10, 20, 30 and (capped) 30, metrics weighted as the update is."""
    counts = np.minimum([example_count(name) for name in NAMES], 30)
    steps = [delta_of(name)["who"] for name in NAMES]
    mean, velocity, who = np.average(steps, axis=0, weights=counts), 0.0, initial_weights()["who"]
    tolerance = {"rtol": 0, "atol": 20 * PRECISION}
    for report in rounds:
        assert report["metrics"]["loss"] == pytest.approx(
            np.average([loss(name) for name in NAMES], weights=counts), abs=1e-5
        )
        assert report["metrics"]["seen"] == pytest.approx(who.sum(), abs=1e-4)
        assert report["metrics"]["clipped_fraction"] == 0.0
        velocity = 0.9 * velocity + mean
        who = who + velocity
        assert report["evaluation"]["moved"] == pytest.approx(who.sum(), abs=1e-4)
    np.testing.assert_allclose(weights["who"], who, **tolerance)


def test_without_protection_the_sum_is_the_same_to_the_last_bit_and_a_default_floor_refuses_with_4(arena):
    """`kind = "none"`: only clients whose floor was lowered to it take part."""
    plan = plan_for(clients=len(CLIENTS), rounds=2, protection={"kind": "none"})
    server = arena.server(plan)
    careful = arena.client(len(CLIENTS))
    assert careful.exit_code() == 4
    assert "[floor-protection]" in careful.stderr
    assert not careful.said("training")

    arena.clients(CLIENTS, same_rounding=True, floor={"protections": ["none"]})
    weights = server.weights()
    assert_same_bits(simulated(plan, masks=False).weights, weights)
    hidden = plan_for(clients=len(CLIENTS), rounds=2)
    assert_same_bits(simulated(hidden, masks=True).weights, weights)
