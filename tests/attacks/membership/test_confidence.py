"""phi: the logit of the true class's probability."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax

from secagg_attacks.membership.confidence import bounded, cross_entropy, phi, probability
from secagg_attacks.membership.errors import MembershipError

_LOGITS = st.integers(2, 5).flatmap(lambda k: arrays(np.float64, (2, 3, k), elements=st.floats(-15, 15)))


@given(_LOGITS)
def test_it_is_the_logit_of_the_softmax(logits):
    labels = np.arange(3) % logits.shape[-1]
    p = np.take_along_axis(softmax(logits, axis=-1), np.broadcast_to(labels[:, None], (2, 3, 1)), -1)[..., 0]
    found = phi(logits, labels)
    others = 1 - p
    sure = others > 1e-6
    assert found[sure] == pytest.approx(np.log(p[sure] / others[sure]), abs=1e-7)
    assert probability(found) == pytest.approx(p)
    assert cross_entropy(found) == pytest.approx(-np.log(p), abs=1e-12)


@given(_LOGITS, st.floats(-1e6, 1e6))
def test_a_constant_added_to_all_logits_changes_next_to_nothing(logits, constant):
    labels = np.zeros(3, dtype=int)
    assert phi(logits + constant, labels) == pytest.approx(phi(logits, labels), abs=1e-8)


def test_what_is_no_logit_is_made_one_and_what_is_stays():
    wild = np.array([[np.nan, 1.0, 3e38], [np.inf, -np.inf, 0.0], [1e300, -1e300, 2.0]])
    found = bounded(wild)
    assert found.tolist() == [[0.0, 1.0, 3e38], [1e100, -1e100, 0.0], [1e100, -1e100, 2.0]]
    confidence = phi(found, [0, 1, 2])
    assert np.isfinite(confidence).all()
    assert np.isfinite(cross_entropy(confidence)).all()


def test_of_two_classes_it_is_the_difference_of_their_logits():
    logits = np.array([[3.0, -1.0], [800.0, -900.0]])
    assert phi(logits, [0, 0]).tolist() == [4.0, 1700.0]
    assert phi(logits, [1, 1]).tolist() == [-4.0, -1700.0]


def test_nothing_is_lost_where_a_probability_rounds_to_one_or_to_zero():
    found = phi([[100.0, 0.0, 0.0], [0.0, 1e4, 0.0], [-1e4, 0.0, 0.0]], [0, 1, 0])
    assert found == pytest.approx([100 - np.log(2), 1e4 - np.log(2), -1e4 - np.log(2)], abs=1e-11)
    assert cross_entropy(found[:1]) == pytest.approx(2 * np.exp(-100.0), rel=1e-9)
    assert probability(found).tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    "logits",
    [[1.0, 2.0], [[1.0], [2.0]], [[1.0, float("nan")], [0.0, 0.0]], [[1.0, float("inf")], [0.0, 0.0]]],
)
def test_logits_that_are_none_are_refused_by_name(logits):
    with pytest.raises(MembershipError) as refused:
        phi(logits, [0, 1])
    assert refused.value.code == "logits-invalid"


@pytest.mark.parametrize("labels", [[0], [[0], [1]], [0.0, 1.0], [0, 2], [-1, 0]])
def test_labels_that_are_none_are_refused_by_name(labels):
    with pytest.raises(MembershipError) as refused:
        phi([[1.0, 2.0], [0.0, 0.0]], labels)
    assert refused.value.code == "labels-invalid"
