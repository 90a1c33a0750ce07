"""Aggregation without protection: the same sum, the same manners."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.encoding.packing import pack, packed_size
from secagg.encoding.ring import word
from secagg.errors import ClientFault, ProtocolError, ServerFault, TooFewClients
from secagg.prg import Ring
from secagg.session import SessionCache
from secagg.unprotected import UnprotectedClient, UnprotectedServer
from tests.cohort import CONTEXT, Cohort

NAMES = ("a", "b", "c", "d")


def vectors(bits: int, length: int = 9, seed: int = 0) -> dict[str, Ring]:
    generator = np.random.default_rng(seed)
    top = (1 << bits) - 1
    return {
        name: generator.integers(0, top, length, dtype=np.uint64, endpoint=True).astype(word(bits))
        for name in NAMES
    }


def server(bits: int = 26, length: int = 9, min_survivors: int = 3) -> UnprotectedServer:
    return UnprotectedServer(
        context=CONTEXT, bits=bits, length=length, clients=NAMES, min_survivors=min_survivors
    )


@given(
    st.integers(8, 64), st.integers(1, 70), st.sets(st.sampled_from(NAMES), min_size=3), st.integers(0, 99)
)
def test_the_sum_is_the_plain_sum_of_whoever_answered(
    bits: int, length: int, stay: set[str], seed: int
) -> None:
    given_vectors = vectors(bits, length, seed)
    session = server(bits, length)
    for name, request in session.requests().items():
        if name in stay:
            client = UnprotectedClient(context=CONTEXT, bits=bits, vector=given_vectors[name])
            session.receive(name, client.answer(request))
    session.advance()
    opened = session.sum()
    expected = [sum(int(given_vectors[name][i]) for name in stay) % 2**bits for i in range(length)]
    assert opened.vector.tolist() == expected
    assert opened.survivors == tuple(sorted(stay))


@pytest.mark.parametrize("bits", [8, 26, 33, 64])
def test_with_and_without_masks_the_sum_is_the_same_to_the_bit(bits: int) -> None:
    cohort = Cohort(4, bits=bits)
    cohort.run()
    plain = UnprotectedServer(
        context=CONTEXT, bits=bits, length=cohort.length, clients=cohort.ids, min_survivors=3
    )
    for name in cohort.ids:
        plain.receive(name, pack(cohort.vectors[name], bits))
    plain.advance()
    masked, opened = cohort.server.sum(), plain.sum()
    assert np.array_equal(masked.vector, opened.vector)
    assert masked.vector.dtype == opened.vector.dtype
    assert masked.survivors == opened.survivors


def test_too_few_answers_open_nothing() -> None:
    session = server()
    for name in NAMES[:2]:
        session.receive(name, bytes(packed_size(9, 26)))
    with pytest.raises(TooFewClients):
        session.advance()
    with pytest.raises(ProtocolError) as refused:
        session.sum()
    assert refused.value.code == "sum-not-open"


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (bytes(packed_size(9, 26) - 1), "vector-length"),
        (bytes(packed_size(9, 26) + 1), "vector-length"),
        (b"", "vector-length"),
        (b"\xff" * packed_size(9, 26), "vector-outside-ring"),
    ],
)
def test_a_reply_that_is_no_vector_names_its_sender_and_adds_nothing(reply: bytes, code: str) -> None:
    session = server()
    for _ in range(2):
        with pytest.raises(ClientFault) as refused:
            session.receive("b", reply)
        assert (refused.value.code, refused.value.client) == (code, "b")
    with pytest.raises(ClientFault):  # once at fault, left out
        session.receive("b", bytes(packed_size(9, 26)))
    assert session.faults == {"b": code}
    for name in ("a", "c", "d"):
        session.receive(name, bytes(packed_size(9, 26)))
    session.advance()
    assert not session.sum().vector.any()
    assert session.sum().survivors == ("a", "c", "d")


def test_the_same_answer_twice_counts_once_and_another_is_a_fault() -> None:
    session = server(min_survivors=1)
    one = pack(vectors(26)["a"], 26)
    session.receive("a", one)
    session.receive("a", bytes(one))
    with pytest.raises(ClientFault) as refused:
        session.receive("a", bytes(len(one)))
    assert refused.value.code == "two-answers"
    session.advance()
    assert np.array_equal(session.sum().vector, vectors(26)["a"])


def test_strangers_and_late_clients_are_refused() -> None:
    session = server(min_survivors=1)
    with pytest.raises(ClientFault) as refused:
        session.receive("nobody", bytes(packed_size(9, 26)))
    assert refused.value.code == "reply-unexpected"
    session.receive("a", bytes(packed_size(9, 26)))
    session.advance()
    with pytest.raises(ClientFault) as refused:
        session.receive("b", bytes(packed_size(9, 26)))
    assert refused.value.code == "reply-unexpected"


def test_a_session_says_where_it_stands() -> None:
    session = server(min_survivors=1)
    assert (session.stage, session.opens, session.retryable) == ("upload", True, False)
    assert session.reply_limit == packed_size(9, 26)
    session.receive("a", bytes(packed_size(9, 26)))
    session.advance()
    assert (session.stage, session.opens, session.retryable) == ("", False, False)
    assert (session.requests(), session.reply_limit) == ({}, 0)


# -- the client's side --------------------------------------------------------------------------------


def client() -> UnprotectedClient:
    return UnprotectedClient(context=CONTEXT, bits=26, vector=vectors(26)["a"])


@pytest.mark.parametrize(
    ("request_bytes", "code"),
    [
        (b"", "message-short"),
        (b"\x01" + CONTEXT[:-1], "message-short"),
        (b"\x01" + CONTEXT + b"\x00", "message-long"),
        (b"\x02" + CONTEXT, "context-mismatch"),
        (b"\x01" + bytes(32), "context-mismatch"),
    ],
)
def test_a_request_of_another_task_ends_the_clients_session(request_bytes: bytes, code: str) -> None:
    session = client()
    with pytest.raises(ServerFault) as refused:
        session.answer(request_bytes)
    assert refused.value.code == code
    with pytest.raises(ServerFault) as refused:
        session.answer(b"\x01" + CONTEXT)
    assert refused.value.code == "session-closed"


def test_the_same_request_gets_the_same_bytes_and_another_gets_none() -> None:
    session = client()
    request = b"\x01" + CONTEXT
    assert session.answer(request) == session.answer(request) == pack(vectors(26)["a"], 26)
    with pytest.raises(ServerFault) as refused:
        session.answer(b"\x01" + bytes(32))
    assert refused.value.code == "request-changed"


def test_a_closed_session_answers_nothing() -> None:
    session = client()
    session.answer(b"\x01" + CONTEXT)
    session.close()
    with pytest.raises(ServerFault) as refused:
        session.answer(b"\x01" + CONTEXT)
    assert refused.value.code == "session-closed"


def test_replies_are_remembered_by_stage_until_forgotten() -> None:
    cache = SessionCache()
    assert cache.repeated("one", b"request") is None
    cache.keep("one", b"request", b"reply")
    assert cache.repeated("one", b"request") == b"reply"
    assert cache.repeated("two", b"request") is None
    with pytest.raises(ServerFault) as refused:
        cache.repeated("one", b"another")
    assert refused.value.code == "request-changed"
    cache.forget()
    assert cache.repeated("one", b"another") is None
