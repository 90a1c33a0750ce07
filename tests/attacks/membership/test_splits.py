"""Complementary pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg_attacks.membership.errors import MembershipError
from secagg_attacks.membership.splits import complementary_pairs

_SIZES = (st.integers(1, 8).map(lambda pairs: 2 * pairs), st.integers(2, 50), st.integers(0, 2**31))


@given(*_SIZES)
def test_every_example_is_in_exactly_half_of_the_models_and_one_of_each_pair(models, examples, seed):
    found = complementary_pairs(models, examples, seed)
    assert found.shape == (models, examples)
    assert (found[::2] != found[1::2]).all()
    assert (found.sum(axis=0) == models // 2).all()


@given(*_SIZES)
def test_a_pair_shares_the_examples_evenly(models, examples, seed):
    sizes = complementary_pairs(models, examples, seed).sum(axis=1)
    assert set(sizes[::2]) == {examples // 2}
    assert set(sizes[1::2]) == {examples - examples // 2}


def test_pairs_are_drawn_apart_and_by_the_seed():
    found = complementary_pairs(2000, 20, seed=3)
    assert (found == complementary_pairs(2000, 20, seed=3)).all()
    assert (found != complementary_pairs(2000, 20, seed=4)).any()
    # Under a fair draw two examples are together in 9 of 19 firsts of a pair that have the one.
    firsts = found[::2].astype(float)
    together = (firsts.T @ firsts)[~np.eye(20, dtype=bool)] / 1000
    assert abs(together - 0.5 * 9 / 19).max() < 5 * (0.24 * 0.76 / 1000) ** 0.5


@pytest.mark.parametrize(
    ("models", "examples", "code"), [(3, 10, "models-odd"), (0, 10, "models-odd"), (4, 1, "too-few-examples")]
)
def test_what_cannot_be_paired_is_refused_by_name(models, examples, code):
    with pytest.raises(MembershipError) as refused:
        complementary_pairs(models, examples, seed=0)
    assert refused.value.code == code
