"""`secagg.transport.frames`: what is read is exactly what a peer of this version may send."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import secagg.transport
from secagg.errors import TransportError
from secagg.frames import (
    WIRE_VERSION,
    Finished,
    Hello,
    Ready,
    Refusal,
    Rejected,
    Reply,
    Request,
    RoundClosed,
    TaskFrame,
    Welcome,
)
from secagg.transport import secagg_pb2 as pb
from secagg.transport.envelopes import (
    CHUNK,
    INLINE,
    MESSAGE_LIMIT,
    Announced,
    Chunk,
    Grant,
    Greeting,
    Offer,
    Question,
)
from secagg.transport.frames import decode, encode, encode_chunk

ROOT = Path(__file__).parents[2]

numbers = st.integers(0, 2**32 - 1)
tokens = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True)
texts = st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), max_size=200)
bodies = st.binary(max_size=200)
questions = st.builds(Question, numbers, numbers, tokens | st.just(""))
asked = st.builds(Question, numbers, numbers, tokens)
lengths = st.integers(INLINE + 1, 2**62)
holding = st.none() | questions

from_client = st.one_of(
    st.builds(Greeting, st.builds(Hello, st.just(WIRE_VERSION), tokens), holding, st.booleans()),
    st.builds(Ready, numbers),
    st.builds(Reply, numbers, numbers, tokens, bodies),
    st.builds(Refusal, numbers, numbers, tokens | st.just(""), tokens),
    st.builds(Offer, asked, lengths),
    st.builds(Chunk, st.integers(0, 2**62), st.binary(min_size=1, max_size=200)),
)
from_server = st.one_of(
    st.builds(Welcome, st.just(WIRE_VERSION), st.binary(max_size=64), texts),
    st.builds(Rejected, tokens, texts, texts),
    st.builds(TaskFrame, numbers, numbers, bodies),
    st.builds(Request, numbers, numbers, tokens, bodies),
    st.builds(RoundClosed, numbers, st.booleans()),
    st.builds(Finished, numbers, bodies),
    st.builds(Grant, questions, st.booleans()),
    st.builds(Announced, st.builds(TaskFrame, numbers, numbers, st.just(b"")), lengths),
    st.builds(Announced, st.builds(Request, numbers, numbers, tokens, st.just(b"")), lengths),
    st.builds(Announced, st.builds(Finished, numbers, st.just(b"")), lengths),
    st.builds(Chunk, st.integers(0, 2**62), st.binary(min_size=1, max_size=200)),
)


@settings(deadline=None)
@given(from_client)
def test_what_a_client_sends_arrives_as_it_was(unit):
    assert decode(encode(unit), "client") == unit


@settings(deadline=None)
@given(from_server)
def test_what_a_server_sends_arrives_as_it_was(unit):
    assert decode(encode(unit), "server") == unit


@settings(deadline=None)
@given(st.integers(0, 2**62), st.binary(min_size=1, max_size=300))
def test_a_chunk_written_by_hand_is_what_protobuf_writes(offset, data):
    assert (
        encode_chunk(offset, data) == pb.Frame(chunk=pb.Chunk(offset=offset, data=data)).SerializeToString()
    )


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["client", "server"]))
def test_any_bytes_are_a_frame_or_a_transport_error(raw, sender):
    try:
        decode(raw, sender)
    except TransportError as error:
        assert error.code in ("frame-malformed", "frame-unexpected")


@settings(deadline=None)
@given(from_client | from_server, st.data())
def test_a_frame_with_any_byte_changed_is_a_frame_or_a_transport_error(unit, data):
    raw = bytearray(encode(unit))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    for sender in ("client", "server"):
        try:
            decode(bytes(raw), sender)
        except TransportError as error:
            assert error.code in ("frame-malformed", "frame-unexpected")


@settings(deadline=None)
@given(from_client, from_server)
def test_a_frame_of_the_wrong_direction_is_refused(client, server):
    for unit, sender in ((client, "server"), (server, "client")):
        if not isinstance(unit, Chunk):
            with pytest.raises(TransportError, match="is not for a") as raised:
                decode(encode(unit), sender)
            assert raised.value.code == "frame-unexpected"


def refused(message: pb.Frame | bytes, sender: str = "client") -> TransportError:
    raw = message if isinstance(message, bytes) else message.SerializeToString()
    with pytest.raises(TransportError) as raised:
        decode(raw, sender)
    assert raised.value.code == "frame-malformed"
    return raised.value


UNKNOWN = b"\xfa\x07\x01x"  # field 127, one byte


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "without a frame"),
        (b"\xff\xff", "not a protobuf"),
        (UNKNOWN, "without a frame"),
        (encode(Ready(1)) + UNKNOWN, "does not know"),
        (b"\x2a\x06\x08\x01" + UNKNOWN, "does not know"),
        (b"\x62\x0c\x0a\x06\x08\x01" + UNKNOWN + b"\x10\x80\x80\x40", "does not know"),
        (encode(Ready(1)) * 2, "repeats a field"),
        (encode(Ready(1)) + encode(Refusal(1, 0, "", "no")), "repeats a field"),
        (b"\x2a\x03\x08\x81\x00", "shortest"),
        (encode(Chunk(1, b"x")) * 2, "one way"),
    ],
)
def test_unknown_repeated_and_padded_fields_are_refused(raw, words):
    assert words in refused(raw).message


@pytest.mark.parametrize(
    "message",
    [
        pb.Frame(refusal=pb.Refusal(round=1, code="")),
        pb.Frame(refusal=pb.Refusal(round=1, code="A line\nin the log")),
        pb.Frame(refusal=pb.Refusal(round=1, code="x" * 65)),
        pb.Frame(reply=pb.Reply(round=1)),
        pb.Frame(reply=pb.Reply(round=1, stage="mask", body=b"x" * (INLINE + 1))),
        pb.Frame(hello=pb.Hello(wire=WIRE_VERSION, version="\x1b[2J")),
        pb.Frame(hello=pb.Hello(wire=WIRE_VERSION, version="1" * 65)),
        pb.Frame(chunk=pb.Chunk(offset=0)),
        pb.Frame(chunk=pb.Chunk(offset=0, data=b"x" * (CHUNK + 1))),
        pb.Frame(offer=pb.Offer(question=pb.Question(stage="mask"), length=INLINE)),
        pb.Frame(offer=pb.Offer(question=pb.Question(), length=INLINE + 1)),
    ],
)
def test_a_value_that_no_client_may_send_is_refused(message):
    refused(message)


@pytest.mark.parametrize(
    "message",
    [
        pb.Frame(task=pb.Task(weights=pb.Body(length=3, data=b"ab"))),
        pb.Frame(task=pb.Task(weights=pb.Body(length=3))),
        pb.Frame(finished=pb.Finished(weights=pb.Body(length=INLINE + 1, data=b"x" * (INLINE + 1)))),
        pb.Frame(welcome=pb.Welcome(wire=WIRE_VERSION, run=b"x" * 65)),
        pb.Frame(rejected=pb.Rejected(code="no", message="\x1b]0;title\x07")),
        pb.Frame(rejected=pb.Rejected(code="no", message="x" * 4097)),
    ],
)
def test_a_value_that_no_server_may_send_is_refused(message):
    refused(message, "server")


def test_a_message_above_the_limit_is_refused_unread():
    with pytest.raises(TransportError) as raised:
        decode(b"\xff" * (MESSAGE_LIMIT + 1), "client")
    assert raised.value.code == "frame-oversized"


def test_a_plan_that_no_message_holds_is_refused_where_it_is_sent():
    with pytest.raises(TransportError) as raised:
        encode(Welcome(WIRE_VERSION, b"", "x" * MESSAGE_LIMIT))
    assert raised.value.code == "frame-oversized"


@pytest.mark.parametrize(
    "unit",
    [
        Ready(-1),
        Ready(2**32),
        Refusal(1, 0, "", "Not a code"),
        Reply(1, 0, "", b""),
        TaskFrame(-1, 1, b""),
    ],
)
def test_a_value_nobody_would_accept_is_refused_where_it_is_sent(unit):
    with pytest.raises(TransportError) as raised:
        encode(unit)
    assert raised.value.code == "frame-malformed"


def test_a_hello_of_another_version_is_read_whatever_else_it_holds():
    raw = pb.Frame(hello=pb.Hello(wire=7, version="x" * 1000)).SerializeToString() + UNKNOWN
    assert decode(raw, "client") == Greeting(Hello(7, ""))


def test_control_characters_in_our_own_words_are_not_sent():
    sent = decode(encode(Rejected("no", "a\x1bb", "c" * 5000)), "server")
    assert sent == Rejected("no", "a?b", "c" * 4096)


@pytest.mark.skipif(importlib.util.find_spec("grpc_tools") is None, reason="needs grpcio-tools")
def test_the_generated_code_is_fresh(tmp_path):
    command = [
        sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'protos'}",
        f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", "secagg/v1/secagg.proto",
    ]  # fmt: skip
    subprocess.run(command, check=True, cwd=ROOT, timeout=60)
    committed = Path(secagg.transport.__file__).parent
    for name in ("secagg_pb2.py", "secagg_pb2.pyi"):
        assert (committed / name).read_text() == (tmp_path / "secagg" / "v1" / name).read_text(), name
