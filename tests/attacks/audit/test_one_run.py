from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg_attacks.audit import one_run_bound
from secagg_attacks.audit.guesses import Guesses
from secagg_attacks.audit.one_run import probability
from tests.attacks.audit.canaries import betrayed, randomised_response


@given(data=st.data(), odds=st.integers(1, 50), delta=st.sampled_from([0.0, 1e-5, 1e-2]))
def test_the_probability_is_the_theorems_in_exact_fractions(
    data: st.DataObject, odds: int, delta: float
) -> None:
    made = data.draw(st.integers(1, 40))
    correct = data.draw(st.integers(0, made))
    canaries = made + data.draw(st.integers(0, 40))
    q = Fraction(odds, odds + 1)
    mass = [comb(made, i) * q**i * (1 - q) ** (made - i) for i in range(made + 1)]
    tail = sum(mass[correct:], Fraction(0))
    extra = max((sum(mass[correct - i : correct]) / i for i in range(1, correct + 1)), default=Fraction(0))
    exact = min(1.0, float(tail + 2 * canaries * Fraction(delta) * extra))
    found = probability(Guesses(canaries, made, correct), float(np.log(odds)), delta)
    assert found == pytest.approx(exact, rel=1e-9, abs=1e-13)


@pytest.mark.parametrize(
    ("guesses", "epsilons"),
    [
        (Guesses(5000, 200, 150), (0.5, 1.0, 2.0, 4.0)),
        (Guesses(5000, 5000, 3400), (0.5, 0.7, 0.9)),
    ],
)
def test_the_probability_grows_with_epsilon_and_with_delta(
    guesses: Guesses, epsilons: tuple[float, ...]
) -> None:
    found = [probability(guesses, epsilon, 1e-5) for epsilon in epsilons]
    assert found == sorted(found)
    assert all(
        probability(guesses, epsilon, 0.0) <= more for epsilon, more in zip(epsilons, found, strict=True)
    )


def test_all_of_a_hundred_guesses_right_show_what_one_in_twenty_would_be() -> None:
    """(e^epsilon / (1 + e^epsilon))^100 = .05."""
    included = np.arange(100) % 2 == 0
    bound = one_run_bound(included.astype(float), included, 0.0, shares=(1.0,))
    q = 0.05 ** (1 / 100)
    assert bound.epsilon == pytest.approx(np.log(q / (1 - q)), abs=1e-5)


def test_of_randomised_response_it_shows_nearly_all_and_seldom_more() -> None:
    """The mechanism for which the theorem is tight: here one run in twenty reports too much."""
    shown = np.array(
        [
            one_run_bound(*randomised_response(1.0, 4000, seed), 1e-9, shares=(0.9,)).epsilon
            for seed in range(400)
        ]
    )
    assert 0.85 < np.median(shown) < 1.0
    allowed = 400 * 0.05 + 3 * np.sqrt(400 * 0.05 * 0.95)
    assert np.count_nonzero(shown > 1.0) <= allowed


def test_what_delta_allows_is_not_taken_for_epsilon() -> None:
    """One coin in twenty betrayed is (0, .05)-DP: nothing at delta = .05, a great deal at delta = 0."""
    shown = [one_run_bound(*betrayed(0.05, 2000, seed), 0.05).epsilon for seed in range(40)]
    assert max(shown) == 0
    assert one_run_bound(*betrayed(0.05, 2000, 0), 0.0).epsilon > 2
