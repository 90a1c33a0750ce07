"""The model of these tests, and what each client adds to it: from a sum one can tell who is in it.

`who` has a place for every client, and a client moves only its own; `layer` is moved by all. `steps` is an
integer array, which never leaves a client.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

PRECISION = 1e-6
CLIENTS = 12


def initial_weights() -> dict[str, np.ndarray]:
    return {
        "who": np.zeros(CLIENTS, dtype=np.float64),
        "layer": np.linspace(-1.0, 1.0, 24, dtype=np.float32).reshape(4, 6),
        "steps": np.array(7, dtype=np.int64),
    }


def name_of(index: int) -> str:
    return f"hospital-{index}"


def delta_of(name: str) -> dict[str, np.ndarray]:
    """Far below the clip norm of 1."""
    index = int(name.rpartition("-")[2])
    who = np.zeros(CLIENTS, dtype=np.float64)
    who[index] = 0.5
    return {"who": who, "layer": np.full((4, 6), 0.01 * (index + 1), dtype=np.float32)}


def after(rounds: Iterable[Iterable[int]]) -> dict[str, np.ndarray]:
    """The model after rounds with these clients in the sum, without rounding."""
    weights = initial_weights()
    for survivors in rounds:
        deltas = [delta_of(name_of(index)) for index in survivors]
        for name in ("who", "layer"):
            mean = np.mean([delta[name] for delta in deltas], axis=0, dtype=np.float64)
            weights[name] = (weights[name] + mean).astype(weights[name].dtype)
    return weights


def assert_same_bits(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        assert (array.dtype, array.shape) == (other[name].dtype, other[name].shape)
        assert array.tobytes() == other[name].tobytes(), name


def assert_after(weights: dict[str, np.ndarray], rounds: list[Iterable[int]]) -> None:
    """Each round may be off by less than one rounding step, and float32 by its own."""
    expected = after(rounds)
    assert weights.keys() == expected.keys()
    for name in ("who", "layer"):
        np.testing.assert_allclose(weights[name], expected[name], rtol=0, atol=len(rounds) * 1.5 * PRECISION)
    np.testing.assert_array_equal(weights["steps"], expected["steps"])
