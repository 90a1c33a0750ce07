"""Every attack wins where there is something to find, and is at chance where there is not; the same code."""

from __future__ import annotations

import numpy as np
import pytest

from secagg_attacks.data.digits import CLASSES
from secagg_attacks.membership.confidence import phi
from secagg_attacks.membership.figures import figures
from secagg_attacks.membership.lira import lira_offline, lira_online
from secagg_attacks.membership.rmia import ratios_offline, ratios_online, rmia
from secagg_attacks.membership.splits import complementary_pairs
from secagg_attacks.membership.thresholds import calibrated_loss, coin, loss_threshold
from secagg_attacks.statistics.holm import holm
from tests.attacks.membership.world import EXAMPLES, MODELS, TARGETS, trained

_SEEDS = range(6)


def _rmia(ratios, member):
    """Against the examples that the target was not trained on."""
    return rmia(ratios, ratios, (~member).astype(float)).scores


ATTACKS = {
    "loss": lambda targets, member, shadows, known: loss_threshold(targets),
    "calibrated loss": lambda targets, member, shadows, known: calibrated_loss(targets, shadows, known),
    "LiRA online": lambda targets, member, shadows, known: lira_online(targets, shadows, known),
    "LiRA online, 8 shadows": lambda targets, member, shadows, known: lira_online(
        targets, shadows[:8], known[:8]
    ),
    "LiRA online, own variance": lambda targets, member, shadows, known: lira_online(
        targets, shadows, known, "example"
    ),
    "LiRA offline": lambda targets, member, shadows, known: lira_offline(targets, shadows, known),
    "RMIA online": lambda targets, member, shadows, known: _rmia(
        ratios_online(targets, shadows, known), member
    ),
    "RMIA offline": lambda targets, member, shadows, known: _rmia(
        ratios_offline(targets, shadows, known), member
    ),
}

# AUC, and TPR at 1 %, that each reaches on the small world; the known figures of the large one
# are in benchmarks/attacks_membership.py.
REACHED = {
    "loss": (0.65, 0.0),
    "calibrated loss": (0.67, 0.12),
    "LiRA online": (0.79, 0.18),
    "LiRA online, 8 shadows": (0.78, 0.17),
    "LiRA online, own variance": (0.78, 0.15),
    "LiRA offline": (0.71, 0.14),
    "RMIA online": (0.80, 0.17),
    "RMIA offline": (0.79, 0.16),
}


def _knows_nothing(seed):
    """Random logits: whatever trained on, every model says something else of every example."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 3, size=(MODELS, EXAMPLES, CLASSES))
    confidence = phi(logits, generator.integers(CLASSES, size=EXAMPLES))
    member = complementary_pairs(MODELS, EXAMPLES, seed)
    return confidence[-TARGETS:], member[-TARGETS:], confidence[:-TARGETS], member[:-TARGETS]


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_wins_on_networks_that_remember(attack):
    world = trained()
    targets, member = world.targets
    found = figures(ATTACKS[attack](targets, member, *world.shadows), member, seed=0)
    auc, tpr = REACHED[attack]
    assert found.auc > auc
    assert found.auc_interval.low > 0.5
    assert found.rates[1].tpr >= tpr
    assert holm([found.chance_p_value]).rejected.all()


def test_no_attack_finds_anything_in_random_logits():
    names, found = [], []
    for seed in _SEEDS:
        targets, member, *shadows = _knows_nothing(seed)
        scored = {name: attack(targets, member, *shadows) for name, attack in ATTACKS.items()}
        scored["coin"] = coin(targets.shape, seed)
        names += [(seed, name) for name in scored]
        found += [figures(score, member, seed) for score in scored.values()]
    tests = holm([one.chance_p_value for one in found])
    assert [name for name, rejected in zip(names, tests.rejected, strict=True) if rejected] == []
    covers = [one.auc_interval.low <= 0.5 <= one.auc_interval.high for one in found]
    assert np.mean(covers) > 0.75
    # 1 % of 2 400 members are 24; more than 60 of them have a chance of 10^-9.
    assert max(one.rates[1].tpr for one in found) < 60 / 2400
