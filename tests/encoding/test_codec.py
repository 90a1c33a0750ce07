"""Clip, then weight: what a client sends, and what a sum of it decodes to."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.encoding.codec import CLIPPED_FRACTION, Decoded
from secagg.encoding.ring import word
from secagg.errors import EncodingError, UpdateError
from secagg.weights import Array
from tests.arrays import models
from tests.encoding.contributions import added, codec, encode, mean_of, whole

# -- clip, then weight --------------------------------------------------------------------------------


def test_an_update_is_clipped_before_it_is_weighted() -> None:
    """Weighting first would leave half of a norm-2 update unclipped: (1.2, 1.6) * 1/2 has norm 1."""
    model = {"w": np.array([1.2, 1.6])}
    coder = codec(model, by_examples=True, max_examples=100, precision=2.0**-40)
    encoded = encode(coder, model, num_examples=50)
    values = np.array(whole(coder, encoded)[:2]) / 2.0**40
    assert values == pytest.approx([0.3, 0.4])  # (0.6, 0.8), then half of it
    assert encoded.clipped


@given(models(limit=1e4), st.floats(0.01, 10.0))
def test_a_clipped_update_keeps_its_direction_and_has_the_norm_it_may_have(
    model: dict[str, Array], clip: float
) -> None:
    coder = codec(model, max_clients=1, clip_norm=clip, precision=2.0**-32)
    encoded = encode(coder, model)
    flat = np.concatenate([model[part.name].flatten().astype(float) for part in coder.layout.parts])
    norm = float(np.linalg.norm(flat))
    expected = flat * min(1.0, clip / norm) if norm else flat
    got = np.array(whole(coder, encoded)[: len(flat)]) / coder.settings.scale
    assert np.abs(got - expected).max() <= 2.0**-32 + 1e-12 * clip
    assert np.linalg.norm(got) <= clip + math.sqrt(len(flat)) * 2.0**-32
    assert encoded.clipped == (norm > clip)


def test_groups_are_clipped_each_to_its_own_norm_and_the_first_match_wins() -> None:
    model = {
        "head.a": np.array([30.0]),
        "head.b": np.array([40.0]),
        "head.c.bias": np.array([5.0]),
        "body": np.array([3.0, 4.0]),
        "x.bias": np.array([0.25]),
    }
    groups = (("*.bias", 0.5), ("head.*", 10.0))
    coder = codec(model, max_clients=1, clip_norm=1.0, groups=groups, precision=2.0**-30)
    decoded = mean_of(coder.decode(encode(coder, model).vector))
    assert decoded["head.a"].tolist() == pytest.approx([6.0])
    assert decoded["head.b"].tolist() == pytest.approx([8.0])
    bias = np.array([5.0, 0.25]) * 0.5 / math.hypot(5.0, 0.25)
    assert [decoded["head.c.bias"][0], decoded["x.bias"][0]] == pytest.approx(bias.tolist())
    assert decoded["body"].tolist() == pytest.approx([0.6, 0.8])
    assert coder.settings.clip_norm_of("head.c.bias") == (0, 0.5)
    assert coder.settings.clip_norm_of("body") == (-1, 1.0)


def test_an_update_within_its_norm_is_not_touched() -> None:
    model = {"w": np.array([0.6, 0.8])}
    coder = codec(model, precision=2.0**-40)
    assert not encode(coder, {"w": model["w"] * 0.999}).clipped
    assert not encode(coder, {"w": np.zeros(2)}).clipped
    assert encode(coder, {"w": model["w"] * 1.001}).clipped


@pytest.mark.parametrize(
    ("weights", "base"),
    [
        ([1e200, 0.0], None),
        ([1.7e308, 0.0], [-1.7e308, 0.0]),
        ([0.0, 0.0], [0.0, math.nan]),
        ([0.0, 0.0], [math.inf, 0.0]),
    ],
)
def test_numbers_whose_norm_is_not_finite_are_refused(weights: list[float], base: list[float] | None) -> None:
    model = {"w": np.array(weights)}
    coder = codec(model)
    with pytest.raises(UpdateError) as refused:
        encode(coder, model, base=None if base is None else {"w": np.array(base)})
    assert refused.value.code == "update-not-finite"


# -- example weights ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("examples", "weight", "capped"), [(0, 0, False), (1, 1, False), (100, 100, False)])
def test_an_example_weight_up_to_the_maximum_counts_as_it_is(
    examples: int, weight: int, capped: bool
) -> None:
    model = {"w": np.array([0.5])}
    coder = codec(model, by_examples=True, max_examples=100, precision=2.0**-30)
    encoded = encode(coder, model, num_examples=examples)
    assert whole(coder, encoded)[-1] == weight
    assert encoded.weight_capped == capped
    assert whole(coder, encoded)[0] == pytest.approx(0.5 * weight / 100 * 2**30, abs=1)


@pytest.mark.parametrize("examples", [101, 10**9, 10**30])
def test_an_example_weight_above_the_maximum_is_capped_and_said_so(examples: int) -> None:
    model = {"w": np.array([0.5])}
    coder = codec(model, by_examples=True, max_examples=100)
    encoded = encode(coder, model, num_examples=examples)
    assert np.array_equal(encoded.vector, encode(coder, model, num_examples=100).vector)
    assert encoded.weight_capped


def test_under_uniform_weighting_the_number_of_examples_does_not_exist() -> None:
    model = {"w": np.array([0.5])}
    coder = codec(model, max_examples=100)
    vectors = [encode(coder, model, num_examples=examples) for examples in (0, 1, 10**9)]
    assert all(np.array_equal(one.vector, vectors[0].vector) for one in vectors)
    assert not any(one.weight_capped for one in vectors)
    assert whole(coder, vectors[0])[-1] == 1


def test_a_client_without_examples_adds_nothing_to_any_coordinate() -> None:
    model = {"w": np.array([0.5, -3.0])}
    coder = codec(model, by_examples=True, max_examples=100, ranges=(("loss", -1.0, 1.0),))
    assert not encode(coder, model, num_examples=0, metrics={"loss": 0.7}).vector.any()


def test_a_sum_of_example_weights_of_zero_has_no_mean_and_no_metric() -> None:
    model = {"w": np.array([0.5])}
    coder = codec(model, by_examples=True, max_examples=100)
    decoded = coder.decode(added(coder, [encode(coder, model, num_examples=0)] * 3))
    assert decoded == Decoded(None, 0, {})


@given(
    st.lists(
        st.tuples(st.lists(st.floats(-2, 2), min_size=3, max_size=3), st.integers(0, 60)),
        min_size=1,
        max_size=10,
    ),
    st.booleans(),
)
def test_the_decoded_mean_is_the_weighted_mean_of_the_clipped_updates(
    clients: list[tuple[list[float], int]], by_examples: bool
) -> None:
    """Within a rounding step of each client."""
    precision = 2.0**-30
    coder = codec(
        {"w": np.zeros(3)}, clip_norm=1.5, by_examples=by_examples, max_examples=50, precision=precision
    )
    encoded = [
        encode(coder, {"w": np.array(update)}, num_examples=examples, seed=i)
        for i, (update, examples) in enumerate(clients)
    ]
    decoded = coder.decode(added(coder, encoded))
    weights = [min(examples, 50) if by_examples else 1 for _, examples in clients]
    assert decoded.example_weight == sum(weights)
    if not sum(weights):
        assert decoded.mean is None
        return
    clipped = [
        np.array(update) * min(1.0, 1.5 / max(float(np.linalg.norm(update)), 1e-300)) for update, _ in clients
    ]
    expected = sum(w * u for w, u in zip(weights, clipped, strict=True)) / sum(weights)
    step = precision * len(clients) * (50 if by_examples else 1) / sum(weights)
    assert np.abs(mean_of(decoded)["w"] - expected).max() <= step + 1e-12


# -- metrics ------------------------------------------------------------------------------------------

RANGES = (("loss", 0.0, 10.0), ("score", -1.0, 1.0))


def test_metrics_are_means_weighted_like_the_update() -> None:
    model = {"w": np.zeros(1)}
    coder = codec(model, by_examples=True, max_examples=100, ranges=RANGES, precision=2.0**-30)
    vectors = [
        encode(coder, model, num_examples=10, metrics={"loss": 1.0, "score": -0.5}),
        encode(coder, model, num_examples=30, metrics={"loss": 3.0, "score": 0.5}),
    ]
    decoded = coder.decode(added(coder, vectors))
    assert decoded.metrics == pytest.approx({"loss": 2.5, "score": 0.25, CLIPPED_FRACTION: 0.0}, abs=1e-6)


@given(
    st.lists(
        st.tuples(st.floats(-3, 12), st.floats(-2, 2), st.integers(0, 60), st.booleans()),
        min_size=1,
        max_size=10,
    ),
    st.booleans(),
)
def test_a_decoded_metric_is_the_weighted_mean_over_every_client(
    clients: list[tuple[float, float, int, bool]], by_examples: bool
) -> None:
    """Clamped to its range, and within a rounding step of each client; the clipped fraction likewise."""
    precision = 2.0**-30
    coder = codec(
        {"w": np.zeros(1)}, by_examples=by_examples, max_examples=50, ranges=RANGES, precision=precision
    )
    vectors = [
        encode(
            coder,
            {"w": np.array([5.0 if clipped else 0.5])},
            num_examples=examples,
            metrics={"loss": loss, "score": score},
            seed=i,
        )
        for i, (loss, score, examples, clipped) in enumerate(clients)
    ]
    decoded = coder.decode(added(coder, vectors))
    weights = np.array([min(examples, 50) if by_examples else 1 for _, _, examples, _ in clients])
    if not weights.any():
        assert decoded.metrics == {}
        return
    reported = np.array([(clipped, loss, score) for loss, score, _, clipped in clients], dtype=np.float64)
    low, high = np.array([[0.0, 0.0, -1.0], [1.0, 10.0, 1.0]])
    expected = weights @ np.clip(reported, low, high) / weights.sum()
    step = precision * len(clients) * coder.settings.max_weight / weights.sum() * (high - low)
    assert list(decoded.metrics) == [CLIPPED_FRACTION, "loss", "score"]
    assert (np.abs(np.array(list(decoded.metrics.values())) - expected) <= step + 1e-12).all()


@pytest.mark.parametrize("by_examples", [False, True])
@pytest.mark.parametrize(
    ("reported", "missing"),
    [
        ({}, "loss"),
        ({"score": 0.5}, "loss"),
        ({"loss": 4711.5}, "score"),
        ({"loss": 4711.5, "s": 1}, "score"),
    ],
    ids=str,
)
def test_a_declared_metric_that_is_not_reported_is_refused_by_name(
    reported: dict[str, float], missing: str, by_examples: bool
) -> None:
    """Even without examples: else whoever has none could be told from the rest by what it need not report."""
    model = {"w": np.zeros(1)}
    coder = codec(model, ranges=RANGES, by_examples=by_examples, max_examples=100)
    for examples in (0, 13):
        with pytest.raises(UpdateError) as refused:
            encode(coder, model, num_examples=examples, metrics=reported)
        assert refused.value.code == "update-metric-missing"
        assert f"'{missing}'" in str(refused.value)
        assert "every client reports every declared metric" in (refused.value.hint or "")
        assert not any(secret in str(refused.value) for secret in ("4711", "13"))


def test_a_metric_that_the_plan_does_not_declare_changes_nothing() -> None:
    model = {"w": np.zeros(1)}
    coder = codec(model, ranges=RANGES)
    declared = {"loss": 4.0, "score": 0.5}
    one = encode(coder, model, metrics=declared)
    other = encode(coder, model, metrics={"auc": 0.9, **declared})
    assert np.array_equal(one.vector, other.vector)


def test_one_clients_metric_and_examples_cannot_be_told_from_the_sum_of_many() -> None:
    """Three cohorts that differ in who measured what, with the same sums: the opened vector is the same."""
    model = {"w": np.zeros(1)}
    coder = codec(model, by_examples=True, max_examples=128, ranges=(("auc", 0.0, 1.0),), precision=2.0**-20)
    cohorts = [
        [(64, 1.0), (32, 0.5), (32, 0.25)],
        [(64, 0.625), (32, 0.75), (32, 0.75)],
        [(32, 0.75), (64, 0.75), (32, 0.5)],
    ]
    sums = [
        added(coder, [encode(coder, model, num_examples=w, metrics={"auc": v}, seed=i) for i, (w, v) in each])
        for each in (enumerate(cohort) for cohort in cohorts)
    ]
    assert len(sums[0]) == 1 + 2 + 1
    assert all(np.array_equal(one, sums[0]) for one in sums)
    assert coder.decode(sums[0]).metrics == {CLIPPED_FRACTION: 0.0, "auc": 0.6875}


@pytest.mark.parametrize(
    ("value", "clamped"), [(-5.0, 0.0), (0.0, 0.0), (10.0, 10.0), (10.1, 10.0), (1e300, 10.0), (-1e300, 0.0)]
)
def test_a_metric_outside_its_range_is_clamped(value: float, clamped: float) -> None:
    model = {"w": np.zeros(1)}
    coder = codec(model, max_clients=1, ranges=RANGES)
    decoded = coder.decode(encode(coder, model, metrics={"loss": value, "score": 0.0}).vector)
    assert decoded.metrics["loss"] == pytest.approx(clamped, abs=1e-5)


@pytest.mark.parametrize("bound", [1e300, 1.7e308])
@pytest.mark.parametrize("share", [-1.0, -0.5, 0.0, 0.25, 1.0])
def test_a_range_whose_width_is_not_finite_has_a_finite_mean(bound: float, share: float) -> None:
    model = {"w": np.zeros(1)}
    coder = codec(model, max_clients=1, ranges=(("loss", -bound, bound),), precision=2.0**-30)
    decoded = coder.decode(encode(coder, model, metrics={"loss": share * bound}).vector)
    assert decoded.metrics["loss"] / bound == pytest.approx(share, abs=1e-6)


def test_the_clipped_fraction_is_the_share_of_clients_that_were_clipped() -> None:
    small, large = {"w": np.array([0.1])}, {"w": np.array([10.0])}
    coder = codec(small)
    updates = (small, large, large, large)
    vectors = [
        encode(coder, model, metrics={CLIPPED_FRACTION: 0.5}, seed=i) for i, model in enumerate(updates)
    ]
    assert [one.clipped for one in vectors] == [False, True, True, True]
    assert coder.decode(added(coder, vectors)).metrics == {CLIPPED_FRACTION: 0.75}


# -- arrays of every kind -----------------------------------------------------------------------------


@given(models(limit=1.0))
def test_arrays_of_every_dtype_shape_and_order_come_back_as_the_mean(model: dict[str, Array]) -> None:
    coder = codec(model, max_clients=1, clip_norm=100.0, precision=2.0**-30)
    decoded = mean_of(coder.decode(encode(coder, model).vector))
    assert decoded.keys() == model.keys()
    for name, array in model.items():
        assert decoded[name].shape == array.shape
        assert decoded[name].dtype == ("f8" if array.dtype.itemsize == 8 else "f4")
        assert np.allclose(decoded[name], array.astype(float), rtol=1e-6, atol=2.0**-29)


@given(models(limit=1.0))
def test_new_weights_and_their_difference_are_the_same_update(model: dict[str, Array]) -> None:
    base = {name: np.ones_like(array) for name, array in model.items()}
    delta = {name: array.astype(float) - 1.0 for name, array in model.items()}
    coder = codec(model, clip_norm=3.0)
    assert np.array_equal(encode(coder, model, base=base).vector, encode(coder, delta).vector)


def test_what_is_encoded_is_not_changed() -> None:
    model = {"w": np.array([3.0, 4.0], "f4")}
    encode(codec(model), model, base={"w": np.ones(2, "f4")})
    assert model["w"].tolist() == [3.0, 4.0]


def test_integer_and_foreign_arrays_are_passed_over() -> None:
    model = {"w": np.array([0.5]), "steps": np.array([4711])}
    coder = codec(model)
    assert coder.length == 1 + 1 + 1
    assert np.array_equal(encode(coder, model).vector, encode(coder, {"w": model["w"]}).vector)


def test_a_large_model_is_the_same_in_blocks_as_coordinate_by_coordinate() -> None:
    values = np.random.default_rng(3).normal(size=70_001)
    model = {"w": values}
    coder = codec(model, max_clients=1, clip_norm=1e4, precision=2.0**-20)
    decoded = mean_of(coder.decode(encode(coder, model).vector))["w"]
    assert np.abs(decoded - values).max() <= 2.0**-20


@pytest.mark.parametrize("more", [-1, 1])
def test_a_sum_of_another_length_is_refused(more: int) -> None:
    coder = codec({"w": np.zeros(5)})
    with pytest.raises(EncodingError) as refused:
        coder.decode(np.zeros(coder.length + more, dtype=word(coder.bits)))
    assert refused.value.code == "vector-length"


def test_an_encoded_vector_shows_nothing_of_itself() -> None:
    encoded = encode(codec({"w": np.zeros(2)}), {"w": np.array([0.125, 0.25])})
    assert "0.125" not in repr(encoded)
    assert "vector" not in repr(encoded)
