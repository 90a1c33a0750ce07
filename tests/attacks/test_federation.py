"""A federation deals a target's data once, and its clients train as they are told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import secagg
import secagg.torch
from secagg.errors import PrivacyError
from secagg_attacks.defences import NONE, defence
from secagg_attacks.federation import Federation
from secagg_attacks.local_training import LocalTraining
from secagg_attacks.target import Target, TargetError
from tests.attacks.digit_targets import MEMBERS, normalised, perceptron, target

TARGET = target()


def update_of(federation: Federation, client: int = 0, round: int = 1) -> secagg.Update:
    name = federation.names[client]
    task = secagg.Task(round, federation.rounds, federation.initial)
    return federation.trains()[name](task)


def gradient(of: Target, x: torch.Tensor, y: torch.Tensor) -> dict[str, np.ndarray]:
    model = of.fresh()
    of.loss(model(x), y).backward()
    return {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}


# -- the deal -----------------------------------------------------------------------------------------------


@given(clients=st.integers(2, 40), seed=st.integers(0, 2**31))
def test_every_member_is_dealt_to_one_client(clients: int, seed: int) -> None:
    shares = Federation(TARGET, clients, seed=seed).shares
    assert sorted(np.concatenate(list(shares.values()))) == list(range(MEMBERS))
    assert {len(share) for share in shares.values()} <= {MEMBERS // clients, MEMBERS // clients + 1}


def test_the_deal_follows_the_seed() -> None:
    deals = [
        np.concatenate(list(Federation(TARGET, 4, per_client=3, seed=seed).shares.values()))
        for seed in (1, 1, 2)
    ]
    assert (deals[0] == deals[1]).all()
    assert (deals[0] != deals[2]).any()
    assert len(set(deals[0])) == 12


def test_a_client_has_the_examples_that_its_share_says() -> None:
    federation = Federation(TARGET, 4, per_client=3)
    x, y = federation.examples_of("client-2")
    share = federation.shares["client-2"]
    assert torch.equal(x, TARGET.members[0][share])
    assert torch.equal(y, TARGET.members[1][share])
    assert len(federation.examples_of()[0]) == 12


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("federation-clients", {"clients": 1}),
        ("federation-clients", {"clients": 4, "rounds": 0}),
        ("federation-examples", {"clients": MEMBERS + 1}),
        ("federation-examples", {"clients": 4, "per_client": 26}),
        ("federation-examples", {"clients": 4, "per_client": 0}),
        ("target-fit", {"clients": 4, "local": LocalTraining(own_fit=True)}),
    ],
)
def test_a_federation_that_cannot_be_is_refused(code: str, how: dict[str, Any]) -> None:
    with pytest.raises(TargetError) as caught:
        Federation(TARGET, **how)
    assert caught.value.code == code


@pytest.mark.parametrize("how", [{"steps": 0}, {"batch": 0}, {"learning_rate": 0.0}, {"learning_rate": -1.0}])
def test_training_without_steps_examples_or_a_rate_is_refused(how: dict[str, Any]) -> None:
    with pytest.raises(TargetError) as caught:
        LocalTraining(**how)
    assert caught.value.code == "local-training"


# -- local training -----------------------------------------------------------------------------------------


def test_one_step_gives_the_gradient_to_the_bit() -> None:
    federation = Federation(TARGET, 4, per_client=3)
    update = update_of(federation, 1)
    assert update.delta is not None
    for name, of_it in gradient(TARGET, *federation.examples_of("client-1")).items():
        np.testing.assert_array_equal(update.delta[name], -of_it)


def test_one_step_at_another_rate_gives_as_much_of_it() -> None:
    federation = Federation(TARGET, 4, per_client=3, local=LocalTraining(learning_rate=0.25))
    update = update_of(federation, 1)
    assert update.delta is not None
    for name, of_it in gradient(TARGET, *federation.examples_of("client-1")).items():
        np.testing.assert_array_equal(update.delta[name], -0.25 * of_it)


def test_several_steps_are_those_of_plain_sgd() -> None:
    federation = Federation(TARGET, 4, local=LocalTraining(steps=7, learning_rate=0.1))
    update = update_of(federation)
    model, (x, y) = TARGET.fresh(), federation.examples_of("client-0")
    for _ in range(7):
        loss = TARGET.loss(model(x), y)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for parameter, step in zip(model.parameters(), gradients, strict=True):
                parameter -= 0.1 * step
    assert update.weights is not None
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(update.weights[name], parameter.detach().numpy(), rtol=1e-12, atol=1e-12)


def test_batches_are_drawn_by_seed_client_and_round() -> None:
    def moved(seed: int = 0, client: int = 0, round: int = 1) -> bytes:
        federation = Federation(TARGET, 4, seed=0, local=LocalTraining(batch=2))
        clients = Federation(TARGET, 4, seed=seed, local=LocalTraining(batch=2)).trains()
        task = secagg.Task(round, 2, federation.initial)
        delta = clients[federation.names[client]](task).delta
        assert delta is not None
        return b"".join(array.tobytes() for array in delta.values())

    assert moved() == moved()
    assert len({moved(), moved(seed=1), moved(client=1), moved(round=2)}) == 4


def test_dropout_is_drawn_by_the_seed_and_leaves_torchs_own_generator_alone() -> None:
    with_dropout = target(nn.Sequential(perceptron(), nn.Dropout(0.5)))
    before = torch.get_rng_state()
    first, second = (update_of(Federation(with_dropout, 4)).delta for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert first is not None
    assert second is not None
    assert all(np.array_equal(array, second[name]) for name, array in first.items())


def test_a_targets_own_fit_trains_in_place_of_sgd() -> None:
    seen = []

    def fit(x: torch.Tensor, y: torch.Tensor, seed: int) -> nn.Module:
        seen.append((len(x), seed))
        return perceptron(hidden=32)

    federation = Federation(target(fit=fit), 4, local=LocalTraining(own_fit=True))
    update = update_of(federation)
    assert update.weights is not None
    assert update.weights.keys() == federation.initial.keys()
    assert [count for count, _ in seen] == [25]


def test_every_client_fits_with_one_seed_that_rounds_and_runs_differ_in() -> None:
    seen: list[int] = []

    def fit(x: torch.Tensor, y: torch.Tensor, seed: int) -> nn.Module:
        seen.append(seed)
        return perceptron(hidden=32)

    def of(fit_seed: int, round: int) -> int:
        seen.clear()
        local = LocalTraining(own_fit=True, fit_seed=fit_seed)
        federation = Federation(target(fit=fit), 4, local=local)
        for train in federation.trains().values():
            train(secagg.Task(round, 2, federation.initial))
        assert len(seen) == 4
        (seed,) = set(seen)
        return seed

    assert len({of(0, 1), of(0, 2), of(1, 1)}) == 3


def test_weights_that_are_not_finite_stay_with_the_client_and_the_way_out_is_told() -> None:
    single = target(perceptron(dtype=torch.float32), learning_rate=1e30)
    how = LocalTraining(steps=5, learning_rate=single.learning_rate)
    with pytest.raises(TargetError, match="not finite") as caught:
        update_of(Federation(single, 4, local=how))
    assert caught.value.code == "target-diverged"
    assert "Target(learning_rate=...)" in str(caught.value.hint)

    def fit(x: torch.Tensor, y: torch.Tensor, seed: int) -> nn.Module:
        model = perceptron()
        nn.init.constant_(next(model.parameters()), float("nan"))
        return model

    with pytest.raises(TargetError, match="after the target's fit") as caught:
        update_of(Federation(target(fit=fit), 4, local=LocalTraining(own_fit=True)))
    assert caught.value.code == "target-diverged"


# -- buffers ------------------------------------------------------------------------------------------------


def test_known_statistics_travel_with_the_update_and_unknown_ones_stay() -> None:
    for buffers, travels in (("known", True), ("unknown", False)):
        federation = Federation(target(normalised(), buffers=buffers), 3, rounds=2)
        view = federation.observe(NONE)
        assert view.threat.buffers == buffers
        mean = view.rounds[0].mean
        assert mean is not None
        assert {name for name in mean if name.startswith("buffers.")} == (
            {"buffers.2.running_mean", "buffers.2.running_var"} if travels else set()
        )


def test_statistics_that_stay_are_those_of_the_clients_own_last_round() -> None:
    federation = Federation(target(normalised(), buffers="unknown"), 3)
    train = federation.trains()["client-0"]
    first, second = (train(secagg.Task(round, 2, federation.initial)).delta for round in (1, 2))
    assert first is not None
    assert second is not None
    moved = "buffers.2.running_mean"
    start = federation.initial[moved]
    np.testing.assert_allclose(second[moved] + start, 1.9 * (first[moved] + start), rtol=1e-5)


def test_batchnorm_is_refused_under_example_level_privacy() -> None:
    federation = Federation(target(normalised(), buffers="known"), 3)
    with pytest.raises(PrivacyError) as caught:
        federation.observe(defence("none-example-8"))
    assert caught.value.code == "private-module"


# -- whole runs ---------------------------------------------------------------------------------------------


def test_a_federation_learns() -> None:
    clean = target(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    view = Federation(clean, 4, rounds=30, local=LocalTraining(steps=4, learning_rate=0.5)).observe(NONE)
    model = clean.fresh()
    secagg.torch.load(model, dict(view.final))
    x, y = clean.members
    assert float((model(x).argmax(1) == y).double().mean()) > 0.8


@pytest.mark.parametrize("batch", [10, None], ids=["part of a pass", "three passes"])
def test_dp_sgd_goes_on_to_the_last_round_and_the_account_says_so(batch: int | None) -> None:
    how = LocalTraining(steps=3, batch=batch, learning_rate=0.1)
    federation = Federation(TARGET, 3, rounds=2, local=how)
    view = federation.observe(defence("masks-example-8"))
    (account,) = view.accounts
    assert (account.unit, account.server, account.delta) == ("example", 8.0, 1e-5)
    assert all(each.mean is not None for each in view.rounds)


def test_the_same_federation_under_another_defence_has_the_same_mean() -> None:
    federation = Federation(TARGET, 3, per_client=2)
    means = [federation.observe(defence(name)).rounds[0].mean for name in ("none", "masks", "bfv", "ckks")]
    for mean, rounding in zip(means, (1e-9, 1e-9, 1e-9, 1000 / 2**24), strict=True):
        assert mean is not None
        assert means[0] is not None
        for name, array in mean.items():
            np.testing.assert_allclose(array, means[0][name], rtol=0, atol=2 * rounding)


def test_the_terms_of_a_federation_are_its_own() -> None:
    federation = Federation(TARGET, 3, rounds=4, local=LocalTraining(steps=5), seed=9)
    terms = federation.terms()
    assert (terms.clients, terms.rounds, terms.local_steps, terms.seed) == (3, 4, 20, 9)
    assert repr(federation) == "Federation(Target('target', image, 100 members), 3 clients, 4 rounds)"
