"""Membership in a table: on what a client uploaded and on the sum, with any model, with the user's fit."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from secagg_attacks.data.tabular import breast_cancer
from secagg_attacks.defences import defence
from secagg_attacks.matrix.case import Case, Memory
from secagg_attacks.matrix.config import QUICK, Scale
from secagg_attacks.matrix.memberships import COLUMNS, WINS_AT
from secagg_attacks.matrix.memberships_asked import asked_about
from secagg_attacks.matrix.shadow_clients import shadows_of
from secagg_attacks.matrix.world import digits_world, world_of
from secagg_attacks.membership.errors import MembershipError
from secagg_attacks.target import Target
from tests.attacks.digit_targets import normalised, perceptron, target

BY_NAME = {each.name: each for each in COLUMNS}
UPLOADS = [each.name for each in COLUMNS if each.seen == "upload"]
SUMS = [each.name for each in COLUMNS if each.seen == "sum"]
SMALL = replace(QUICK, cohorts=2, candidates=200, deals=2)
TINY = Scale(
    images=1,
    steps=1,
    iterations=1,
    restarts=1,
    cohorts=2,
    clients=4,
    per_client=4,
    local_steps=6,
    candidates=60,
    deals=2,
)


def case(world, row="none", scale=TINY, memory=None, **changes):
    return Case(world, defence(row), "", scale, 0, memory or Memory(), **changes)


def measured(name, of):
    return BY_NAME[name].play(replace(of, attack=name))[0]


@cache
def on_digits(row, _memory=Memory()):  # noqa: B008 - what the rows of one table share
    """Every column, on the digits."""
    of = case(digits_world(0), row, SMALL, _memory)
    return {name: measured(name, of) for name in BY_NAME}


# -- what is won, and what is not ---------------------------------------------------------------------------


def test_every_attack_is_made_on_uploads_and_on_sums_under_one_method():
    methods = {each.name: each.method for each in COLUMNS}
    assert methods == {
        f"{method}-{seen}": method for method in methods.values() for seen in ("upload", "sum")
    }
    assert len(UPLOADS) == len(SUMS) == 9
    assert all(each.family == "membership" and each.quick and not each.stretches for each in COLUMNS)


@pytest.mark.parametrize("name", UPLOADS)
def test_every_attack_wins_on_an_unprotected_upload(name):
    found = on_digits("none")[name]
    assert found.wins
    assert found.low > WINS_AT - 0.02
    assert found.p_value < 1e-15


@pytest.mark.parametrize("name", UPLOADS)
def test_no_attack_finds_anything_in_a_masked_upload(name):
    # Masks are drawn anew each time: one run in a million may be below.
    assert on_digits("masks")[name].p_value > 1e-6
    assert not on_digits("masks")[name].wins


@pytest.mark.parametrize("name", SUMS)
def test_a_sum_says_the_same_whatever_protects_the_uploads(name):
    bare, masked = on_digits("none")[name], on_digits("masks")[name]
    assert masked.value == pytest.approx(bare.value, abs=2e-3)
    assert bare.value < on_digits("none")[name.replace("sum", "upload")].value


def test_the_sum_of_few_gradients_gives_its_members_away():
    assert on_digits("masks")["cosine-sum"].value > WINS_AT
    assert on_digits("masks")["difference-sum"].value > WINS_AT


def test_a_measurement_counts_every_member_once_and_rates_are_told_as_far_as_they_go():
    found = on_digits("none")["loss-upload"]
    assert found.n == 2 * 8 * 8
    assert {"TPR at 10 % FPR", "TPR at 0.1 % FPR", "balanced accuracy"} <= set(found.more)
    assert (
        on_digits("none")["lira-sum"].more["shadow models"]
        == on_digits("none")["lira-upload"].more["shadow models"] / 8
    )
    (refused,) = on_digits("none")["loss-sum"].notes
    assert "too-few-nonmembers" in refused


# -- who is asked about -------------------------------------------------------------------------------------


def test_no_example_is_a_member_twice():
    asked = asked_about(case(digits_world(0), scale=SMALL))
    x, y = asked.examples
    assert len(torch.unique(x.flatten(1), dim=0)) == len(x) == len(y) == 128 + 200
    assert np.bincount(asked.owners("upload") + 1).tolist() == [200, *[8] * 16]
    assert np.bincount(asked.owners("sum") + 1).tolist() == [200, 64, 64]


def test_every_example_is_in_some_shadow_sums_and_not_in_others():
    for members, others in ((40, 20), (47, 25), (37, 33)):
        data = target(
            train_xy=tuple(part[:members] for part in target().members),
            nonmember_xy=tuple(part[:others] for part in target().nonmembers),
        )
        of = case(world_of(data), scale=replace(TINY, deals=1))
        shadows = shadows_of(of, asked_about(of))
        for phi, is_member in (shadows.clients, shadows.sums):
            assert phi.shape == is_member.shape
            assert is_member.any(axis=0).all()
            assert not is_member.all(axis=0).any()


@pytest.mark.parametrize(
    ("which", "count", "code"),
    [("nonmember_xy", 19, "too-few-nonmembers"), ("train_xy", 19, "too-few-members")],
)
@pytest.mark.parametrize("name", ["loss-upload", "lira-sum", "cosine-sum"])
def test_too_few_examples_are_refused_by_name_before_anything_is_trained(which, count, code, name):
    given = target().nonmembers if which == "nonmember_xy" else target().members
    few = target(**{which: tuple(part[:count] for part in given)})
    of = case(world_of(few))
    with pytest.raises(MembershipError) as refused:
        measured(name, of)
    assert refused.value.code == code
    assert refused.value.hint
    assert not of.memory.views


def test_a_target_with_few_members_gives_each_client_fewer_and_says_so():
    few = target(train_xy=tuple(part[:24] for part in target().members))
    of = case(world_of(few))
    assert measured("loss-upload", of).n == 24
    assert "3 examples of each client, not 4" in measured("loss-upload", of).notes[0]


def test_a_model_that_has_seen_the_members_before_any_round_is_told_of():
    model = perceptron()
    x, y = target().members
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    for name in ("loss-upload", "cosine-sum"):
        (note,) = measured(name, case(world_of(target(model)), "masks-client-8")).notes[:1]
        assert "the model as given ranks members apart" in note
        assert not any("as given" in note for note in measured(name, case(world_of(target()))).notes)


def test_an_update_that_is_not_finite_is_told_with_the_way_out():
    wild = target(perceptron(dtype=torch.float32), learning_rate=1e30)
    with pytest.raises(Exception, match=r"not finite .*\n.*Target\(learning_rate=") as refused:
        measured("loss-upload", case(world_of(wild)))
    assert refused.value.code == "train-failed"


# -- models that cannot be trained side by side -------------------------------------------------------------


def forgetful():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Dropout(0.2), nn.ReLU(), nn.Linear(32, 10))


@pytest.mark.parametrize(
    ("model", "buffers"), [(forgetful, "none"), (normalised, "known"), (normalised, "unknown")]
)
def test_dropout_and_batchnorm_go_through_every_attack(model, buffers):
    memory = Memory()
    world = world_of(target(model(), buffers=buffers))
    for row in ("none", "masks"):
        of = case(world, row, memory=memory)
        found = [measured(name, of) for name in BY_NAME]
        assert all(each.status == "measured" and 0 <= each.value <= 1 for each in found)
        if row == "none":
            assert sum(each.value > 0.8 for each in found if each.attack in UPLOADS) >= 7


def test_shadows_side_by_side_are_those_that_train_one_by_one():
    class Watched(nn.Sequential):
        """Its path depends on the data, which `vmap` refuses."""

        def forward(self, x):
            return super().forward(x) if float(x.sum()) > -1 else x

    layers = list(perceptron().children())
    plain, watched = world_of(target(nn.Sequential(*layers))), world_of(target(Watched(*layers)))
    found = [shadows_of(case(world), asked_about(case(world))) for world in (plain, watched)]
    for one, other in zip((found[0].clients, found[0].sums), (found[1].clients, found[1].sums), strict=True):
        np.testing.assert_allclose(one[0], other[0], rtol=1e-8, atol=1e-10)
        np.testing.assert_array_equal(one[1], other[1])


def test_parameters_that_are_frozen_stay_as_they_are_in_shadows_too():
    model = perceptron()
    for parameter in model[1].parameters():
        parameter.requires_grad_(False)
    x, y = target().nonmembers
    world = world_of(target(model, loss=lambda logits, labels: nn.functional.cross_entropy(logits, labels)))
    of = case(world, scale=replace(TINY, local_steps=1))
    phi, is_member = shadows_of(of, asked_about(of)).clients
    asked, labels = asked_about(of).examples
    mine = torch.from_numpy(np.flatnonzero(is_member[0]))
    nn.functional.cross_entropy(model(asked[mine]), labels[mine]).backward()
    with torch.no_grad():
        for parameter in model[3].parameters():
            parameter -= 0.5 * parameter.grad
        logits = model(asked)
        own = logits[torch.arange(len(asked)), labels]
        others = logits.scatter(1, labels[:, None], -torch.inf).logsumexp(1)
    np.testing.assert_allclose(phi[0], (own - others).numpy(), rtol=1e-8, atol=1e-10)
    assert x.dtype == torch.float64 and y.dtype == torch.int64


# -- the user's own training --------------------------------------------------------------------------------

SEEDS = []


def tumours(fit=None):
    data = breast_cancer(flipped=0.2, seed=0)
    return Target(
        network(0), (data.x[:80], data.y[:80]), (data.x[80:160], data.y[80:160]), fit=fit, domain="tabular"
    )


def network(seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Linear(32, 2))


def fit(x, y, seed):
    SEEDS.append(seed)
    model = network(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(15):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model


@pytest.mark.parametrize("own", [fit, None], ids=["fit", "no fit"])
def test_a_table_of_ones_own_goes_through_every_attack_with_fit_and_without(own):
    SEEDS.clear()
    memory = Memory()
    of = case(world_of(tumours(own)), memory=memory)
    found = {name: measured(name, of) for name in BY_NAME}
    assert all(each.status == "measured" for each in found.values())
    assert found["cosine-upload"].value > WINS_AT
    assert found["loss-upload"].value > 0.7
    # Clients of all cohorts and their shadows begin from the same first weights.
    shadows = int(found["lira-upload"].more["shadow models"])
    assert len(SEEDS) == (0 if own is None else 2 * 4 + shadows)
    assert len(set(SEEDS)) <= 1


def test_under_dp_sgd_clients_and_their_shadows_train_by_plain_steps():
    SEEDS.clear()
    of = case(world_of(tumours(fit)), "masks-example-8")
    assert not asked_about(of).cohorts[0].local.own_fit
    assert measured("lira-offline-sum", of).status == "measured"
    assert SEEDS == []


def test_shadows_on_an_executor_are_those_of_this_process():
    world = world_of(tumours(fit))
    alone = case(world, scale=replace(TINY, deals=1))
    with ThreadPoolExecutor(1) as executor:
        beside = replace(alone, memory=Memory(executor=executor))
        found = [shadows_of(of, asked_about(of)) for of in (alone, beside)]
    np.testing.assert_allclose(found[0].clients[0], found[1].clients[0], rtol=1e-6)
    np.testing.assert_allclose(found[0].sums[0], found[1].sums[0], rtol=1e-6)


def test_a_fit_that_no_process_can_import_is_refused_before_any_is_started():
    world = world_of(tumours(lambda x, y, seed: network(seed)))
    with ProcessPoolExecutor(1) as executor, pytest.raises(MembershipError) as refused:
        of = case(world, memory=Memory(executor=executor))
        shadows_of(of, asked_about(of))
    assert refused.value.code == "fit-not-importable"


def test_time_ends_shadows_that_train_one_by_one():
    done = []

    def stop(step, most):
        done.append((step, most))
        if step == 3:
            raise TimeoutError

    of = case(world_of(tumours(fit)), on_step=stop)
    with pytest.raises(TimeoutError):
        shadows_of(of, asked_about(of))
    assert done == [(0, 48), (1, 48), (2, 48), (3, 48)]


def test_a_fit_that_fails_is_told():
    def broken(x, y, seed):
        raise ValueError("no beds left")

    of = case(world_of(tumours(broken)))
    with pytest.raises(MembershipError, match="no beds left") as refused:
        shadows_of(of, asked_about(of))
    assert refused.value.code == "shadow-failed"
