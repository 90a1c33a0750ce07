"""Members are found in what a run shows without protection, and in sums; not in what is masked."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from secagg_attacks.defences import defence
from secagg_attacks.federation import Federation
from secagg_attacks.local_training import LocalTraining
from secagg_attacks.membership.errors import MembershipError
from secagg_attacks.membership.example_gradients import gradient_norms
from secagg_attacks.membership.federated import (
    FederatedScores,
    Observation,
    candidates,
    federated_scores,
    observed,
)
from secagg_attacks.membership.figures import figures
from secagg_attacks.statistics.holm import holm
from secagg_attacks.statistics.roc import Roc, roc
from secagg_attacks.views import View
from tests.attacks.digit_targets import normalised, perceptron, target

CLIENTS = 8
EACH = 5
RATE = 0.5
FEDERATION = Federation(
    target(), CLIENTS, rounds=3, per_client=EACH, local=LocalTraining(learning_rate=RATE), seed=3
)
PROTECTED = ("masks", "bfv", "ckks")
ALPHA = 1e-6
"""Masks and ciphertexts are drawn anew in each run; a right test must not fail one time in a thousand."""


@cache
def view(name: str) -> View:
    return FEDERATION.observe(defence(name))


def scores(name: str, client: str | None = None, rounds: slice = slice(None)) -> tuple[FederatedScores, Roc]:
    """And the curve of the cosine, over the rounds."""
    asked = candidates(FEDERATION, client)
    found = federated_scores(
        FEDERATION.target,
        observed(view(name), client)[rounds],
        (asked.x, asked.y),
        per_client=EACH,
        rate=RATE,
    )
    return found, roc(found.over_rounds("cosine"), asked.is_member)


# -- the scores ---------------------------------------------------------------------------------------------


def test_the_scores_are_those_of_each_examples_own_gradient() -> None:
    asked = candidates(FEDERATION, "client-0")
    seen = observed(view("none"), "client-0")[0]
    found = federated_scores(
        FEDERATION.target, [seen], (asked.x[:6], asked.y[:6]), per_client=EACH, rate=RATE
    )
    model = FEDERATION.target.fresh()
    names = [name for name, _ in model.named_parameters()]
    update = np.concatenate([seen.update[name].reshape(-1) for name in names])
    summed = -update * EACH / RATE
    for index in range(6):
        loss = nn.functional.cross_entropy(model(asked.x[index : index + 1]), asked.y[index : index + 1])
        parts = torch.autograd.grad(loss, list(model.parameters()))
        own = np.concatenate([part.numpy().reshape(-1) for part in parts])
        cosine = own @ summed / np.linalg.norm(own) / np.linalg.norm(summed)
        difference = summed @ summed - (summed - own) @ (summed - own)
        assert found.cosine[0, index] == pytest.approx(cosine, rel=1e-9)
        assert found.difference[0, index] == pytest.approx(difference, rel=1e-9)
        assert found.norm[0, index] == pytest.approx(-np.linalg.norm(own), rel=1e-9)


def test_scores_have_a_row_for_each_round_and_are_told_as_they_come() -> None:
    steps: list[tuple[int, int]] = []
    asked = candidates(FEDERATION)
    found = federated_scores(
        FEDERATION.target,
        observed(view("masks")),
        (asked.x, asked.y),
        per_client=EACH,
        rate=RATE,
        on_step=lambda done, most: steps.append((done, most)),
    )
    assert found.cosine.shape == found.difference.shape == found.norm.shape == (3, len(asked.x))
    np.testing.assert_allclose(found.over_rounds("norm"), found.norm.mean(axis=0))
    assert steps == [(1, 3), (2, 3), (3, 3)]


def test_a_model_that_vmap_cannot_take_is_gone_through_one_by_one() -> None:
    class Halting(nn.Module):
        """Its path depends on the data."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = perceptron()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.as_tensor(self.inner(x) if float(x.sum()) > -1 else self.inner(-x))

    asked, seen = candidates(FEDERATION, "client-0"), observed(view("none"), "client-0")[:1]
    renamed = [
        Observation(
            each.round,
            {f"inner.{name}": array for name, array in each.model.items()},
            {f"inner.{name}": array for name, array in each.update.items()},
            1,
        )
        for each in seen
    ]
    examples = (asked.x[:20], asked.y[:20])
    one_by_one = federated_scores(target(Halting()), renamed, examples, per_client=EACH)
    at_once = federated_scores(FEDERATION.target, seen, examples, per_client=EACH)
    np.testing.assert_allclose(one_by_one.cosine, at_once.cosine, rtol=1e-9)


def test_statistics_of_batchnorm_are_no_part_of_a_gradient() -> None:
    for buffers in ("known", "unknown"):
        federation = Federation(target(normalised(), buffers=buffers), 3, per_client=8)
        asked = candidates(federation, "client-1")
        seen = observed(federation.observe(defence("none")), "client-1")
        found = federated_scores(federation.target, seen, (asked.x, asked.y), per_client=8)
        assert np.isfinite(found.cosine).all()
        assert roc(found.over_rounds("cosine"), asked.is_member).auc > 0.7


def test_observations_of_one_model_and_of_several_score_as_each_does_alone() -> None:
    asked = candidates(FEDERATION)
    examples = (asked.x[:50], asked.y[:50])
    rounds = observed(view("none"), "client-0")
    several = [rounds[0], observed(view("none"), "client-1")[0], *rounds[1:], observed(view("none"))[0]]
    together = federated_scores(FEDERATION.target, several, examples, per_client=EACH, rate=RATE)
    for at, seen in enumerate(several):
        alone = federated_scores(FEDERATION.target, [seen], examples, per_client=EACH, rate=RATE)
        for name in ("cosine", "difference", "norm"):
            np.testing.assert_allclose(getattr(together, name)[at], getattr(alone, name)[0], rtol=1e-9)


def test_the_norm_is_that_of_the_gradient_under_any_weights() -> None:
    asked, seen = candidates(FEDERATION), observed(view("none"), "client-0")[1]
    examples = (asked.x[:50], asked.y[:50])
    found = gradient_norms(FEDERATION.target, seen.model, examples)
    scored = federated_scores(FEDERATION.target, [seen], examples, per_client=EACH)
    np.testing.assert_allclose(found, scored.norm[0], rtol=1e-12)
    wild = {name: np.full_like(array, np.nan) for name, array in seen.model.items()}
    assert (gradient_norms(FEDERATION.target, wild, examples) == -np.finfo(np.float64).max).all()


def test_an_update_of_zeros_tells_nothing() -> None:
    seen = observed(view("none"), "client-0")[0]
    nothing = Observation(1, seen.model, {name: 0 * array for name, array in seen.update.items()}, 1)
    asked = candidates(FEDERATION, "client-0")
    found = federated_scores(FEDERATION.target, [nothing], (asked.x, asked.y), per_client=EACH)
    assert not found.cosine.any()


# -- what they find -----------------------------------------------------------------------------------------


def pooled(name: str, rounds: slice = slice(None)) -> Roc:
    """Every client's upload, asked about its own examples and the non-members."""
    asked = [candidates(FEDERATION, client) for client in FEDERATION.names]
    found = [scores(name, client, rounds)[0].over_rounds("cosine") for client in FEDERATION.names]
    return roc(np.concatenate(found), np.concatenate([each.is_member for each in asked]))


def test_members_are_found_in_each_clients_unprotected_updates() -> None:
    assert pooled("none").auc > 0.9
    assert min(scores("none", client)[1].auc for client in FEDERATION.names) > 0.8


def test_the_same_attack_wins_without_protection_and_is_at_chance_under_each() -> None:
    """In the first round, whose model has seen nobody; all tests corrected together."""
    curves = [pooled(name, slice(1)) for name in ("none", *PROTECTED)]
    assert curves[0].auc > 0.9
    p_values = [curve.chance_p_value for curve in curves]
    assert holm(p_values, ALPHA).rejected.tolist() == [True, False, False, False]


@pytest.mark.parametrize("name", PROTECTED)
def test_the_sum_still_leaks_whatever_protects_the_uploads(name: str) -> None:
    in_the_sum, unprotected = scores(name)[1], scores("none")[1]
    assert in_the_sum.auc == pytest.approx(unprotected.auc, abs=0.01)
    assert in_the_sum.auc > 0.6
    assert in_the_sum.chance_p_value < 1e-3
    assert in_the_sum.auc < np.mean([scores("none", client)[1].auc for client in FEDERATION.names])


def test_noise_on_whole_updates_takes_the_sum_to_chance() -> None:
    assert scores("masks-client-1")[1].chance_p_value > 1e-3


def test_the_gradients_norm_knows_nothing_before_the_model_has_seen_anyone() -> None:
    asked = candidates(FEDERATION)
    found, _ = scores("masks")
    assert roc(found.norm[0], asked.is_member).chance_p_value > 1e-3


def test_the_gradients_norm_finds_members_of_an_overfitted_model_through_any_mask() -> None:
    federation = Federation(
        target(perceptron(hidden=64)),
        4,
        rounds=12,
        per_client=15,
        local=LocalTraining(steps=40, learning_rate=0.5),
    )
    asked = candidates(federation)
    seen = observed(federation.observe(defence("masks")))
    found = federated_scores(federation.target, seen[-1:], (asked.x, asked.y), per_client=15, rate=20)
    assert roc(found.over_rounds("norm"), asked.is_member).chance_p_value < 1e-3


# -- what is refused ----------------------------------------------------------------------------------------


def test_candidates_are_the_clients_examples_and_then_the_nonmembers() -> None:
    asked = candidates(FEDERATION, "client-3")
    assert asked.is_member.tolist() == [True] * EACH + [False] * 600
    assert torch.equal(asked.x[:EACH], FEDERATION.examples_of("client-3")[0])
    assert candidates(FEDERATION).is_member.sum() == CLIENTS * EACH


def test_too_few_nonmembers_are_refused() -> None:
    few = target(nonmember_xy=tuple(part[:9] for part in FEDERATION.target.nonmembers))
    with pytest.raises(MembershipError) as caught:
        candidates(Federation(few, 4))
    assert caught.value.code == "too-few-nonmembers"


def test_a_low_rate_of_false_alarms_is_refused_for_want_of_nonmembers() -> None:
    asked = candidates(FEDERATION)
    found = figures(scores("none")[0].over_rounds("cosine"), asked.is_member, seed=0)
    assert [(level, why.code) for level, why in found.refused] == [(0.001, "too-few-nonmembers")]


def test_a_client_that_uploaded_nothing_and_a_run_without_a_sum_are_refused() -> None:
    with pytest.raises(MembershipError, match="client-99") as caught:
        observed(view("none"), "client-99")
    assert caught.value.code == "nothing-observed"
    assert "client-0" in caught.value.hint
    with pytest.raises(MembershipError) as caught:
        federated_scores(FEDERATION.target, [], candidates(FEDERATION).x, per_client=1)  # type: ignore[arg-type]
    assert caught.value.code == "nothing-observed"
