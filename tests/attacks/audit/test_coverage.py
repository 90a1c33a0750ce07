"""At a known epsilon, no auditor reports more than it oftener than it may. The benchmark does 400 runs."""

from __future__ import annotations

import numpy as np
import pytest

from secagg.errors import SecaggError
from secagg_attacks.audit import AUDITORS, Bound, coverage
from secagg_attacks.audit.bound import Booleans, Floats
from secagg_attacks.audit.trade_off import epsilon_of

RUNS = 60


@pytest.mark.parametrize(
    ("epsilon", "medians"),
    [
        (0.0, {}),
        (1.0, {"clopper-pearson": 0.20, "one-run": 0.27, "gaussian": 0.56}),
        (4.0, {"clopper-pearson": 1.42, "one-run": 1.20, "gaussian": 3.41}),
    ],
)
def test_every_auditor_keeps_its_word_and_shows_as_much_as_is_expected(
    epsilon: float, medians: dict[str, float]
) -> None:
    found = {of.method: of for of in coverage(epsilon, 1e-5, runs=RUNS, seed=11)}
    assert found.keys() == AUDITORS.keys()
    for of in found.values():
        assert of.holds, of
        assert epsilon == 0 or 0 < of.median < of.truth, of
    for method, median in medians.items():
        assert found[method].median >= 0.9 * median, found[method]


def test_an_auditor_that_estimates_instead_of_bounding_is_found_out() -> None:
    """The plain difference of means is too high every other time."""

    def estimate(scores: Floats, included: Booleans, delta: float, *, confidence: float) -> Bound:
        mu = float(scores[included].mean() - scores[~included].mean())
        return Bound("estimate", epsilon_of(mu, delta), delta, confidence, len(scores), "gaussian-scores")

    (found,) = coverage(1.0, 1e-5, auditors={"estimate": estimate}, runs=RUNS)
    assert not found.holds
    assert 0.25 < found.over / found.runs < 0.75


def test_the_same_seed_gives_the_same_figures_and_another_does_not() -> None:
    chosen = {name: AUDITORS[name] for name in ("clopper-pearson", "gaussian")}
    one, again, other = (coverage(4.0, 1e-5, auditors=chosen, runs=5, seed=seed) for seed in (3, 3, 4))
    assert one == again != other


def test_progress_is_told_run_by_run() -> None:
    steps: list[tuple[int, int]] = []
    coverage(0.0, 1e-5, canaries=200, runs=4, on_step=lambda done, all_of: steps.append((done, all_of)))
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    ("epsilon", "settings", "code"),
    [
        (1.0, {"runs": 0}, "audit-runs"),
        (-1.0, {}, "epsilon-out-of-range"),
        (np.nan, {}, "epsilon-out-of-range"),
        (1.0, {"confidence": 1.0}, "audit-confidence"),
    ],
)
def test_a_coverage_of_nothing_is_refused(epsilon: float, settings: dict[str, float], code: str) -> None:
    with pytest.raises(SecaggError) as refused:
        coverage(epsilon, 1e-5, **settings)  # type: ignore[arg-type]
    assert refused.value.code == code
