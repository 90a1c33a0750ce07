"""What a train function is given and gives back."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from secagg.errors import UpdateError
from secagg.update import Task, Update

ARRAYS = {"w": np.array([123.456])}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({}, "update-ambiguous"),
        ({"weights": ARRAYS, "delta": ARRAYS}, "update-ambiguous"),
        ({"weights": [np.zeros(2)]}, "update-not-arrays"),
        ({"delta": np.zeros(2)}, "update-not-arrays"),
        *(
            ({"weights": ARRAYS, "num_examples": count}, "update-num-examples")
            for count in (
                -1,
                1.0,
                True,
                "3",
                None,
                np.float64(3),
                np.array([5]),
                np.array([5, 6]),
                np.bool_(1),
            )
        ),
        *(
            ({"weights": ARRAYS, "metrics": metrics}, "update-metrics")
            for metrics in (
                {"loss": float("nan")},
                {"loss": float("inf")},
                {"loss": 10**400},
                {"loss": "0.5"},
                {"loss": None},
                {"loss": 1j},
                {"loss": np.zeros(2)},
                {7: 0.5},
                [0.5],
                None,
            )
        ),
    ],
)
def test_an_update_that_cannot_be_is_refused(arguments: dict[str, Any], code: str) -> None:
    with pytest.raises(UpdateError) as refused:
        Update(**arguments)
    assert refused.value.code == code


@pytest.mark.parametrize("count", [0, 1, 10**9, np.int32(7), np.uint64(7), np.array(7)])
def test_any_integer_of_zero_or_more_is_a_number_of_examples(count: Any) -> None:
    assert Update(ARRAYS, num_examples=count).num_examples == count


@pytest.mark.parametrize("value", [0, 1.5, True, np.float32(2), np.float64(-1e300), 10**300])
def test_any_finite_number_is_a_metric(value: Any) -> None:
    assert Update(delta=ARRAYS, metrics={"loss": value}).metrics["loss"] == value


def test_neither_repr_nor_refusal_shows_a_value() -> None:
    update = Update(ARRAYS, num_examples=4711, metrics={"loss": 0.8151})
    assert repr(update) == "Update(weights)"
    assert repr(Update(delta=ARRAYS, num_examples=4711)) == "Update(delta)"
    for arguments in ({"num_examples": -4711}, {"metrics": {"loss": "0.8151"}}, {"delta": ARRAYS}):
        with pytest.raises(UpdateError) as refused:
            Update(ARRAYS, **arguments)
        assert not any(secret in str(refused.value) for secret in ("4711", "0.8151", "123.456"))


def test_a_task_is_cancelled_when_its_deadline_passed_or_it_was_superseded() -> None:
    assert not Task(1, 3, {}).cancelled()
    assert not Task(1, 3, {}, deadline=time.monotonic() + 1000).cancelled()
    assert Task(1, 3, {}, deadline=time.monotonic() - 1).cancelled()
    answers = iter((False, True))
    task = Task(1, 3, {}, superseded=lambda: next(answers))
    assert (task.cancelled(), task.cancelled()) == (False, True)
