"""`secagg.transport.chunks`: bodies of any size arrive whole, or the stream ends with the reason."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.errors import TransportError
from secagg.frames import Finished, Ready, Rejected, Reply, Request, RoundClosed, TaskFrame
from secagg.transport.chunks import Assembly, body_messages, messages
from secagg.transport.envelopes import CHUNK, INLINE, Announced, Chunk, Offer, Question
from secagg.transport.frames import encode

LIMIT = 8 * CHUNK
MASK = Question(3, 1, "mask")


def patterned(length: int) -> bytes:
    return (bytes(range(251)) * (length // 251 + 1))[:length]


def assembled(assembly: Assembly, raws) -> list:
    return [unit for unit in (assembly.feed(raw) for raw in raws) if unit is not None]


def code_of(feed) -> str:
    with pytest.raises(TransportError) as raised:
        feed()
    return raised.value.code


@pytest.fixture
def half_a_task():
    """An assembly that waits for the second of three chunks."""
    assembly = Assembly("server", LIMIT)
    task = TaskFrame(1, 2, patterned(2 * CHUNK + 5))
    pieces = list(messages(task))
    assert assembled(assembly, pieces[:2]) == []
    return assembly


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([0, 1, INLINE - 1, INLINE, INLINE + 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7]))
def test_a_body_of_any_length_arrives_whole(length):
    body = patterned(length)
    assembly = Assembly("server", LIMIT)
    for frame in (TaskFrame(1, 2, body), Request(1, 0, "share", body), Finished(9, body)):
        (arrived,) = assembled(assembly, messages(frame))
        assert arrived == frame
        assert not assembly.busy


def test_a_file_is_sent_as_its_bytes_would_be(tmp_path):
    for length in (0, 10, INLINE, CHUNK + 3):
        path = tmp_path / f"{length}.safetensors"
        path.write_bytes(patterned(length))
        from_file = list(messages(TaskFrame(1, 2, path)))
        assert from_file == list(messages(TaskFrame(1, 2, patterned(length))))


def test_a_file_is_not_read_before_its_turn(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(patterned(3 * CHUNK))
    sending = messages(Finished(1, path))
    next(sending)
    with path.open("r+b") as file:
        file.truncate(CHUNK)
    next(sending)
    assert code_of(lambda: next(sending)) == "weights-unreadable"


def test_weights_that_cannot_be_read_are_named(tmp_path):
    assert code_of(lambda: list(messages(Finished(1, tmp_path / "nothing")))) == "weights-unreadable"


def test_a_granted_reply_arrives_whole():
    body = patterned(2 * CHUNK + 1)
    assembly = Assembly("client", 0)
    offer = assembly.feed(encode(Offer(MASK, len(body))))
    assembly.grant(offer, LIMIT)
    (reply,) = assembled(assembly, body_messages(body))
    assert reply == Reply(3, 1, "mask", body)
    assert assembly.feed(encode(Ready(4))) == Ready(4)


def test_a_declined_reply_leaves_the_stream_in_order():
    assembly = Assembly("client", 0)
    assembly.feed(encode(Offer(MASK, CHUNK)))
    assembly.decline()
    assert assembly.feed(encode(Ready(4))) == Ready(4)


def test_an_abandoned_reply_is_read_to_its_end_and_dropped():
    body = patterned(CHUNK + 1)
    assembly = Assembly("client", 0)
    assembly.grant(assembly.feed(encode(Offer(MASK, len(body)))), LIMIT)
    pieces = list(body_messages(body))
    assembly.feed(pieces[0])
    assembly.abandon()
    assert assembly.feed(pieces[1]) is None
    assert assembly.feed(encode(Ready(4))) == Ready(4)


def test_a_chunk_nobody_announced_is_refused():
    assert code_of(lambda: Assembly("client", LIMIT).feed(encode(Chunk(0, b"x")))) == "frame-unexpected"


def test_a_chunk_before_its_grant_is_refused():
    assembly = Assembly("client", 0)
    assembly.feed(encode(Offer(MASK, CHUNK)))
    assert code_of(lambda: assembly.feed(encode(Chunk(0, b"x" * CHUNK)))) == "frame-unexpected"


@pytest.mark.parametrize("offset", [0, CHUNK - 1, CHUNK + 1, 2 * CHUNK, 2**62])
def test_a_chunk_out_of_its_place_is_refused(half_a_task, offset):
    assert code_of(lambda: half_a_task.feed(encode(Chunk(offset, b"x" * CHUNK)))) == "chunk-misplaced"


def test_a_chunk_that_is_short_before_the_end_is_refused(half_a_task):
    assert code_of(lambda: half_a_task.feed(encode(Chunk(CHUNK, b"x")))) == "chunk-length"


def test_a_last_chunk_that_is_too_long_is_refused(half_a_task):
    half_a_task.feed(encode(Chunk(CHUNK, b"x" * CHUNK)))
    assert code_of(lambda: half_a_task.feed(encode(Chunk(2 * CHUNK, b"x" * 6)))) == "chunk-length"


def test_another_frame_between_chunks_is_refused(half_a_task):
    assert code_of(lambda: half_a_task.feed(encode(RoundClosed(1, False)))) == "frame-unexpected"


def test_another_frame_after_an_offer_is_refused():
    assembly = Assembly("client", 0)
    assembly.feed(encode(Offer(MASK, CHUNK)))
    assert code_of(lambda: assembly.feed(encode(Ready(1)))) == "frame-unexpected"


def test_a_rejection_may_come_between_chunks(half_a_task):
    assert half_a_task.feed(encode(Rejected("replaced", "again"))) == Rejected("replaced", "again")


@pytest.mark.parametrize("length", [LIMIT + 1, 2**62])
def test_a_length_above_the_limit_is_refused_before_a_byte_is_held(length):
    announced = encode(Announced(TaskFrame(1, 1, b""), length))
    assert code_of(lambda: Assembly("server", LIMIT).feed(announced)) == "frame-oversized"
    assembly = Assembly("client", 0)
    offer = assembly.feed(encode(Offer(MASK, length)))
    assert code_of(lambda: assembly.grant(offer, LIMIT)) == "frame-oversized"


def test_a_length_beyond_all_memory_is_refused_even_without_a_limit():
    announced = encode(Announced(TaskFrame(1, 1, b""), 2**62))
    assert code_of(lambda: Assembly("server", 2**63).feed(announced)) == "frame-oversized"
