"""The loss, the calibrated loss and a coin."""

from __future__ import annotations

import numpy as np
import pytest

from secagg_attacks.membership.errors import MembershipError
from secagg_attacks.membership.figures import figures
from secagg_attacks.membership.thresholds import calibrated_loss, coin, loss_threshold
from secagg_attacks.statistics.roc import roc
from tests.attacks.membership.world import trained


def test_the_loss_is_minus_the_log_of_the_probability():
    p = np.array([0.001, 0.5, 0.999])
    assert loss_threshold(np.log(p / (1 - p))) == pytest.approx(np.log(p))


def test_the_calibrated_loss_is_taken_off_the_mean_of_shadows_without_the_example():
    shadows = np.array([[0.0, 1.0], [2.0, -1.0], [3.0, 5.0]])
    is_member = np.array([[True, False], [False, True], [False, False]])
    losses = np.log1p(np.exp(-shadows))
    expected = [(losses[1, 0] + losses[2, 0]) / 2, (losses[0, 1] + losses[2, 1]) / 2]
    targets = np.array([[0.5, 0.5], [-4.0, 9.0]])
    found = calibrated_loss(targets, shadows, is_member)
    assert found == pytest.approx(expected - np.log1p(np.exp(-targets)))


def test_calibration_finds_members_that_the_loss_alone_does_not():
    world = trained()
    targets, member = world.targets
    plain = figures(loss_threshold(targets), member, seed=0)
    calibrated = figures(calibrated_loss(targets, *world.shadows), member, seed=0)
    assert calibrated.rates[1].tpr > plain.rates[1].tpr + 0.05
    assert calibrated.auc > plain.auc


def test_a_coin_is_thrown_by_its_seed_and_knows_nothing():
    member = np.arange(20_000).reshape(2, -1) % 2 == 0
    assert (coin((2, 10_000), seed=1) == coin((2, 10_000), seed=1)).all()
    assert abs(roc(coin((2, 10_000), seed=1), member).auc - 0.5) < 4 * (1 / (12 * 5000)) ** 0.5


def test_examples_that_all_shadows_saw_and_shapes_that_do_not_fit_are_refused_by_name():
    for targets, member, code in (
        ([0.0], [[True], [True]], "never-out"),
        ([0.0, 1.0], [[True], [False]], "targets-shape"),
        ([0.0], [[True, False]], "shadows-shape"),
    ):
        with pytest.raises(MembershipError) as refused:
            calibrated_loss(targets, np.zeros((2, 1)), np.array(member))
        assert refused.value.code == code
