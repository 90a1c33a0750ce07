"""Exactly b bits a coordinate, and no bytes that are not a ring vector are added."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.encoding.packing import BLOCK, add_packed, pack, pack_into, packed_size, unpack
from secagg.encoding.ring import word
from secagg.errors import EncodingError
from secagg.prg import Ring, expand
from tests.vectors import reference

widths = st.integers(8, 64)


def ring_vector(length: int, bits: int, key: bytes = bytes(32)) -> Ring:
    return expand(key, length, word(bits)) & word(bits).type(2**bits - 1)


@given(widths, st.integers(0, 200))
def test_packed_bytes_are_one_long_little_endian_integer(bits: int, length: int) -> None:
    vector = ring_vector(length, bits)
    packed = pack(vector, bits)
    assert len(packed) == packed_size(length, bits) == -(-length * bits // 8)
    assert bytes(packed) == reference.pack(vector.tolist(), bits)
    assert np.array_equal(unpack(packed, length, bits), vector)


@pytest.mark.parametrize("bits", [8, 9, 26, 32, 33, 63, 64])
@pytest.mark.parametrize("length", [BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 65])
def test_vectors_of_many_blocks_come_back(bits: int, length: int) -> None:
    vector = ring_vector(length, bits)
    assert np.array_equal(unpack(pack(vector, bits), length, bits), vector)


@given(st.integers(8, 63), st.integers(1, 70))
def test_bits_above_the_ring_are_dropped(bits: int, length: int) -> None:
    words = expand(bytes(32), length, word(bits))
    assert pack(words, bits) == pack(words & word(bits).type(2**bits - 1), bits)


def test_a_block_is_packed_where_it_belongs() -> None:
    vector = ring_vector(BLOCK + 3, 13)
    out = bytearray(packed_size(len(vector), 13))
    cut = BLOCK * 13 // 8
    pack_into(vector[BLOCK:], 13, memoryview(out)[cut:])
    pack_into(vector[:BLOCK], 13, memoryview(out)[:cut])
    assert out == pack(vector, 13)


@given(widths, st.integers(1, 70), st.lists(st.binary(min_size=32, max_size=32), max_size=4))
def test_packed_vectors_add_up_modulo_the_ring(bits: int, length: int, keys: list[bytes]) -> None:
    total = np.zeros(length, dtype=word(bits))
    for key in keys:
        add_packed(pack(ring_vector(length, bits, key), bits), bits, total)
    expected = [sum(int(ring_vector(length, bits, key)[i]) for key in keys) % 2**bits for i in range(length)]
    assert (total & word(bits).type(2**bits - 1)).tolist() == expected


@given(widths, st.integers(0, 70), st.integers(-3, 3).filter(bool))
def test_any_other_number_of_bytes_is_refused(bits: int, length: int, more: int) -> None:
    size = max(0, packed_size(length, bits) + more)
    if size == packed_size(length, bits):
        return
    with pytest.raises(EncodingError) as refused:
        unpack(bytes(size), length, bits)
    assert refused.value.code == "vector-length"


@given(st.integers(8, 63), st.integers(1, 70), st.data())
def test_every_bit_of_padding_must_be_zero_and_nothing_is_added_otherwise(
    bits: int, length: int, choice: st.DataObject
) -> None:
    packed = pack(ring_vector(length, bits), bits)
    spare = 8 * len(packed) - length * bits
    if not spare:
        return
    packed[-1] |= 1 << choice.draw(st.integers(8 - spare, 7))
    total = np.zeros(length, dtype=word(bits))
    with pytest.raises(EncodingError) as refused:
        add_packed(packed, bits, total)
    assert refused.value.code == "vector-outside-ring"
    assert not total.any()


@given(st.binary(max_size=64), st.integers(0, 20), widths)
def test_any_bytes_are_a_vector_of_the_ring_or_an_encoding_error(data: bytes, length: int, bits: int) -> None:
    try:
        vector = unpack(memoryview(data), length, bits)
    except EncodingError as error:
        assert error.code in ("vector-length", "vector-outside-ring")
    else:
        assert bytes(pack(vector, bits)) == data
