"""A server that hands out two models opens nothing under protection, and the victim's own update without."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import pytest
from torch import nn

from secagg_attacks.defences import Defence
from secagg_attacks.inversion.errors import InversionError
from secagg_attacks.inversion.through_sum.first_layer import first_layer
from secagg_attacks.inversion.through_sum.inconsistent import Lie, Opened, play, silenced, victims_input
from secagg_attacks.models import mlp
from tests.attacks.inversion.through_sum.sums import SHAPE, federation, gradient_of, images

VICTIM = "client-2"
MODEL = mlp((64, 32, 10), 0)
CLIENTS = federation(MODEL, 4)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Participants log that they revealed nothing."""
    caplog.set_level(logging.CRITICAL, "secagg")
    yield


def played(kind: str, lie: Lie, masks: bool = True, same: bool = False) -> Opened:
    plan = Defence(kind).plan(CLIENTS.terms())  # type: ignore[arg-type]
    model = CLIENTS.initial
    silent = model if same else silenced(MODEL, model, SHAPE)
    return play(plan, model, silent, CLIENTS.trains(), VICTIM, lie, masks=masks)


@pytest.mark.parametrize("kind", ["masks", "bfv", "ckks"])
@pytest.mark.parametrize(
    ("lie", "code"), [("one-context", "context-mismatch"), ("own-contexts", "member-signature")]
)
def test_two_models_open_nothing(kind: str, lie: Lie, code: str) -> None:
    ended = played(kind, lie)
    assert ended.blocked
    assert ended.code == code
    assert set(ended.refusals.values()) == {code}
    assert len(ended.refusals) == (3 if lie == "one-context" else 4)
    with pytest.raises(InversionError) as caught:
        victims_input(MODEL, ended, SHAPE)
    assert caught.value.code == "attack-blocked"


@pytest.mark.parametrize(("kind", "masks"), [("none", True), ("masks", False), ("bfv", False)])
def test_without_protection_the_sum_is_the_victims_own(kind: str, masks: bool) -> None:
    ended = played(kind, "own-contexts", masks)
    assert not ended.blocked
    truth = CLIENTS.examples_of(VICTIM)[0].numpy()[0]
    assert ((victims_input(MODEL, ended, SHAPE) - truth) ** 2).mean() < 1e-10


@pytest.mark.parametrize("kind", ["masks", "bfv"])
def test_it_is_the_two_models_that_are_refused_for_one_model_opens(kind: str) -> None:
    ended = played(kind, "one-context", same=True)
    assert not ended.blocked
    assert ended.refusals == {}
    with pytest.raises(InversionError) as caught:
        played(kind, "own-contexts", same=True)
    assert caught.value.code == "roster-accepted"


def test_a_silent_model_has_no_gradient_in_its_first_layer_whatever_the_data() -> None:
    x, y = images()
    dead = silenced(MODEL, CLIENTS.initial, SHAPE)
    model = mlp((64, 32, 10), 1)
    for name, parameter in model.named_parameters():
        parameter.data = parameter.data.new_tensor(dead[name])
    gradient = gradient_of(model, x[:50], y[:50])
    assert not gradient["1.weight"].any()
    assert not gradient["1.bias"].any()
    assert gradient["3.bias"].any()
    assert np.array_equal(dead["3.weight"], CLIENTS.initial["3.weight"])
    assert first_layer(MODEL, CLIENTS.initial, SHAPE).weight.any()


def test_a_layer_without_relu_cannot_be_silenced() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Sigmoid(), nn.Linear(16, 10)).double()
    weights = {name: part.detach().numpy() for name, part in model.named_parameters()}
    with pytest.raises(InversionError) as caught:
        silenced(model, weights, SHAPE)
    assert caught.value.code == "not-silenced"


def test_a_victim_whose_example_reached_no_row_is_refused_by_name() -> None:
    mean = {name: np.zeros_like(part) for name, part in CLIENTS.initial.items()}
    mean["3.bias"] = np.ones_like(mean["3.bias"])
    with pytest.raises(InversionError) as caught:
        victims_input(MODEL, Opened(mean, "", {}, "ab" * 32), SHAPE)
    assert caught.value.code == "gradient-zero"


def test_a_victim_that_is_no_client_is_refused() -> None:
    plan = Defence("none").plan(CLIENTS.terms())
    with pytest.raises(InversionError) as caught:
        play(plan, CLIENTS.initial, CLIENTS.initial, CLIENTS.trains(), "nobody")
    assert caught.value.code == "victim-unknown"
