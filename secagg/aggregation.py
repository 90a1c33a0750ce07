"""Server optimisers: `(state, weights, mean_update) -> (state, weights)`, pure.

Each is a function that makes such a function. `state` is a dict of named arrays (empty before the first
round) and is checkpointed with the weights; `weights` are all arrays of the model; `mean_update` holds the
aggregated ones only, as the weighted mean of the clients' clipped deltas. Nothing given is changed.

FedAvg: McMahan et al. 2017 (arXiv 1602.05629), algorithm 1. FedAvgM: Hsu, Qi, Brown 2019 (arXiv 1909.06335),
section 4.3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from secagg.errors import RunError
from secagg.weights import Array, Weights

__all__ = ["Aggregate", "State", "checked", "fedavg", "fedavgm"]

State = dict[str, Array]
Aggregate = Callable[[State, Weights, Mapping[str, Array]], tuple[State, Weights]]


def _step(weights: Weights, direction: Mapping[str, Array], rate: float) -> Weights:
    """weights + rate * direction, each array in its own dtype; arrays without a direction stay."""
    moved = dict(weights)
    for name, update in direction.items():
        # In place on one new array: a model of hundreds of megabytes has no third copy.
        # (NumPy makes a scalar of an operation on arrays without dimensions; the weights stay arrays.)
        step = np.asarray(np.multiply(update, rate, dtype=np.result_type(update, np.float32)))
        step += weights[name]
        moved[name] = step.astype(weights[name].dtype, copy=False)
    return moved


def fedavg(learning_rate: float = 1.0) -> Aggregate:
    """The mean update, times the server's learning rate, is added."""

    def aggregate(state: State, weights: Weights, mean_update: Mapping[str, Array]) -> tuple[State, Weights]:
        return state, _step(weights, mean_update, learning_rate)

    return aggregate


def fedavgm(momentum: float = 0.9, learning_rate: float = 1.0) -> Aggregate:
    """velocity <- momentum * velocity + mean update; the velocity, times the learning rate, is added."""

    def aggregate(state: State, weights: Weights, mean_update: Mapping[str, Array]) -> tuple[State, Weights]:
        velocity = {
            name: np.asarray(update + momentum * state[name]) if name in state else update
            for name, update in mean_update.items()
        }
        return velocity, _step(weights, velocity, learning_rate)

    return aggregate


def _with_arrays(values: Weights) -> Weights:
    """What NumPy made a scalar of, an array again."""
    return {name: np.asarray(one) if isinstance(one, np.generic) else one for name, one in values.items()}


def checked(aggregate: Aggregate) -> Aggregate:
    """`aggregate`, with what it returns checked: the same names, shapes and dtypes, and finite numbers.

    Raises RunError `aggregate-invalid`.
    """

    def checking(state: State, weights: Weights, mean_update: Mapping[str, Array]) -> tuple[State, Weights]:
        returned = aggregate(state, weights, mean_update)
        try:
            new_state, moved = map(_with_arrays, returned)
            same = moved.keys() == weights.keys() and all(
                moved[name].shape == old.shape and moved[name].dtype == old.dtype
                for name, old in weights.items()
            )
            arrays = all(isinstance(array, np.ndarray) for array in (*new_state.values(), *moved.values()))
        except (TypeError, ValueError, AttributeError) as error:
            raise RunError("aggregate-invalid", "aggregate must return (state, weights)") from error
        if not same or not arrays:
            raise RunError(
                "aggregate-invalid",
                "aggregate returned other names, shapes or dtypes than the model has",
                "return (state, weights): two dicts of NumPy arrays, the weights shaped like those given",
            )
        if any(not np.isfinite(moved[name]).all() for name in mean_update):
            raise RunError(
                "aggregate-not-finite",
                "the aggregated model holds a NaN or an infinity",
                "a smaller server_learning_rate",
            )
        return new_state, moved

    return checking
