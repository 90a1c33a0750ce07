"""Server optimisers: pure, exact to their papers, and a user's own is checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.aggregation import Aggregate, State, checked, fedavg, fedavgm
from secagg.errors import RunError
from secagg.weights import Array, Layout, Weights

WEIGHTS = {
    "w": np.array([[1.0, 2.0]], "f4"),
    "half": np.array([1.0], "f2"),
    "double": np.array([0.1, 0.2]),
    "scalar": np.array(3.0, "f4"),
    "steps": np.array([7]),
}
MEAN = {
    "w": np.array([[0.5, -1.0]], "f4"),
    "half": np.array([0.25], "f4"),
    "double": np.array([1e-9, 0.0]),
    "scalar": np.array(-1.0, "f4"),
}
METHODS = [fedavg(), fedavg(0.5), fedavgm(), fedavgm(0.5, 0.1)]


def copied(arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name: array.copy() for name, array in arrays.items()}


def test_fedavg_adds_the_mean_update() -> None:
    state, moved = fedavg()({}, WEIGHTS, MEAN)
    assert state == {}
    assert moved["w"].tolist() == [[1.5, 1.0]]
    assert moved["half"].tolist() == [1.25]
    assert moved["double"].tolist() == [0.1 + 1e-9, 0.2]
    assert moved["scalar"].tolist() == 2.0
    assert moved["steps"] is WEIGHTS["steps"]


def test_the_servers_learning_rate_scales_the_step() -> None:
    _, moved = fedavg(0.5)({}, WEIGHTS, MEAN)
    assert moved["w"].tolist() == [[1.25, 1.5]]


@given(
    st.lists(st.floats(-10, 10), min_size=1, max_size=6), st.floats(0, 1, exclude_max=True), st.floats(0, 2)
)
def test_fedavgm_is_momentum_over_the_mean_updates(
    updates: list[float], momentum: float, rate: float
) -> None:
    """Hsu, Qi and Brown 2019, 4.3: v <- beta v + mean; w <- w + rate v."""
    aggregate = fedavgm(momentum, rate)
    state: State = {}
    weights: Weights = {"w": np.array([1.0])}
    velocity, expected = 0.0, 1.0
    for update in updates:
        state, weights = aggregate(state, weights, {"w": np.array([update])})
        velocity = momentum * velocity + update
        expected += rate * velocity
    assert weights["w"][0] == pytest.approx(expected, abs=1e-9)
    assert state["w"][0] == pytest.approx(velocity, abs=1e-9)


@pytest.mark.parametrize("aggregate", METHODS)
def test_nothing_that_is_given_is_changed_and_every_array_keeps_shape_and_dtype(aggregate: Aggregate) -> None:
    weights, mean = copied(WEIGHTS), copied(MEAN)
    state, moved = aggregate({}, weights, mean)
    before = copied(state)
    again, moved = aggregate(state, moved, mean)
    for passed, original in ((weights, WEIGHTS), (mean, MEAN), (state, before)):
        assert all(np.array_equal(passed[name], array) for name, array in original.items())
    assert {name: (array.shape, array.dtype) for name, array in moved.items()} == {
        name: (array.shape, array.dtype) for name, array in WEIGHTS.items()
    }
    assert all(type(array) is np.ndarray for array in (*moved.values(), *again.values()))
    Layout.of(moved)  # a round later it is the global model


@pytest.mark.parametrize("aggregate", METHODS)
def test_the_same_input_gives_the_same_output(aggregate: Aggregate) -> None:
    one, other = (checked(aggregate)({}, copied(WEIGHTS), copied(MEAN)) for _ in range(2))
    for mine, theirs in zip(one, other, strict=True):
        assert all(np.array_equal(mine[name], theirs[name]) for name in mine)


def test_a_users_function_may_leave_a_numpy_scalar_where_an_array_was() -> None:
    """Adding arrays without dimensions makes one, and that is no mistake of the user's."""

    def aggregate(state: State, weights: Weights, mean: Mapping[str, Array]) -> tuple[State, Weights]:
        moved = {name: array + mean[name] if name in mean else array for name, array in weights.items()}
        return {"norm": np.float32(2)}, {  # type: ignore[dict-item]
            name: moved[name].astype(weights[name].dtype) for name in moved
        }

    state, moved = checked(aggregate)({}, WEIGHTS, MEAN)
    assert type(moved["scalar"]) is type(state["norm"]) is np.ndarray
    assert moved["scalar"].tolist() == 2.0


def _without(weights: Weights, name: str) -> Weights:
    return {key: array for key, array in weights.items() if key != name}


@pytest.mark.parametrize(
    "returns",
    [
        lambda state, weights, mean: None,
        lambda state, weights, mean: weights,
        lambda state, weights, mean: (weights,),
        lambda state, weights, mean: (None, weights),
        lambda state, weights, mean: (state, weights, mean),
        lambda state, weights, mean: (state, [*weights.values()]),
        lambda state, weights, mean: (state, _without(weights, "steps")),
        lambda state, weights, mean: (state, {**weights, "more": np.zeros(1)}),
        lambda state, weights, mean: (state, {**weights, "w": weights["w"].reshape(2)}),
        lambda state, weights, mean: (state, {**weights, "w": weights["w"].astype("f8")}),
        lambda state, weights, mean: (state, {**weights, "w": [[1.0, 2.0]]}),
        lambda state, weights, mean: ({"rounds": 3}, weights),
    ],
)
def test_a_users_function_that_returns_no_model_is_refused(returns: Callable[..., Any]) -> None:
    with pytest.raises(RunError) as refused:
        checked(returns)({}, WEIGHTS, MEAN)
    assert refused.value.code == "aggregate-invalid"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_model_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(RunError) as refused:
        checked(lambda state, weights, mean: (state, {**weights, "w": np.array([[value, 0]], "f4")}))(
            {}, WEIGHTS, MEAN
        )
    assert refused.value.code == "aggregate-not-finite"
