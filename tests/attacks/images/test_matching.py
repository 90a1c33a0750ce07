"""The best assignment of reconstructions to originals, recovered labels, success rates."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg_attacks.images.errors import ImagesError
from secagg_attacks.images.matching import label_accuracy, match, success_rate
from secagg_attacks.images.measures import mse
from secagg_attacks.statistics.errors import StatisticsError


def images(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((n, 1, 4, 4))


@given(st.permutations(range(6)))
def test_a_shuffled_batch_is_put_back_in_order(order: list[int]) -> None:
    originals = images(6, seed=0)

    matched = match(originals, originals[order])

    assert [order[at] for at in matched.order] == list(range(6))
    assert matched.mse.tolist() == [0.0] * 6


@given(st.integers(0, 1000))
def test_no_other_assignment_has_a_smaller_error(seed: int) -> None:
    originals, guesses = images(4, seed), images(4, seed + 1)

    found = match(originals, guesses).mse.sum()

    least = min(mse(originals, guesses[list(order)]).sum() for order in permutations(range(4)))
    assert found == pytest.approx(least, rel=1e-12)


def test_measures_are_of_the_pairs_in_the_order_of_the_originals() -> None:
    originals = np.stack([np.zeros((1, 4, 4)), np.ones((1, 4, 4))])
    guesses = np.stack([np.full((1, 4, 4), 0.9), np.zeros((1, 4, 4))])

    matched = match(originals, guesses)

    assert matched.order.tolist() == [1, 0]
    assert matched.mse.tolist() == pytest.approx([0.0, 0.01])
    assert matched.psnr[1] == pytest.approx(20.0)


@pytest.mark.parametrize(
    ("labels", "recovered", "share"),
    [([1, 2, 3], [3, 1, 2], 1.0), ([1, 1, 2], [1, 2, 2], 2 / 3), ([0, 0], [1, 2], 0.0), ([5], [5], 1.0)],
)
def test_a_label_counts_once_for_each_time_it_is_there(
    labels: list[int], recovered: list[int], share: float
) -> None:
    assert label_accuracy(labels, recovered) == pytest.approx(share)


def test_labels_of_another_number_are_refused() -> None:
    with pytest.raises(ImagesError) as refused:
        label_accuracy([1, 2], [1])

    assert refused.value.code == "labels-shape"


def test_a_success_rate_comes_with_wilsons_interval() -> None:
    rate = success_rate([30.0] * 8 + [26.9, 20.0], least=27.0)

    assert (rate.successes, rate.n, rate.share) == (8, 10, 0.8)
    assert (rate.interval.low, rate.interval.high) == pytest.approx((0.490, 0.943), abs=1e-3)


def test_an_exact_reconstruction_is_a_success() -> None:
    assert success_rate([np.inf], least=27.0).successes == 1


def test_a_rate_of_no_images_is_refused() -> None:
    with pytest.raises(StatisticsError) as refused:
        success_rate([], least=27.0)

    assert refused.value.code == "counts-invalid"
