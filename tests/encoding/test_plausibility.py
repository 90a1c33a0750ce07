"""A sum that no honest clients can have made is refused; every sum that they can make passes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.encoding.codec import Codec, Settings
from secagg.errors import EncodingError
from secagg.prg import Ring
from secagg.weights import Layout

MODEL = {"head": np.zeros(40, np.float32), "body": np.zeros((3, 7), np.float64)}
SETTINGS = Settings(
    5,
    clip_norm=1.0,
    precision=1e-3,
    groups=(("head", 0.25),),
    ranges=(("loss", 0.0, 10.0),),
    by_examples=True,
    max_examples=100,
)
CODEC = Codec(Layout.of(MODEL), SETTINGS)


def contribution(scale: float, examples: int, loss: float, seed: int) -> Ring:
    generator = np.random.default_rng(seed)
    arrays = {name: scale * generator.standard_normal(array.shape) for name, array in MODEL.items()}
    return CODEC.encode(
        arrays,
        base=None,
        num_examples=examples,
        metrics={"loss": loss},
        seed=generator.bytes(32),
    ).vector


def total(*vectors: Ring) -> Ring:
    return (np.sum(vectors, axis=0, dtype=np.uint64) & np.uint64((1 << CODEC.bits) - 1)).astype(
        vectors[0].dtype
    )


@given(
    scales=st.lists(st.sampled_from([0.0, 1e-9, 0.01, 1.0, 1e6]), min_size=1, max_size=5),
    examples=st.lists(st.sampled_from([0, 1, 2, 50, 100, 10_000]), min_size=5, max_size=5),
    losses=st.lists(st.floats(-1e9, 1e9), min_size=5, max_size=5),
    seed=st.integers(0, 2**32),
)
def test_every_sum_of_honest_contributions_is_plausible(
    scales: list[float], examples: list[int], losses: list[float], seed: int
) -> None:
    vectors = [
        contribution(scale, count, loss, seed + at)
        for at, (scale, count, loss) in enumerate(zip(scales, examples, losses, strict=False))
    ]
    decoded = CODEC.decode(total(*vectors))
    assert (decoded.mean is None) == (sum(examples[: len(scales)]) == 0)


def test_honest_contributions_that_all_point_the_same_way_at_full_length_are_plausible() -> None:
    vectors = [contribution(1e6, 100, 10.0, seed=1) for _ in range(5)]
    decoded = CODEC.decode(total(*vectors))
    assert decoded.mean is not None
    assert np.linalg.norm(decoded.mean["head"]) == pytest.approx(0.25, rel=1e-2)


@pytest.mark.parametrize("seed", range(20))
def test_one_vector_of_garbage_among_honest_ones_is_noticed(seed: int) -> None:
    generator = np.random.default_rng(seed)
    honest = [contribution(0.01, 50, 1.0, seed + at) for at in range(4)]
    garbage = generator.integers(0, 1 << CODEC.bits, CODEC.length, dtype=np.uint64).astype(honest[0].dtype)
    with pytest.raises(EncodingError, match="sum-implausible"):
        CODEC.decode(total(*honest, garbage))


def test_a_weight_that_cancels_the_others_does_not_blow_up_the_mean() -> None:
    honest = [contribution(1.0, 100, 1.0, seed) for seed in range(4)]
    crafted = np.zeros_like(honest[0])
    crafted[-1] = (1 << CODEC.bits) - 399
    with pytest.raises(EncodingError, match="sum-implausible"):
        CODEC.decode(total(*honest, crafted))


@pytest.mark.parametrize(
    ("where", "value"),
    [(-1, -1), (-1, 501), (-2, -1), (-2, 5000), (0, 3000), (60, 12000)],
    ids=["negative weight", "too much weight", "negative loss", "too much loss", "head", "body"],
)
def test_each_stretch_of_the_vector_has_its_bound(where: int, value: int) -> None:
    spoilt = contribution(0.0, 100, 0.0, seed=0).astype(np.int64)
    spoilt[where] = value
    with pytest.raises(EncodingError, match="sum-implausible"):
        CODEC.decode((spoilt & ((1 << CODEC.bits) - 1)).astype(np.uint32))
