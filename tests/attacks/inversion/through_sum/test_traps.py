"""Trap weights read single examples out of sums; masks and ciphertexts do not stop them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from secagg_attacks.defences import Defence
from secagg_attacks.inversion.errors import InversionError
from secagg_attacks.inversion.through_sum.found import EXACT, nearest
from secagg_attacks.inversion.through_sum.traps import Trap, catch, expected_share, set_trap, thresholds
from secagg_attacks.models import mlp
from tests.attacks.inversion.through_sum.sums import (
    MEMBERS,
    SHAPE,
    federation,
    gradient_of,
    images,
    opened,
)

BINS = 64


def trapped(bins: int = BINS, seed: int = 0) -> Trap:
    return set_trap(mlp((64, 16, 10), 0), images()[0][MEMBERS:], bins, seed)


@pytest.mark.parametrize("kind", ["none", "masks", "bfv"])
def test_examples_alone_in_their_bin_are_read_exactly_whatever_protects_the_sum(kind: str) -> None:
    model = trapped()
    clients = federation(model, 8)
    (seen,) = opened(clients, kind)
    assert seen.mean is not None
    x = clients.examples_of()[0].numpy()
    alone = _alone(model, x)
    assert alone.sum() >= 5
    reached = nearest(x, catch(model, seen.mean, SHAPE).images)
    assert (reached >= EXACT).tolist() == alone.tolist()


def test_clipping_does_not_stop_a_trap_for_it_scales_a_clients_whole_update() -> None:
    model = trapped()
    clients = federation(model, 8)
    x = clients.examples_of()[0].numpy()
    alone = (gradient_of(model, *map(np.asarray, clients.examples_of(name))) for name in clients.names)
    norms = [np.sqrt(sum((part**2).sum() for part in gradient.values())) for gradient in alone]
    (seen,) = clients.observe(Defence("masks"), replace(clients.terms(), clip_norm=min(norms) / 4)).rounds
    assert seen.mean is not None
    reached = nearest(x, catch(model, seen.mean, SHAPE).images)
    assert (reached >= EXACT).tolist() == _alone(model, x).tolist()


def _alone(model: Trap, x: np.ndarray) -> np.ndarray:
    """Which examples have a bin to themselves, by the truth."""
    measured = x.reshape(len(x), -1) @ model.imprint.weight[0].detach().numpy()
    bins = np.searchsorted(-model.imprint.bias.detach().numpy(), measured)
    return np.array([(bins == each).sum() == 1 for each in bins])


def test_more_bins_find_more_and_as_many_as_chance_says() -> None:
    x, y = images()
    chosen = np.random.default_rng(1).permutation(MEMBERS)[:48]
    found = []
    for bins in (16, 128, 1024):
        model = trapped(bins)
        caught = catch(model, gradient_of(model, x[chosen], y[chosen]), SHAPE)
        share = float((nearest(x[chosen], caught.images) >= EXACT).mean())
        expected = expected_share(len(chosen), bins)
        # Four standard deviations of independent draws, and what the thresholds miss.
        assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / len(chosen)) + 0.05
        found.append(share)
    assert found[0] < found[1] < found[2]


def test_examples_in_one_bin_come_out_as_a_mean_of_them() -> None:
    x, y = images()
    model = trapped(2)
    measured = x[:200].reshape(200, -1) @ model.imprint.weight[0].detach().numpy()
    upper = np.flatnonzero(measured > float(-model.imprint.bias[1].detach()))[:2]
    caught = catch(model, gradient_of(model, x[upper], y[upper]), SHAPE)
    assert caught.bins.tolist() == [1]
    one, other, mixed = x[upper[0]].ravel(), x[upper[1]].ravel(), caught.images[0].ravel()
    share = (mixed - other) @ (one - other) / ((one - other) @ (one - other))
    np.testing.assert_allclose(mixed, share * one + (1 - share) * other, atol=1e-9)


def test_the_trap_hands_the_model_the_same_for_every_row() -> None:
    x, y = images()
    model = trapped()
    gradient = gradient_of(model, x[:1], y[:1])
    moved = gradient["imprint.bias"][gradient["imprint.bias"] != 0]
    np.testing.assert_allclose(moved, moved[0], rtol=1e-12)


def test_the_same_seed_sets_the_same_trap() -> None:
    one, same, other = trapped(seed=3), trapped(seed=3), trapped(seed=4)
    assert bool((one.imprint.weight == same.imprint.weight).all())
    assert not bool((one.imprint.weight == other.imprint.weight).all())


def test_thresholds_cut_what_was_measured_into_equal_parts() -> None:
    measured = np.random.default_rng(0).normal(size=1000)
    counts = np.bincount(np.searchsorted(thresholds(measured, 10), measured) - 1, minlength=10)
    assert counts.min() >= 99
    assert counts.max() <= 101


@pytest.mark.parametrize(
    ("bins", "measured", "code"),
    [(1, [0.0, 1.0], "trap-bins"), (4, [1.0, 1.0], "trap-public"), (4, [1.0], "trap-public")],
)
def test_a_trap_without_bins_or_without_spread_is_refused(
    bins: int, measured: list[float], code: str
) -> None:
    with pytest.raises(InversionError) as caught:
        thresholds(np.array(measured), bins)
    assert caught.value.code == code


def test_the_update_of_another_model_is_refused() -> None:
    with pytest.raises(InversionError) as caught:
        catch(trapped(), {"model.weight": np.ones((2, 2))}, SHAPE)
    assert caught.value.code == "gradient-names"
