"""RMIA, held against its definition written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from secagg_attacks.membership.confidence import probability
from secagg_attacks.membership.errors import MembershipError
from secagg_attacks.membership.figures import tpr_at_fpr
from secagg_attacks.membership.rmia import ratios_offline, ratios_online, rmia
from secagg_attacks.statistics.roc import roc

_SOME = st.integers(-8, 8).map(lambda power: 2.0**power)
_GAMMAS = st.sampled_from([1.0, 2.0, 4.0])


@given(arrays(np.float64, (2, 7), elements=_SOME), arrays(np.float64, (2, 9), elements=_SOME), _GAMMAS)
def test_the_score_is_the_share_of_the_population_that_is_dominated(own, others, gamma):
    expected = [[np.mean(x / z >= gamma) for x in mine] for mine, z in zip(own, others, strict=True)]
    assert rmia(own, others, gamma=gamma).scores == pytest.approx(np.array(expected))


@given(
    arrays(np.float64, (2, 7), elements=_SOME),
    arrays(np.float64, (2, 5), elements=_SOME),
    arrays(np.int64, (2, 5), elements=st.integers(0, 4)).filter(lambda times: times.any(axis=1).all()),
)
def test_a_weight_is_how_often_one_of_the_population_is_there(own, others, times):
    weighted = rmia(own, others, times)
    for at in range(2):
        repeated = rmia(own[at], np.repeat(others[at], times[at]))
        assert weighted.scores[at] == pytest.approx(repeated.scores[0])
    assert weighted.finest_fpr == 10 / (times > 0).sum(axis=1).min()


def test_ratios_are_of_the_targets_probability_to_the_shadows_mean():
    shadows, targets = np.array([[3.0, -1], [0, 2], [1, 1], [-2, 0]]), np.array([[1.0, -1], [5, 0]])
    member = np.array([[True, False], [False, True], [False, False], [False, True]])
    p, q = probability(shadows), probability(targets)
    inside, outside = (
        np.array([p[0, 0], (p[1, 1] + p[3, 1]) / 2]),
        np.array([p[1:, 0].mean(), (p[0, 1] + p[2, 1]) / 2]),
    )
    assert ratios_online(targets, shadows, member) == pytest.approx(q / ((inside + outside) / 2))
    assert ratios_offline(targets, shadows, member, a=0.4) == pytest.approx(q / (0.7 * outside + 0.3))


def test_probabilities_of_zero_give_ratios_that_are_numbers():
    shadows, member = np.full((2, 1), -2000.0), np.array([[True], [False]])
    assert np.isfinite(ratios_online([[0.0]], shadows, member)).all()


def test_rates_below_ten_in_the_population_are_refused_by_name():
    generator = np.random.default_rng(0)
    member = np.arange(4000) % 2 == 0
    for size, allowed in ((9_999, False), (10_000, True)):
        found = rmia(generator.random((1, 4000)), generator.random((1, size)))
        curve = roc(found.scores, member[None])
        if allowed:
            assert 0 <= tpr_at_fpr(curve, 0.001, found.finest_fpr).tpr < 0.05
        else:
            with pytest.raises(MembershipError) as refused:
                tpr_at_fpr(curve, 0.001, found.finest_fpr)
            assert refused.value.code == "population-too-coarse"


@pytest.mark.parametrize(
    ("population", "weights", "gamma", "code"),
    [
        (np.ones((3, 5)), None, 1.0, "population-shape"),
        (np.ones((2, 5)), np.ones(4), 1.0, "population-shape"),
        (np.ones((2, 0)), None, 1.0, "population-empty"),
        (np.ones((2, 2)), np.array([[1.0, 0], [0, 0]]), 1.0, "population-empty"),
        (np.ones((2, 2)), np.array([1.0, -1]), 1.0, "population-empty"),
        (np.ones((2, 5)), None, 0.5, "gamma-invalid"),
    ],
)
def test_a_population_that_is_none_is_refused_by_name(population, weights, gamma, code):
    with pytest.raises(MembershipError) as refused:
        rmia(np.ones((2, 3)), population, weights, gamma)
    assert refused.value.code == code


@pytest.mark.parametrize("a", [-0.1, 1.1, float("nan")])
def test_an_a_out_of_range_is_refused_by_name(a):
    with pytest.raises(MembershipError) as refused:
        ratios_offline([[0.0]], np.zeros((2, 1)), np.array([[True], [False]]), a)
    assert refused.value.code == "a-invalid"
