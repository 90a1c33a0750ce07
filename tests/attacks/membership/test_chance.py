"""What would be so by chance: members drawn anew, whatever the scores are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from secagg_attacks.membership.chance import chance_p_value
from secagg_attacks.membership.errors import MembershipError
from secagg_attacks.statistics.roc import roc

MODELS, EACH, OTHERS = 12, 8, 200


def _owners(models=MODELS, each=EACH, others=OTHERS):
    return np.concatenate([np.repeat(np.arange(models), each), np.full(others, -1)])


def _pooled(scores, owner):
    """Mann and Whitney's test on every model's own members beside all non-members."""
    columns = np.stack([np.flatnonzero((owner == row) | (owner < 0)) for row in range(len(scores))])
    return roc(np.take_along_axis(scores, columns, axis=1), owner[columns] >= 0).chance_p_value


@pytest.mark.parametrize("shift", [-0.4, 0.0, 0.1, 0.4, 1.0])
def test_of_one_model_without_equal_scores_it_is_mann_and_whitneys(shift):
    scores = np.random.default_rng(3).normal(size=(1, 400))
    owner = np.where(np.arange(400) < 120, 0, -1)
    scores[0, :120] += shift
    # Far out the sum of ranks has lighter tails than the normal has.
    assert np.log(chance_p_value(scores, owner)) == pytest.approx(
        np.log(_pooled(scores, owner)), rel=0.15, abs=0.02
    )


@pytest.mark.parametrize(
    ("members", "others", "high", "pooled_wrong_by"),
    [(64, 400, 46, 100), (64, 400, 5, 1000), (64, 400, 418, 0.5), (10, 400, 41, 10**6)],
)
def test_of_two_values_it_is_fishers_within_a_factor(members, others, high, pooled_wrong_by):
    """Where Mann and Whitney's normal tail is wrong by orders of magnitude."""
    owner = _owners(1, members, others)
    expected = members * high / len(owner)
    wrong = 0.0
    for found in range(int(expected) + 1, min(members, high) + 1):
        scores = np.zeros((1, len(owner)))
        scores[0, :found] = scores[0, members : members + high - found] = 1
        exact = 2 * hypergeom.sf(found - 1, len(owner), high, members)
        if 1e-8 < exact < 0.05:
            assert exact / 4 < chance_p_value(scores, owner) < exact * 10
            wrong = max(wrong, exact / _pooled(scores, owner))
    assert wrong > pooled_wrong_by


@pytest.mark.parametrize("alike", [1.0, 0.5, 0.0])
def test_non_members_that_all_models_share_are_not_counted_as_more_than_they_are(alike):
    generator = np.random.default_rng(1)
    owner = _owners(others=40)
    found, pooled = [], []
    for _ in range(120):
        scores = alike * generator.normal(size=len(owner)) + (1 - alike) * generator.normal(
            size=(MODELS, len(owner))
        )
        found.append(chance_p_value(scores, owner))
        pooled.append(_pooled(scores, owner))
    # Of 120 true nulls, 6 are expected below .05, and 16 or more have a chance of one in two thousand.
    assert 1 <= np.sum(np.array(found) < 0.05) < 16
    if alike == 1:
        assert np.sum(np.array(pooled) < 0.05) > 16


def test_scores_of_models_on_scales_of_their_own_are_no_evidence():
    generator = np.random.default_rng(2)
    owner = _owners()
    scales = 10.0 ** np.arange(MODELS)[:, None]
    found = [chance_p_value(scales * generator.normal(size=(MODELS, len(owner))), owner) for _ in range(120)]
    assert 1 <= np.sum(np.array(found) < 0.05) < 16


def test_members_that_rank_above_are_found_in_every_model_and_in_few():
    owner = _owners()
    scores = np.random.default_rng(0).normal(size=(MODELS, len(owner)))
    assert chance_p_value(scores, owner) > 1e-3
    mine = owner == np.arange(MODELS)[:, None]
    assert chance_p_value(scores + mine, owner) < 1e-10
    assert chance_p_value(scores + 4 * (mine & (np.arange(MODELS)[:, None] < MODELS // 2)), owner) < 1e-6


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 5]), st.sampled_from([0.0, 0.7, 3.0]))
def test_it_is_two_sided_and_of_ranks_alone(seed, values, shift):
    generator = np.random.default_rng(seed)
    owner = _owners(3, 5, 40)
    scores = generator.integers(0, 4 * values, size=(3, len(owner))).astype(float)
    scores += shift * (owner == np.arange(3)[:, None])
    found = chance_p_value(scores, owner)
    assert 0 <= found <= 1
    assert chance_p_value(-scores, owner) == pytest.approx(found, rel=1e-6, abs=1e-300)
    assert chance_p_value(np.exp(scores / 10), owner) == pytest.approx(found, rel=1e-9)


def test_a_constant_and_a_score_of_all_members_at_the_top_have_a_p_value():
    owner = _owners(2, 10, 50)
    assert chance_p_value(np.zeros((2, len(owner))), owner) == 1
    highest = (owner == np.arange(2)[:, None]).astype(float)
    assert 0 < chance_p_value(highest, owner) < 1e-10
    # Nine in ten score high, and so do all ten members: that is no rare thing.
    many = np.tile((np.arange(len(owner)) % 10 > 0) | (owner >= 0), (2, 1)).astype(float)
    assert chance_p_value(many, owner) > 0.01


@pytest.mark.parametrize(
    ("scores", "owner"),
    [
        (np.zeros(4), np.array([0, 0, -1, -1])),
        (np.zeros((1, 3)), np.array([0, 0, -1, -1])),
        (np.full((1, 4), np.nan), np.array([0, 0, -1, -1])),
        (np.zeros((2, 4)), np.array([0, 0, -1, -1])),
        (np.zeros((1, 4)), np.array([0, 1, -1, -1])),
        (np.zeros((1, 4)), np.array([0, 0, 0, 0])),
    ],
    ids=["one row", "too short", "not numbers", "a model without members", "a model too many", "no others"],
)
def test_scores_that_are_of_nobody_are_refused_by_name(scores, owner):
    with pytest.raises(MembershipError) as refused:
        chance_p_value(scores, owner)
    assert refused.value.code == "scores-shape"


def test_of_few_non_members_and_equal_scores_it_is_no_less_than_what_is_drawn():
    generator = np.random.default_rng(5)
    owner = _owners(3, 64, 20)
    said = []
    for _ in range(300):
        scores = np.tile((generator.random(len(owner)) < 0.1).astype(float), (3, 1))
        said.append(chance_p_value(scores[:, generator.permutation(len(owner))], owner))
    assert np.mean(np.array(said) <= 0.001) <= 0.001 + 3 * np.sqrt(0.001 / 300)


def test_members_of_one_model_beside_those_of_the_others_need_no_non_members():
    generator = np.random.default_rng(2)
    owner = np.repeat(np.arange(6), 10)
    scores = generator.normal(size=(6, 60))
    assert chance_p_value(scores, owner) > 0.01
    known_to_all = scores + generator.normal(size=60) * 5
    assert chance_p_value(known_to_all, owner) > 0.01
    scores[owner, np.arange(60)] += 3
    assert chance_p_value(scores, owner) < 1e-6
    with pytest.raises(MembershipError, match="members"):
        chance_p_value(scores[:1], np.zeros(60, dtype=np.int64))
