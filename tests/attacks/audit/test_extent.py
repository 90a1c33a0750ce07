"""How much of a run an audit plays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg_attacks.audit.bound import AuditError
from secagg_attacks.audit.extent import MOST_NUMBERS, left_out, rounds_within


def model(*sizes: int) -> dict[str, np.ndarray]:
    """Arrays of so many numbers, which take no memory."""
    return {f"array-{index}": np.broadcast_to(np.float32(0), (size,)) for index, size in enumerate(sizes)}


def test_of_a_small_model_nothing_is_left_out() -> None:
    assert left_out(model(1000, 10), (), clients=100) == ()


def test_the_first_arrays_that_fit_stay() -> None:
    assert left_out(model(60, 50, 40), (), clients=MOST_NUMBERS // 100) == ("array-1",)
    assert left_out(model(60, 50, 40), (), clients=MOST_NUMBERS // 400, rounds=4) == ("array-1",)


def test_what_stays_with_a_client_counts_for_nothing() -> None:
    weights = {**model(60, 40), "buffers.mean": np.broadcast_to(np.float32(0), (10**6,))}
    assert left_out(weights, ("buffers.*",), clients=MOST_NUMBERS // 100) == ()


def test_where_no_array_fits_beside_all_rounds_the_smallest_stays() -> None:
    assert left_out(model(70, 50, 60), (), clients=MOST_NUMBERS // 100, rounds=4) == ("array-0", "array-2")


def test_a_model_of_which_no_array_can_be_played_is_refused_by_name() -> None:
    with pytest.raises(AuditError) as refused:
        left_out(model(MOST_NUMBERS, MOST_NUMBERS // 9), (), clients=10)

    assert refused.value.code == "audit-too-large"
    assert f"'array-1', has {MOST_NUMBERS // 9} numbers" in refused.value.message


def test_a_short_run_is_played_whole_and_a_long_one_in_part() -> None:
    assert rounds_within(5, clients=40, size=1000) == 5
    assert 5 < rounds_within(1000, clients=100, size=10_000) < 15
    assert rounds_within(1000, clients=2000, size=10_000) == 1


@given(rounds=st.integers(1, 10**6), clients=st.integers(2, 10**4), size=st.integers(1, 10**7))
def test_some_round_is_always_played_and_never_more_than_there_are(
    rounds: int, clients: int, size: int
) -> None:
    played = rounds_within(rounds, clients, size)

    assert 1 <= played <= rounds
    assert played == 1 or played * clients * size <= MOST_NUMBERS
