"""Different fields never share an encoding, and a reader takes exactly what it expects."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.canonical import Reader, digest, encode, field
from secagg.errors import ProtocolError

parts = st.lists(st.binary(max_size=12), max_size=5)


@given(parts, parts)
def test_two_lists_of_fields_share_an_encoding_only_if_they_are_equal(
    one: list[bytes], other: list[bytes]
) -> None:
    assert (encode(*one) == encode(*other)) == (one == other)
    assert (digest("label", *one) == digest("label", *other)) == (one == other)


@given(parts)
def test_an_encoding_ends_where_its_last_field_ends(fields: list[bytes]) -> None:
    """No encoding is the beginning of another with more fields, read field by field."""
    data, read = encode(*fields), []
    while data:
        length = int.from_bytes(data[:8], "little")
        read.append(data[8 : 8 + length])
        data = data[8 + length :]
    assert read == fields


def test_two_labels_never_share_a_digest() -> None:
    assert digest("one", "two") != digest("onetwo") != digest("one two")
    assert digest("", "label") != digest("label", "") != digest("label")


@given(st.binary(max_size=24))
def test_the_bytes_count_and_not_the_type_that_holds_them(content: bytes) -> None:
    assert encode(content) == encode(bytearray(content)) == encode(memoryview(content))
    assert digest("x", content) == digest("x", memoryview(content))


def test_a_view_of_words_is_encoded_with_its_length_in_bytes() -> None:
    words = np.arange(3, dtype="<u4")
    assert encode(words.data) == encode(words.tobytes())
    assert encode(np.zeros((0, 2), dtype="<u4").data) == encode(b"")


def test_numbers_are_little_endian_and_of_fixed_size() -> None:
    assert encode(1) == bytes([8, *bytes(7), 1, *bytes(7)])
    assert encode(1.0) == bytes([8, *bytes(7), *bytes(6), 0xF0, 0x3F])
    assert encode(True) == encode(1)
    assert encode(np.float64(0.1)) == encode(0.1)


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_a_reader_takes_back_the_fields_of_a_message(contents: list[bytes]) -> None:
    reader = Reader(b"".join(map(field, contents)), "test")
    assert [reader.field(40) for _ in contents] == contents
    reader.finish()


@given(st.binary(max_size=30), st.integers(1, 10))
def test_a_reader_names_what_is_missing(data: bytes, more: int) -> None:
    reader = Reader(data, "the message's name")
    with pytest.raises(ProtocolError, match="the message's name") as refused:
        reader.take(len(data) + more)
    assert refused.value.code == "message-short"


@given(st.binary(min_size=1, max_size=30), st.data())
def test_a_reader_refuses_every_number_of_bytes_left_over(data: bytes, choice: st.DataObject) -> None:
    reader = Reader(data, "test")
    reader.take(choice.draw(st.integers(0, len(data) - 1)))
    with pytest.raises(ProtocolError) as refused:
        reader.finish()
    assert refused.value.code == "message-long"


def test_a_field_longer_than_its_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(ProtocolError) as refused:
        Reader(b"\xff\xff\xff\xff", "test").field(80)
    assert refused.value.code == "message-long"
    assert Reader(field(bytes(80)), "test").field(80) == bytes(80)


def test_the_rest_and_a_view_are_not_copies() -> None:
    data = bytearray(b"abcdef")
    reader = Reader(data, "test")
    view, rest = reader.view(2), reader.rest()
    reader.finish()
    data[0], data[5] = 0x41, 0x46
    assert (bytes(view), bytes(rest)) == (b"Ab", b"cdeF")


def test_small_numbers_are_read_as_they_were_written() -> None:
    reader = Reader(b"\x07\x01\x02\x00\x00", "test")
    assert (reader.u8(), reader.u32()) == (7, 513)
    reader.finish()
