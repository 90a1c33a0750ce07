"""Holm's correction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg_attacks.statistics.errors import StatisticsError
from secagg_attacks.statistics.holm import holm

_P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=30)


def test_a_worked_example():
    found = holm([0.01, 0.04, 0.03, 0.005], alpha=0.05)
    assert found.adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert found.rejected.tolist() == [True, False, False, True]


@given(_P_VALUES, st.floats(0.001, 0.5))
def test_it_rejects_what_stepping_down_rejects(p_values, alpha):
    rejected = set()
    for step, at in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if min(p_values[at] * (len(p_values) - step), 1.0) > alpha:
            break
        rejected.add(at)
    assert set(np.flatnonzero(holm(p_values, alpha).rejected)) == rejected


@given(_P_VALUES)
def test_adjusted_p_values_lie_between_the_given_ones_and_bonferronis(p_values):
    adjusted = holm(p_values).adjusted
    assert (adjusted >= p_values).all()
    assert (adjusted <= np.minimum(np.multiply(p_values, len(p_values)), 1)).all()


def test_true_hypotheses_are_rejected_together_no_more_often_than_alpha():
    generator = np.random.default_rng(0)
    runs = 4000
    wrong = sum(bool(holm(generator.random(20), alpha=0.05).rejected.any()) for _ in range(runs))
    assert 0.03 < wrong / runs < 0.05 + 4 * (0.05 * 0.95 / runs) ** 0.5


def test_shapes_are_kept_and_no_tests_reject_nothing():
    assert holm(np.full((2, 3), 1e-9)).rejected.shape == (2, 3)
    assert holm([]).rejected.shape == (0,)


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan")])
def test_what_is_no_p_value_is_refused_by_name(wrong):
    with pytest.raises(StatisticsError) as refused:
        holm([0.5, wrong])
    assert refused.value.code == "p-values-invalid"


@pytest.mark.parametrize("alpha", [0, 1, float("nan")])
def test_an_alpha_that_is_none_is_refused_by_name(alpha):
    with pytest.raises(StatisticsError) as refused:
        holm([0.5], alpha)
    assert refused.value.code == "alpha-invalid"
