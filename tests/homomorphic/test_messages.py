"""The wire: whatever is written is read back, and whatever else is read is refused as a ProtocolError."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import ProtocolError
from secagg.homomorphic.messages import (
    KINDS,
    MAX_CERTIFICATE,
    MAX_ID,
    MAX_KEY,
    MAX_ROSTER,
    MAX_SIGNATURE,
    Advertisement,
    AdvertiseRequest,
    ConfirmReply,
    ConfirmRequest,
    Entry,
    FetchReply,
    FetchRequest,
    KeyReply,
    KeyRequest,
    OpenReply,
    OpenRequest,
    Part,
    UploadReply,
    UploadRequest,
    stage_of,
)

CODES = {"message-short", "message-long", "message-version", "message-stage", "message-order", "message-id"}
MESSAGES: list[Any] = [
    AdvertiseRequest, Advertisement, KeyRequest, KeyReply, UploadRequest, UploadReply,
    ConfirmRequest, ConfirmReply, FetchRequest, FetchReply, OpenRequest, OpenReply,
]  # fmt: skip
BULK = {UploadReply: "ciphertext", FetchRequest: "ciphertext", OpenRequest: "ciphertext", OpenReply: "vector"}
"""Messages that end with whatever is left, and its field."""

digests = st.binary(min_size=32, max_size=32)
signatures = st.binary(max_size=MAX_SIGNATURE)
numbers = st.integers(0, 2**32 - 1)
bulk = st.binary(max_size=60)
advertisements = st.builds(Advertisement, digests, st.binary(max_size=200), signatures)
rosters = st.lists(st.builds(Entry, st.text(max_size=40), advertisements), max_size=3).map(tuple)


def by_position(content: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[tuple[int, Any], ...]]:
    return st.dictionaries(numbers, content, max_size=4).map(lambda found: tuple(sorted(found.items())))


parts = by_position(st.tuples(digests, signatures)).map(
    lambda found: tuple(Part(at, digest, signature) for at, (digest, signature) in found)
)
positions = st.sets(numbers, max_size=5).map(lambda found: tuple(sorted(found)))
messages: st.SearchStrategy[Any] = st.one_of(
    st.builds(AdvertiseRequest, digests),
    advertisements,
    st.builds(KeyRequest, rosters),
    st.builds(KeyReply, bulk, signatures, by_position(bulk)),
    st.builds(UploadRequest, rosters, bulk, signatures, bulk),
    st.builds(UploadReply, signatures, bulk),
    st.builds(ConfirmRequest, parts),
    st.builds(ConfirmReply, signatures),
    st.builds(FetchRequest, numbers, bulk),
    st.builds(FetchReply, numbers),
    st.builds(OpenRequest, positions, by_position(signatures), bulk),
    st.builds(OpenReply, bulk),
)


def written(message: Any) -> bytes:
    if isinstance(message, UploadReply):
        return message.head() + bytes(message.ciphertext)
    if isinstance(message, OpenReply):
        return message.head() + bytes(message.vector)
    return bytes(message.to_bytes())


@given(messages)
def test_every_message_is_read_back_as_it_was_written(message: Any) -> None:
    data = written(message)
    read = type(message).from_bytes(data)
    assert read == message
    assert written(read) == data
    kind = stage_of(data).partition("-")[0]
    assert type(message).__name__.lower().startswith(kind)


@given(messages, st.binary(min_size=1, max_size=3))
def test_bytes_left_over_are_refused_or_are_part_of_what_takes_all_that_is_left(
    message: Any, more: bytes
) -> None:
    kind = type(message)
    if kind in BULK:  # these have a size of their own, which the scheme or the ring knows
        read = kind.from_bytes(written(message) + more)
        assert bytes(getattr(read, BULK[kind])) == bytes(getattr(message, BULK[kind])) + more
        return
    with pytest.raises(ProtocolError) as refused:
        kind.from_bytes(written(message) + more)
    assert refused.value.code == "message-long"


@given(messages, st.data())
def test_a_message_cut_anywhere_is_refused(message: Any, choice: st.DataObject) -> None:
    data, kind = written(message), type(message)
    end = len(data) - (len(getattr(message, BULK[kind])) if kind in BULK else 0)
    with pytest.raises(ProtocolError) as refused:
        kind.from_bytes(data[: choice.draw(st.integers(0, end - 1))])
    assert refused.value.code == "message-short"


@given(messages, st.data())
def test_two_different_byte_strings_are_never_one_message(message: Any, choice: st.DataObject) -> None:
    """Any change of any byte is refused, or read as another message: signed content has one form."""
    data = bytearray(written(message))
    data[choice.draw(st.integers(0, len(data) - 1))] ^= choice.draw(st.integers(1, 255))
    try:
        read = type(message).from_bytes(bytes(data))
    except ProtocolError as error:
        assert error.code in CODES
    else:
        assert read != message
        assert written(read) == data


@given(
    st.sampled_from(MESSAGES),
    st.binary(max_size=120),
    st.sampled_from([b"", *(bytes([1, stage]) for stage in range(7))]),
)
def test_any_bytes_are_a_message_or_a_protocol_error(kind: Any, data: bytes, head: bytes) -> None:
    for given_bytes in (head + data, memoryview(head + data), bytearray(head + data)):
        try:
            assert written(kind.from_bytes(given_bytes)) == given_bytes
        except ProtocolError as error:
            assert error.code in CODES


@given(messages, st.sampled_from(MESSAGES))
def test_a_message_of_one_stage_is_none_of_another(message: Any, other: Any) -> None:
    data = written(message)
    try:
        read = other.from_bytes(data)
    except ProtocolError as error:
        assert error.code in CODES
    else:
        assert written(read)[:2] == data[:2]


SHOWN = Advertisement(bytes(32), b"", b"")


@pytest.mark.parametrize(
    "message",
    [
        Advertisement(bytes(32), bytes(MAX_CERTIFICATE + 1), b""),
        Advertisement(bytes(32), b"", bytes(MAX_SIGNATURE + 1)),
        KeyRequest((Entry("a" * (MAX_ID + 1), SHOWN),)),
        KeyReply(bytes(MAX_KEY + 1), b"", ()),
        KeyReply(b"", bytes(MAX_SIGNATURE + 1), ()),
        KeyReply(b"", b"", ((0, bytes(MAX_KEY + 1)),)),
        UploadRequest((), bytes(MAX_KEY + 1), b""),
        UploadRequest((), b"", bytes(MAX_SIGNATURE + 1)),
        UploadRequest((), b"", b"", bytes(MAX_KEY + 1)),
        UploadReply(bytes(MAX_SIGNATURE + 1), b""),
        ConfirmRequest((Part(0, bytes(32), bytes(MAX_SIGNATURE + 1)),)),
        ConfirmReply(bytes(MAX_SIGNATURE + 1)),
        OpenRequest((), ((0, bytes(MAX_SIGNATURE + 1)),), b""),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_field_above_its_limit_is_refused(message: Any) -> None:
    with pytest.raises(ProtocolError) as refused:
        type(message).from_bytes(written(message))
    assert refused.value.code == "message-long"


@pytest.mark.parametrize("second", [7, 6, 0])
@pytest.mark.parametrize(
    "message_at",
    [
        lambda at: KeyReply(b"", b"", tuple((one, b"") for one in at)),
        lambda at: ConfirmRequest(tuple(Part(one, bytes(32), b"") for one in at)),
        lambda at: OpenRequest(at, (), b""),
        lambda at: OpenRequest((), tuple((one, b"") for one in at), b""),
    ],
    ids=["KeyReply", "ConfirmRequest", "survivors", "confirmations"],
)
def test_a_position_repeated_or_out_of_order_is_refused(message_at: Any, second: int) -> None:
    message = message_at((7, second))
    with pytest.raises(ProtocolError) as refused:
        type(message).from_bytes(written(message))
    assert refused.value.code == "message-order"
    ordered = message_at((7, 8))
    assert type(ordered).from_bytes(written(ordered)) == ordered


def test_an_id_that_is_not_utf_8_is_refused() -> None:
    data = KeyRequest((Entry("a", SHOWN),)).to_bytes().replace(b"\x01\0\0\0a", b"\x01\0\0\0\xff")
    with pytest.raises(ProtocolError) as refused:
        KeyRequest.from_bytes(data)
    assert refused.value.code == "message-id"


@pytest.mark.parametrize("count", [2**32 - 1, MAX_ROSTER + 1, MAX_ROSTER])
def test_a_huge_count_costs_nothing(count: int) -> None:
    head = count.to_bytes(4, "little")
    for kind, before in (
        (KeyRequest, b"\x01\x01"),
        (UploadRequest, b"\x01\x02"),
        (ConfirmRequest, b"\x01\x03"),
        (OpenRequest, b"\x01\x05"),
        (KeyReply, b"\x01\x01" + bytes(8)),
    ):
        with pytest.raises(ProtocolError) as refused:
            kind.from_bytes(before + head)
        assert refused.value.code == ("message-long" if count > MAX_ROSTER else "message-short")


@pytest.mark.parametrize("kind", BULK, ids=lambda kind: kind.__name__)
def test_what_is_large_is_not_copied(kind: Any) -> None:
    heads = {
        UploadReply: UploadReply(b"", b"").head(),
        FetchRequest: FetchRequest(1, b"").to_bytes(),
        OpenRequest: OpenRequest((), (), b"").to_bytes(),
        OpenReply: OpenReply.head(),
    }
    data = bytearray(heads[kind] + b"vector")
    read = kind.from_bytes(data)
    data[-1:] = b"R"
    assert bytes(getattr(read, BULK[kind])) == b"vectoR"


# -- stages -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "message-short"),
        (b"\x01", "message-short"),
        (b"\x01\x06", "message-stage"),
        (b"\x01\xff", "message-stage"),
        (b"\x01\x04", "message-short"),
        (b"\x01\x04\x00\x00\x00", "message-short"),
    ],
)
def test_a_message_of_no_stage_is_refused(data: bytes, code: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        stage_of(data)
    assert refused.value.code == code


@given(numbers)
def test_there_is_a_fetch_stage_for_each_position(position: int) -> None:
    assert stage_of(FetchRequest(position, b"").to_bytes()) == f"fetch-{position}"


def test_the_stages_come_in_the_protocols_order() -> None:
    assert KINDS == ("advertise", "key", "upload", "confirm", "fetch", "open")
    stages = [stage_of(bytes((1, index, 0, 0, 0, 0))) for index in range(len(KINDS))]
    assert stages == ["advertise", "key", "upload", "confirm", "fetch-0", "open"]


# -- what a confirmation is over --------------------------------------------------------------------------


@given(parts, parts)
def test_the_digest_of_a_set_is_that_of_no_other(one: tuple[Part, ...], other: tuple[Part, ...]) -> None:
    assert (ConfirmRequest(one).digest() == ConfirmRequest(other).digest()) == (one == other)
