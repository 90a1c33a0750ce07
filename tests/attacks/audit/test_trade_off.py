from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import secagg
from secagg_attacks.audit.trade_off import delta_of, epsilon_of, least_false_positives, separation


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 4.0, 8.0, 50.0])
def test_the_noise_of_a_plan_has_the_epsilon_that_it_was_calibrated_for(epsilon: float) -> None:
    noise_multiplier = secagg.calibrate_noise(epsilon, 1e-5, 1)
    exact = epsilon_of(1 / noise_multiplier, 1e-5)
    # Four digits of the noise multiplier, rounded to the safe side.
    assert epsilon * (1 - 3e-3) < exact <= epsilon * (1 + 1e-6)


@given(mu=st.floats(1e-3, 30), delta=st.floats(1e-12, 0.5))
def test_epsilon_and_delta_are_inverse(mu: float, delta: float) -> None:
    epsilon = epsilon_of(mu, delta)
    assert delta_of(mu, epsilon) <= delta * (1 + 1e-5)
    assert epsilon == 0 or delta_of(mu, epsilon) == pytest.approx(delta, rel=1e-5)


@pytest.mark.parametrize("mu", [0.0, -1.0, 1e-7])
def test_no_separation_is_no_epsilon(mu: float) -> None:
    assert epsilon_of(mu, 1e-5) == 0


@given(mu=st.floats(0, 6), false_positives=st.floats(0.001, 0.999))
def test_the_separation_of_a_point_on_the_curve_is_its_mu(mu: float, false_positives: float) -> None:
    true_positives = 1 - _false_negatives(mu, false_positives)
    again = least_false_positives(np.array([true_positives]), np.array([mu]))
    assert again[0] == pytest.approx(false_positives, rel=1e-3)
    shown = separation(np.array([false_positives]), np.array([_false_negatives(mu, false_positives)]))
    assert shown[0] == pytest.approx(mu, abs=1e-6)


def _false_negatives(mu: float, false_positives: float) -> float:
    """By its definition: the normal law's mass below the threshold that the others' rate puts."""
    threshold = NormalDist().inv_cdf(1 - false_positives)
    return NormalDist(mu).cdf(threshold)
