"""Ring vectors in slots: every integer comes back, digits do not mix, and what is not exact is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.errors import EncodingError
from secagg.homomorphic.scheme import Kind, Scheme, scheme_for
from secagg.homomorphic.slots import from_slots, to_slots
from tests.homomorphic.ciphertexts import largest_part, ring, signed

CASES: list[tuple[Kind, int]] = [
    *(("bfv", bits) for bits in (8, 11, 12, 19, 20, 25, 29, 30, 59)),
    *(("ckks", bits) for bits in (8, 20, 34)),
]


def spread(scheme: Scheme, edge: int, seed: int) -> list[int]:
    """A block of integers in [-edge, edge], a third of them at either end."""
    drawn = np.random.default_rng(seed).integers(-edge, edge + 1, size=scheme.block)
    drawn[::3], drawn[1::6] = edge, -edge
    values: list[int] = drawn.tolist()
    return values


@given(st.sampled_from(CASES), st.integers(0, 2**32))
@settings(max_examples=30)
def test_a_block_comes_back_from_its_slots(case: tuple[Kind, int], seed: int) -> None:
    scheme = scheme_for(case[0], 1, case[1], 10_000)
    values = spread(scheme, (1 << (scheme.bits - 1)) - 1, seed)
    values[0] = -1 << (scheme.bits - 1)  # an opened sum may be this too, though no codec makes it
    values[-1] = -1 << (scheme.bits - 1)
    slots = to_slots(ring(values, scheme.bits), scheme)
    assert slots.shape == (scheme.slots,)
    assert signed(from_slots(slots, scheme), scheme.bits) == values


@given(st.sampled_from(CASES), st.integers(1, 7), st.integers(0, 2**32))
@settings(max_examples=30)
def test_sums_of_slots_are_the_slots_of_sums(case: tuple[Kind, int], clients: int, seed: int) -> None:
    """At the edges of what a cohort may add up to, and in every digit at once."""
    scheme = scheme_for(case[0], clients, case[1], 10_000)
    vectors = [spread(scheme, largest_part(scheme), seed + at) for at in range(clients)]
    total = sum(to_slots(ring(vector, scheme.bits), scheme) for vector in vectors)
    assert isinstance(total, np.ndarray)
    exact = [sum(column) for column in zip(*vectors, strict=True)]
    assert signed(from_slots(total, scheme), scheme.bits) == exact
    if scheme.kind == "bfv":
        assert max(map(abs, total.tolist())) <= scheme.plain_modulus // 2


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_short_block_is_filled_with_zeros(case: tuple[Kind, int]) -> None:
    scheme = scheme_for(case[0], 2, case[1], 10_000)
    opened = signed(from_slots(to_slots(ring([-5, 3, 1], scheme.bits), scheme), scheme), scheme.bits)
    assert opened == [-5, 3, 1] + [0] * (scheme.block - 3)
    empty = from_slots(to_slots(ring([], scheme.bits), scheme), scheme)
    assert not empty.any()


@pytest.mark.parametrize("part", [1.0, 1j])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_value_is_taken_within_a_quarter_of_an_integer_and_not_further(part: complex, sign: int) -> None:
    scheme = scheme_for("ckks", 10, 20, 4096)
    slots = to_slots(ring(spread(scheme, 1000, 1), 20), scheme)
    near = slots.astype(np.complex128)
    near[7] += sign * part * 0.2499
    assert np.array_equal(from_slots(near, scheme), from_slots(slots, scheme))
    near[7] += sign * part * 0.0001
    with pytest.raises(EncodingError) as refused:
        from_slots(near, scheme)
    assert refused.value.code == "sum-inexact"


@pytest.mark.parametrize("odd", [np.nan, complex(0, np.nan)])
def test_what_is_no_number_is_not_exact(odd: complex) -> None:
    scheme = scheme_for("ckks", 10, 20, 4096)
    slots = np.zeros(scheme.slots, dtype=np.complex128)
    slots[3] = odd
    with pytest.raises(EncodingError) as refused:
        from_slots(slots, scheme)
    assert refused.value.code == "sum-inexact"


@pytest.mark.parametrize("beyond", [2.0**19, -(2.0**19) - 1, 2.0**61, 2.0**62, -(2.0**63), 2.0**200])
def test_a_ckks_value_outside_of_the_ring_is_refused(beyond: float) -> None:
    scheme = scheme_for("ckks", 10, 20, 4096)
    for part in (1.0, 1j):
        slots = np.zeros(scheme.slots, dtype=np.complex128)
        slots[3] = beyond * part
        with pytest.raises(EncodingError) as refused:
            from_slots(slots, scheme)
        assert refused.value.code == "sum-out-of-range"


@pytest.mark.parametrize("bits", [8, 20, 25, 30, 59])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_bfv_slot_beyond_its_last_digit_is_refused(bits: int, sign: int) -> None:
    scheme = scheme_for("bfv", 10, bits, 10_000)
    half = 1 << (bits - 1)
    extreme = sum(half << (bits * digit) for digit in range(scheme.per_slot))
    slots = np.zeros(scheme.slots, dtype=np.int64)
    slots[5] = sign * extreme
    if sign < 0:
        assert signed(from_slots(slots, scheme), bits)[5] == -half
        slots[5] -= 1 << (bits * (scheme.per_slot - 1))
    with pytest.raises(EncodingError) as refused:
        from_slots(slots, scheme)
    assert refused.value.code == "sum-out-of-range"
