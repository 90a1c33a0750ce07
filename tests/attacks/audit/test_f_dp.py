from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.stats import norm

from secagg_attacks.audit import f_dp_bound, one_run_bound
from secagg_attacks.audit.f_dp import refuted
from secagg_attacks.audit.guesses import Guesses
from tests.attacks.audit.canaries import normal


def _most(guesses: Guesses, mu: float) -> float:
    """The greatest P[at least `correct` right] that the inequalities allow, by a linear program.

    Unknowns: p_0 .. p_made. 1 - f, which is concave, by its tangents.
    """
    made, canaries = guesses.made, guesses.canaries
    rows, limits = [], []
    for x in np.concatenate([np.geomspace(1e-6, 0.5, 600), np.linspace(0.5, 0.9999, 200)]):
        z = norm.ppf(x) + mu
        height, slope = norm.cdf(z), np.exp(norm.logpdf(z) - norm.logpdf(z - mu))
        for least in range(1, made + 1):
            row = np.zeros(made + 1)
            for right in range(least, made + 1):
                row[right] += right / canaries
                row[right - 1] -= slope * (made - right + 1) / canaries
            rows.append(row)
            limits.append(height - slope * x)
    goal = -(np.arange(made + 1) >= guesses.correct).astype(float)
    found = linprog(goal, A_ub=np.array(rows), b_ub=limits, A_eq=np.ones((1, made + 1)), b_eq=[1.0])
    return -float(found.fun)


@pytest.mark.parametrize(
    ("guesses", "mu"),
    [
        (Guesses(8, 8, 7), 0.3),
        (Guesses(8, 8, 8), 1.0),
        (Guesses(20, 6, 5), 0.5),
        (Guesses(12, 12, 10), 0.8),
    ],
)
def test_the_recursion_finds_what_a_linear_program_finds(guesses: Guesses, mu: float) -> None:
    most = _most(guesses, mu)
    assert 0 < most < 1
    assert refuted(guesses, np.array([mu]), most * 1.01)[0]
    assert not refuted(guesses, np.array([mu]), most * 0.99)[0]


@pytest.mark.parametrize(
    "guesses", [Guesses(5000, 200, 150), Guesses(5000, 5000, 3400), Guesses(100, 50, 50)]
)
def test_what_refutes_a_gaussian_refutes_every_better_one(guesses: Guesses) -> None:
    which = refuted(guesses, np.linspace(0.01, 5, 200), 0.05)
    assert which[0]
    assert not which[-1]
    assert np.count_nonzero(np.diff(which.astype(int))) == 1


def test_it_shows_more_than_the_same_guesses_do_against_all_mechanisms() -> None:
    for seed in range(5):
        canaries = normal(1.0, 4000, seed)
        assert f_dp_bound(*canaries, 1e-5).epsilon > one_run_bound(*canaries, 1e-5).epsilon > 1
