from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from secagg_attacks.audit import AuditError, f_dp_bound, one_run_bound
from secagg_attacks.audit.bound import Scores
from secagg_attacks.audit.guesses import Guesses, guess
from tests.attacks.audit.canaries import Canaries, any_canaries, normal


def test_the_highest_are_guessed_in_and_the_lowest_out() -> None:
    scores = np.arange(20.0)
    included = np.isin(scores, [19, 18, 2, 7, 8, 10, 11, 12, 13, 14])
    six, all_of_them = guess(Scores(scores, included), (0.3, 1.0), seed=0)
    # In: 19 and 18 are, 17 is not. Out: 0 and 1 are, 2 is not.
    assert six == Guesses(canaries=20, made=6, correct=4)
    assert all_of_them == Guesses(canaries=20, made=20, correct=7 + 7)


def test_an_odd_number_of_guesses_has_one_more_in() -> None:
    scores = np.arange(20.0)
    three, all_in = guess(Scores(scores, scores > 17), (0.15, 1.0), seed=0)
    assert three == Guesses(20, 3, 3)
    assert all_in.made == 20


@given(canaries=any_canaries())
def test_scores_turned_over_make_of_every_right_guess_a_wrong_one(canaries: Canaries) -> None:
    scores, included = canaries
    distinct = scores + np.random.default_rng(0).permutation(len(scores)) / (2 * len(scores))
    for one, other in zip(
        guess(Scores(distinct, included), (0.5, 1.0), 0),
        guess(Scores(-distinct, included), (0.5, 1.0), 0),
        strict=True,
    ):
        if one.made % 2 == 0:
            assert one.correct + other.correct == one.made


def test_ties_are_broken_by_a_coin_and_not_by_the_order_in_which_canaries_come() -> None:
    sorted_by_truth = np.arange(2000) < 1000
    right = [guess(Scores(np.zeros(2000), sorted_by_truth), (1.0,), seed)[0].correct for seed in range(50)]
    assert 900 < min(right) < 1000 < max(right) < 1100


@pytest.mark.parametrize("audit", [one_run_bound, f_dp_bound])
@pytest.mark.parametrize("shares", [(), (0.0,), (0.5, 1.5), (np.nan,)])
def test_shares_that_are_none_are_refused(audit: type, shares: tuple[float, ...]) -> None:
    with pytest.raises(AuditError) as refused:
        audit(*normal(0, 100, 0), 1e-5, shares=shares)
    assert refused.value.code == "audit-shares"


@pytest.mark.parametrize("audit", [one_run_bound, f_dp_bound])
def test_members_in_the_majority_are_refused_as_no_fair_coins(audit: type) -> None:
    """To guess "in" of all would be right nine times in ten, with nothing told."""
    included = np.arange(1000) < 900
    with pytest.raises(AuditError, match="900 of 1000") as refused:
        audit(np.random.default_rng(0).random(1000), included, 1e-5)
    assert refused.value.code == "audit-coins"
