"""Many networks as one tensor program, held against training each alone with torch's own layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from secagg_attacks.data.digits import CLASSES, PIXELS, digits
from secagg_attacks.membership.errors import MembershipError
from secagg_attacks.membership.mlps import Recipe, train_mlps
from secagg_attacks.membership.splits import complementary_pairs
from tests.attacks.membership.world import trained


def _some(examples):
    data = digits()
    return data.x[:examples], data.y[:examples]


def _alone(x, y, mine, start, recipe):
    """Logits of one network on all of x: the same first weights, torch's own layers, loss and optimizer."""
    layers = []
    for weight, bias in zip(*start, strict=True):
        linear = nn.Linear(*weight.shape)
        linear.weight.data, linear.bias.data = weight.T.clone(), bias[0].clone()
        layers += [linear, nn.ReLU() if recipe.activation == "relu" else nn.Tanh()]
    model = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.Adam(
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    rows = torch.from_numpy(np.flatnonzero(mine))
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
    for _ in range(recipe.epochs):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs[rows]), labels[rows]).backward()
        optimizer.step()
    with torch.no_grad():
        return model(inputs).numpy()


@pytest.mark.parametrize(
    ("hidden", "activation", "weight_decay"),
    [((12,), "relu", 0.0), ((), "relu", 0.01), ((7, 5), "tanh", 0.01)],
)
def test_a_network_among_others_learns_what_it_would_alone(hidden, activation, weight_decay):
    x, y = _some(61)
    # Pairs of 30 and 31 examples, and one model that has only 9: shorter ones are filled up, for nothing.
    is_member = np.vstack([complementary_pairs(4, 61, seed=0), np.arange(61) < 9])
    recipe = Recipe(hidden, activation, epochs=20, weight_decay=weight_decay)
    first = train_mlps(x, y, is_member, CLASSES, 5, Recipe(hidden, activation, epochs=0))
    together = train_mlps(x, y, is_member, CLASSES, 5, recipe).logits(x)
    for at, mine in enumerate(is_member):
        start = [weight[at] for weight in first.weights], [bias[at] for bias in first.biases]
        assert together[at] == pytest.approx(_alone(x, y, mine, start, recipe), abs=1e-3)


def test_first_weights_are_hes_and_differ_between_models():
    x, y = _some(20)
    networks = train_mlps(x, y, np.ones((30, 20), dtype=bool), CLASSES, 0, Recipe((40,), epochs=0))
    weight = networks.weights[0]
    assert weight.shape == (30, PIXELS, 40)
    assert float(weight.var()) == pytest.approx(2 / PIXELS, rel=0.05)
    assert float(weight.mean()) == pytest.approx(0, abs=0.01)
    assert len({float(first[0, 0]) for first in weight}) == 30
    assert not any(bias.any() for bias in networks.biases)


def test_the_seed_decides_and_inputs_are_asked_about_in_parts():
    x, y = _some(50)
    is_member = complementary_pairs(2, 50, seed=0)
    one, same, other = (
        train_mlps(x, y, is_member, CLASSES, seed, Recipe((8,), epochs=3)) for seed in (1, 1, 2)
    )
    assert (one.logits(x) == same.logits(x)).all()
    assert (one.logits(x) != other.logits(x)).any()
    assert one.logits(x, at_once=7) == pytest.approx(one.logits(x), abs=1e-5)


def test_every_epoch_is_told():
    x, y = _some(10)
    told = []
    train_mlps(
        x, y, np.ones((1, 10), dtype=bool), CLASSES, 0, Recipe((), epochs=3), lambda *step: told.append(step)
    )
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_networks_remember_what_they_were_trained_on():
    world = trained()
    right = world.logits.argmax(axis=-1) == world.y
    assert right[world.is_member].mean() > 0.9
    assert right[~world.is_member].mean() < 0.8


def test_a_model_without_examples_and_one_that_diverged_are_refused_by_name():
    x, y = _some(10)
    with pytest.raises(MembershipError) as refused:
        train_mlps(x, y, np.zeros((1, 10), dtype=bool), CLASSES, 0)
    assert refused.value.code == "model-without-examples"
    with pytest.raises(MembershipError) as refused:
        train_mlps(x, y, np.ones((1, 10), dtype=bool), CLASSES, 0, Recipe((4,), learning_rate=1e30, epochs=4))
    assert refused.value.code == "training-diverged"
