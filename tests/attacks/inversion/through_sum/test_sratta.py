"""SRATTA finds examples in sums of FedAvg updates, and groups them by client without a mistake."""

from __future__ import annotations

import numpy as np
import pytest

from secagg_attacks.inversion.errors import InversionError
from secagg_attacks.inversion.through_sum.first_layer import Mixture
from secagg_attacks.inversion.through_sum.found import EXACT, nearest
from secagg_attacks.inversion.through_sum.sratta import (
    Attributed,
    Observed,
    agreement,
    recover,
    sratta,
)
from secagg_attacks.local_training import LocalTraining
from secagg_attacks.models import mlp
from tests.attacks.inversion.through_sum.sums import SHAPE, federation, opened

INK = 16
WIDTHS = (64, 256, 10)


def attacked(kind: str, batch: int, levels: int | None = INK) -> tuple[Attributed, np.ndarray, np.ndarray]:
    """What was found in ten rounds of four clients; their examples; and whose each is."""
    model = mlp(WIDTHS, 0)
    local = LocalTraining(steps=5, batch=batch, learning_rate=0.5)
    clients = federation(model, 4, per_client=10, rounds=10, local=local)
    rounds = [Observed(seen.model, seen.mean) for seen in opened(clients, kind) if seen.mean is not None]
    assert len(rounds) == 10
    truth = np.concatenate([clients.examples_of(name)[0].numpy() for name in clients.names])
    return sratta(model, rounds, SHAPE, levels), truth, np.repeat(np.arange(4), 10)


def owners_of(found: Attributed, truth: np.ndarray, owners: np.ndarray) -> np.ndarray:
    apart = ((found.images[:, None] - truth[None]) ** 2).sum(axis=(2, 3, 4))
    return np.asarray(owners[apart.argmin(axis=1)])


@pytest.mark.parametrize("kind", ["none", "masks"])
def test_examples_of_every_client_come_out_of_the_sums_and_are_told_apart_by_client(kind: str) -> None:
    found, truth, owners = attacked(kind, batch=1)
    assert (nearest(found.images, truth) >= EXACT).all()
    assert (nearest(truth, found.images) >= EXACT).sum() == len(found.images) >= 25
    precision, recall = agreement(found.groups, owners_of(found, truth, owners))
    assert precision == 1.0
    assert recall > 0.5


def test_larger_batches_hide_more() -> None:
    few, many = attacked("none", batch=1)[0], attacked("none", batch=8)[0]
    assert 0 < len(many.images) < len(few.images)


def test_without_a_grid_repeated_quotients_are_the_examples() -> None:
    found, truth, _ = attacked("none", batch=1, levels=None)
    exact = nearest(found.images, truth) >= EXACT
    assert len(exact) >= 15
    assert exact.mean() >= 0.9


def test_a_mixture_is_no_example() -> None:
    one, other = np.array([1.0, 0.0, 0.5]), np.array([0.0, 0.25, 0.5])
    weight = np.stack([2 * one, one + 0.37 * other, -3 * other])
    update = Mixture(weight, np.array([2.0, 1.37, -3.0]))
    assert recover([update], 4, 1e-3).tolist() == [other.tolist(), one.tolist()]
    assert recover([update], None, 1e-3).shape == (0, 3)
    assert recover([update, update], None, 1e-3).shape == (3, 3)


def test_quotients_outside_of_the_range_of_inputs_are_no_examples() -> None:
    assert recover([Mixture(np.array([[2.0, -1.0]]), np.array([1.0]))], 1, 1e-3).shape == (0, 2)


def test_agreement_counts_pairs() -> None:
    assert agreement([0, 0, 2, 2], [7, 7, 7, 8]) == (0.5, 1 / 3)
    assert np.isnan(agreement([0, 1], [5, 6])).all()


def test_a_neuron_that_one_example_moved_before_another_came_ties_the_two_together() -> None:
    """Three examples; the second is inactive in the first neuron at the start and active in its update."""
    first, second, third = np.eye(4)[:3]
    weights = {
        "1.weight": np.array([[1.0, -1.0, -1.0, 0], [-1.0, 1, -1, 0], [-1, -1, 1.0, 0], [0, 0, 0, 0]]),
        "1.bias": np.zeros(4),
        "3.weight": np.ones((2, 4)),
        "3.bias": np.zeros(2),
    }
    moved = np.stack([0.7 * first + 0.3 * second, second, third, np.zeros(4)])
    update = {**weights, "1.weight": moved, "1.bias": np.array([1.0, 1.0, 1.0, 0.0])}
    found = sratta(mlp((4, 4, 2), 0), [Observed(weights, update)], (4,), 1)
    grouped = {
        int(image.argmax()): int(group) for image, group in zip(found.images, found.groups, strict=True)
    }
    assert grouped.keys() == {1, 2}  # the first is in no neuron alone
    alone = {**update, "1.weight": np.vstack([moved[:3], first]), "1.bias": np.ones(4)}
    found = sratta(mlp((4, 4, 2), 0), [Observed(weights, alone)], (4,), 1)
    grouped = {
        int(image.argmax()): int(group) for image, group in zip(found.images, found.groups, strict=True)
    }
    assert grouped[0] == grouped[1] != grouped[2]


def test_the_attack_refuses_what_it_cannot_use() -> None:
    with pytest.raises(InversionError) as caught:
        sratta(mlp(WIDTHS, 0), [], SHAPE)
    assert caught.value.code == "rounds-missing"
    with pytest.raises(InversionError) as caught:
        recover([Mixture(np.ones((1, 2)), np.ones(1))], 0, 1e-3)
    assert caught.value.code == "levels-invalid"
