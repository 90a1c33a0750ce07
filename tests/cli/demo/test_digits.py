"""Who gets which digits."""

import itertools
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.cli.demo.digits import CLASSES, MINIMUM, PIXELS, clients, digits, split
from secagg.errors import MissingExtraError, RunError

NAMES = tuple("abcde")


def test_images_are_scaled_to_zero_and_one() -> None:
    train = digits().train
    assert train.images.dtype == np.float32 and train.images.shape == (len(train), PIXELS)
    assert train.images.min() == 0 and train.images.max() == 1


def test_nobody_trains_on_the_test_set() -> None:
    held = digits()
    assert len(held.train) + len(held.test) == 1797
    train = {image.tobytes() for image in held.train.images}
    assert not any(image.tobytes() in train for image in held.test.images)


def test_the_test_set_holds_a_quarter_of_every_class() -> None:
    held = digits()
    tested = np.bincount(held.test.labels, minlength=CLASSES)
    everything = tested + np.bincount(held.train.labels, minlength=CLASSES)
    np.testing.assert_allclose(tested / everything, 0.25, atol=0.005)


def test_without_scikit_learn_the_error_prints_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtraError, match="scikit-learn") as caught:
        digits.__wrapped__()
    assert "pip install 'secagg[demo]'" in str(caught.value)


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 12),
    alpha=st.floats(1e-3, 1e6),
    minimum=st.integers(0, 25),
)
def test_every_example_goes_to_one_client_and_none_is_left_short(
    seed: int, count: int, alpha: float, minimum: int
) -> None:
    labels = np.arange(400) % CLASSES
    shares = split(labels, count, alpha, np.random.default_rng(seed), minimum)
    assert len(shares) == count and min(map(len, shares)) >= minimum
    np.testing.assert_array_equal(np.sort(np.concatenate(shares)), np.arange(400))


@pytest.mark.parametrize("seed", range(5))
def test_no_client_is_like_another(seed: int) -> None:
    shares = clients(NAMES, 0.3, seed)
    assert min(len(examples) for examples in shares.values()) >= MINIMUM
    portraits = [
        np.bincount(examples.labels, minlength=CLASSES) / len(examples) for examples in shares.values()
    ]
    distances = [np.abs(one - other).sum() / 2 for one, other in itertools.combinations(portraits, 2)]
    assert min(distances) > 0.2


def test_a_large_alpha_makes_clients_alike() -> None:
    labels = digits().train.labels
    shares = split(labels, 5, 1e4, np.random.default_rng(0))
    sizes = np.array([np.bincount(labels[share], minlength=CLASSES) for share in shares])
    assert np.ptp(sizes, axis=0).max() <= 8


def test_the_same_seed_gives_the_same_shares_and_another_seed_others() -> None:
    once, again, other = (clients(NAMES, 0.3, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(once[name].images, again[name].images) for name in NAMES)
    assert not all(np.array_equal(once[name].labels, other[name].labels) for name in NAMES)


def test_a_repr_does_not_say_how_many_examples_a_client_has() -> None:
    assert repr(clients(NAMES, 0.3, 0)["a"]) == "Examples()"


def test_more_clients_than_the_examples_reach_for_are_refused() -> None:
    with pytest.raises(RunError) as caught:
        split(np.zeros(50, dtype=np.int64), 6, 1.0, np.random.default_rng(0), minimum=10)
    assert caught.value.code == "split-impossible"


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf")])
def test_an_alpha_that_is_not_above_zero_is_refused(alpha: float) -> None:
    with pytest.raises(RunError) as caught:
        split(np.zeros(50, dtype=np.int64), 2, alpha, np.random.default_rng(0))
    assert caught.value.code == "split-alpha"
