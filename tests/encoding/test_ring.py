"""The ring is exactly wide enough, and integers come back from it as they went in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.encoding.ring import MAX_BITS, MIN_BITS, bits_for, centred, word
from secagg.errors import EncodingError


@given(st.integers(1, 2**32), st.integers(1, 2**52))
def test_the_ring_is_the_smallest_that_no_sum_can_wrap(clients: int, largest: int) -> None:
    if 2 * clients * largest >= 2**64:
        with pytest.raises(EncodingError) as refused:
            bits_for(clients, largest)
        assert refused.value.code == "ring-overflow"
        return
    bits = bits_for(clients, largest)
    assert MIN_BITS <= bits <= MAX_BITS
    assert 2**bits > 2 * clients * largest
    assert bits == MIN_BITS or 2 ** (bits - 1) <= 2 * clients * largest


@given(st.integers(1, 2**52))
def test_the_last_cohort_that_fits_64_bits_is_accepted_and_one_more_is_refused(largest: int) -> None:
    last = (2**63 - 1) // largest
    assert bits_for(last, largest) == (64 if 2 * last * largest >= 2**63 else 63)
    with pytest.raises(EncodingError) as refused:
        bits_for(last + 1, largest)
    assert refused.value.code == "ring-overflow"


@given(st.integers(MIN_BITS, MAX_BITS - 1), st.integers(1, 2**52))
def test_the_last_cohort_that_fits_b_bits_has_them_and_one_more_needs_another(
    bits: int, largest: int
) -> None:
    last = (2 ** (bits - 1) - 1) // largest
    if last:
        assert bits_for(last, largest) <= bits
        assert bits_for(last + 1, largest) > bits


@given(st.integers(1, 2**20), st.integers(1, 2**40), st.sampled_from([1, -1]))
def test_the_extreme_sum_is_exact_and_wraps_with_one_bit_less(clients: int, largest: int, sign: int) -> None:
    """n clients all at +q_max, or all at -q_max, added in the ring's own words."""
    bits = bits_for(clients, largest)
    one = np.array([sign * largest], dtype=np.int64).astype(word(bits))
    total = one * word(bits).type(clients)  # n additions, modulo the word
    assert centred(total, bits).tolist() == [sign * clients * largest]
    if bits > MIN_BITS:
        exact_by_luck = sign < 0 and clients * largest == 2 ** (bits - 2)  # -2^(b-2) is b-1 bits' lowest
        assert (centred(total, bits - 1).tolist() == [sign * clients * largest]) == exact_by_luck


@given(st.integers(MIN_BITS, MAX_BITS), st.data())
def test_every_integer_of_the_ring_comes_back(bits: int, choice: st.DataObject) -> None:
    lowest, highest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    values = choice.draw(st.lists(st.integers(lowest, highest), max_size=8))
    values += [lowest, highest, 0, -1]
    lifted = np.array(values, dtype=np.int64).astype(word(bits))
    assert centred(lifted, bits).tolist() == values


@given(st.integers(MIN_BITS, MAX_BITS), st.integers(0, 2**64 - 1))
def test_bits_above_the_ring_mean_nothing(bits: int, junk: int) -> None:
    high = np.array([junk], dtype=np.uint64).astype(word(bits))
    low = high & word(bits).type(2**bits - 1)
    assert centred(high, bits).tolist() == centred(low, bits).tolist()


def test_words_are_little_endian_and_just_wide_enough() -> None:
    assert [word(bits).str for bits in (8, 32, 33, 64)] == ["<u4", "<u4", "<u8", "<u8"]


@pytest.mark.parametrize("bits", [-1, 0, 7, 65])
def test_a_ring_of_no_known_width_is_refused(bits: int) -> None:
    with pytest.raises(EncodingError) as refused:
        word(bits)
    assert refused.value.code == "ring-width"
