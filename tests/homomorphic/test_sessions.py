"""The sum is exact, whoever vanishes and whenever, as long as a decryptor stays."""

from __future__ import annotations

import sys
from collections.abc import Collection
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.errors import ClientFault, MissingExtraError, ProtocolError, TooFewClients
from secagg.homomorphic.scheme import Kind
from secagg.prg import Ring
from secagg.unprotected import UnprotectedClient, UnprotectedServer
from tests.cohort import CONTEXT
from tests.homomorphic.lies import Watch, assert_silent
from tests.homomorphic.sessions import Sessions, terms

KINDS: list[Kind] = ["bfv", "ckks"]
both_kinds = pytest.mark.parametrize("kind", KINDS)
both_modes = pytest.mark.parametrize("recompute", [False, True], ids=["once", "recompute"])


def unprotected_sum(sessions: Sessions, names: Collection[str]) -> Ring:
    """The same vectors, added in the clear."""
    scheme = sessions.terms.scheme
    server = UnprotectedServer(
        context=CONTEXT, bits=scheme.bits, length=scheme.length, clients=sorted(names), min_survivors=1
    )
    for name, request in server.requests().items():
        client = UnprotectedClient(context=CONTEXT, bits=scheme.bits, vector=sessions.vectors[name])
        server.receive(name, client.answer(request))
    server.advance()
    return server.sum().vector


def assert_opened(sessions: Sessions, names: Collection[str]) -> None:
    opened = sessions.server.sum()
    assert opened.survivors == tuple(sorted(names))
    assert opened.vector.dtype == unprotected_sum(sessions, names).dtype
    assert np.array_equal(opened.vector, unprotected_sum(sessions, names))
    assert np.array_equal(opened.vector, sessions.expected(names))


def assert_nothing_opens(sessions: Sessions, code: str) -> None:
    with pytest.raises(ProtocolError) as ended:
        sessions.server.advance()
    assert ended.value.code == code
    with pytest.raises(ProtocolError, match="sum-not-open"):
        sessions.server.sum()


# -- nobody vanishes --------------------------------------------------------------------------------------


@both_kinds
@both_modes
@pytest.mark.parametrize(("n", "length"), [(2, 1), (3, 60), (8, 5000)])
def test_the_opened_sum_is_that_of_the_same_vectors_in_the_clear(
    kind: Kind, recompute: bool, n: int, length: int
) -> None:
    sessions = Sessions(n, terms(kind, recompute, length, min_survivors=2))
    sessions.run()
    assert_opened(sessions, sessions.ids)


@both_kinds
def test_vectors_of_several_ciphertexts_are_added_block_by_block(kind: Kind) -> None:
    one = terms(kind, True, 9000)
    assert one.scheme.blocks > 1
    sessions = Sessions(3, one)
    sessions.run()
    assert_opened(sessions, sessions.ids)


@both_kinds
def test_the_largest_cohort_with_every_value_at_its_limit_does_not_overflow(kind: Kind) -> None:
    for sign in (1, -1):
        sessions = Sessions(8, terms(kind, length=9))
        largest = ((1 << (sessions.terms.scheme.bits - 1)) - 1) // 8
        for name, vector in sessions.vectors.items():
            sessions.integers[name][:] = sign * largest
            vector[:] = sessions.expected([name])
        sessions.run()
        assert_opened(sessions, sessions.ids)


@both_modes
def test_the_stages_come_in_the_protocols_order(recompute: bool) -> None:
    sessions, seen = Sessions(3, terms(recompute=recompute)), []
    while sessions.server.stage:
        seen.append(sessions.server.stage)
        sessions.step()
    middle = ["confirm", "fetch-0", "fetch-1", "fetch-2"] if recompute else []
    assert seen == ["advertise", "key", "upload", *middle, "open"]


@both_modes
def test_who_is_asked_in_each_stage(recompute: bool) -> None:
    sessions = Sessions(6, terms(recompute=recompute))
    while stage := sessions.server.stage:
        asked = set(sessions.server.requests())
        if stage in ("advertise", "upload"):
            assert asked == set(sessions.ids)
        else:
            assert asked == (set(sessions.decryptors[:1]) if stage == "key" else set(sessions.decryptors))
        sessions.step()
    assert sessions.server.requests() == {}


@both_modes
def test_what_the_server_says_of_itself_at_each_stage(recompute: bool) -> None:
    sessions = Sessions(5, terms(recompute=recompute))
    server = sessions.server
    while stage := server.stage:
        early = stage in ("advertise", "key")
        assert server.retryable == early
        assert server.opens == (stage == "open")
        assert server.key_holders == (() if early else tuple(sessions.decryptors))
        assert server.members == (() if early or stage == "upload" else tuple(sessions.ids))
        sent = stage not in ("advertise", "key", "upload")
        assert all(client.sent == client.spent == sent for client in sessions.clients.values())
        sessions.step()
    assert (server.faults, server.suspects, server.reply_limit) == ({}, (), 0)


def test_a_sum_is_not_given_before_the_last_stage_is_closed() -> None:
    sessions = Sessions(3)
    while sessions.server.stage:
        with pytest.raises(ProtocolError, match="sum-not-open"):
            sessions.server.sum()
        sessions.step()
    sessions.server.sum()


# -- one vanishes, at every stage -------------------------------------------------------------------------

_STAGES = ["advertise", "key", "upload", "confirm", "fetch", "open"]


@both_kinds
@both_modes
@pytest.mark.parametrize("stage", _STAGES)
def test_every_single_dropout_at_every_stage_leaves_the_sum_of_the_others(
    kind: Kind, recompute: bool, stage: str
) -> None:
    if not recompute and stage in ("confirm", "fetch"):
        return
    for gone in range(4):
        sessions = Sessions(4, terms(kind, recompute, length=20))
        sessions.run_to(stage)
        name = sessions.ids[gone]
        if stage == "key" and name == sessions.decryptors[0]:
            assert_nothing_opens(sessions, "key-maker-lost")
            continue
        sessions.run(silent=(name,))
        late = stage in ("confirm", "fetch", "open")
        assert_opened(sessions, sessions.ids if late else [one for one in sessions.ids if one != name])


@both_modes
def test_after_the_upload_only_decryptors_are_needed(recompute: bool) -> None:
    sessions = Sessions(7, terms(recompute=recompute))
    sessions.run_to("upload")
    sessions.step()
    for name in sessions.uploaders:
        sessions.clients.pop(name).close()
    sessions.run()
    assert_opened(sessions, sessions.ids)


@both_kinds
def test_any_one_decryptor_opens_the_sum_and_without_any_nothing_opens(kind: Kind) -> None:
    for gone in (who for count in (1, 2, 3) for who in combinations(range(3), count)):
        sessions = Sessions(5, terms(kind))
        sessions.run_to("open")
        silent = [sessions.decryptors[at] for at in gone]
        if len(gone) < 3:
            sessions.run(silent)
            assert_opened(sessions, sessions.ids)
            continue
        assert_nothing_opens(sessions, "decryptors-lost")
        assert not sessions.server.retryable


@pytest.mark.parametrize("stage", ["upload", "confirm", "fetch-0", "fetch-3", "open"])
def test_with_recompute_a_quorum_confirms_and_one_of_it_opens(stage: str) -> None:
    for gone in (who for count in (1, 2, 3) for who in combinations(range(3), count)):
        sessions = Sessions(6, terms(recompute=True))
        sessions.run_to(stage)
        silent = [sessions.decryptors[at] for at in gone]
        most = 1 if stage in ("upload", "confirm") else 2
        if len(gone) <= most:
            sessions.run(silent)
            assert_opened(
                sessions,
                [name for name in sessions.ids if stage != "upload" or name not in silent],
            )
            continue
        with pytest.raises(ProtocolError) as ended:
            sessions.run(silent)
        assert ended.value.code == "decryptors-lost"
        assert sessions.server.stage == stage
        with pytest.raises(ProtocolError, match="sum-not-open"):
            sessions.server.sum()


def test_decryptors_that_vanish_one_after_the_other_are_made_up_for_by_the_last() -> None:
    sessions = Sessions(5, terms(recompute=True))
    sessions.run_to("fetch-1")
    first, second, _ = sessions.decryptors
    sessions.step(silent=(first,))
    sessions.run_to("open")
    assert first not in sessions.server.requests()
    sessions.step(silent=(second,))
    assert_opened(sessions, sessions.ids)


@both_kinds
@both_modes
def test_after_a_lost_key_maker_another_attempt_sums_the_same_vectors(kind: Kind, recompute: bool) -> None:
    first = Sessions(5, terms(kind, recompute))
    first.run_to("key")
    gone = first.decryptors[0]
    assert_nothing_opens(first, "key-maker-lost")
    assert first.server.retryable
    assert not any(client.spent for client in first.clients.values())
    again = Sessions(5, terms(kind, recompute), context=bytes(32))
    for name, vector in first.vectors.items():
        assert np.array_equal(again.vectors[name], vector)
    again.step(silent=(gone,))
    again.run()
    assert_opened(again, [name for name in again.ids if name != gone])


def test_a_failed_upload_is_not_tried_again() -> None:
    """Whoever uploaded may be gone, and its vector is spent."""
    sessions = Sessions(5)
    sessions.run_to("upload")
    name = sessions.ids[0]
    sessions.server.receive(name, sessions.clients[name].answer(sessions.request(name)))
    with pytest.raises(TooFewClients):
        sessions.server.advance()
    assert not sessions.server.retryable


def test_an_upload_that_comes_after_its_stage_is_refused_and_not_in_the_sum() -> None:
    sessions = Sessions(5)
    sessions.run_to("upload")
    late = sessions.uploaders[0]
    replies = sessions.ask()
    for name, reply in replies.items():
        if name != late:
            sessions.server.receive(name, reply)
    sessions.server.advance()
    with pytest.raises(ClientFault, match="reply-unexpected"):
        sessions.server.receive(late, replies[late])
    sessions.run()
    assert_opened(sessions, [name for name in sessions.ids if name != late])


def test_a_decryptor_whose_upload_was_late_is_not_asked_to_open() -> None:
    """It would refuse: its own vector is not in the sum."""
    sessions = Sessions(5)
    sessions.run_to("upload")
    late = sessions.decryptors[0]
    sessions.step(silent=(late,))
    assert set(sessions.server.requests()) == set(sessions.decryptors[1:])


# -- any pattern ------------------------------------------------------------------------------------------


@given(
    kind=st.sampled_from(KINDS),
    recompute=st.booleans(),
    n=st.integers(2, 7),
    fates=st.lists(st.sampled_from([*_STAGES, "stays", "stays"]), min_size=7, max_size=7),
    seed=st.integers(0, 1000),
)
@settings(max_examples=120, deadline=None)
def test_any_pattern_of_dropouts_opens_the_exact_sum_or_nothing(
    kind: Kind, recompute: bool, n: int, fates: list[str], seed: int
) -> None:
    """Each client vanishes at a stage of its own, alone or together with others."""
    sessions = Sessions(n, terms(kind, recompute, length=17, min_survivors=2), seed=seed)
    gone: set[str] = set()
    in_sum: set[str] = set()
    last: set[str] = set()
    try:
        while stage := sessions.server.stage:
            now = stage.partition("-")[0]
            gone |= {name for name, fate in zip(sessions.ids, fates, strict=False) if fate == now}
            last = set(sessions.server.requests()) - gone
            sessions.step(silent=gone)
            if stage == "upload":
                in_sum = last
    except ProtocolError as error:
        needed = {
            "advertise": ("too-few-clients", 2),
            "key": ("key-maker-lost", 1),
            "confirm": ("decryptors-lost", min(n, 3) // 2 + 1),
            "fetch": ("decryptors-lost", 1),
            "open": ("decryptors-lost", 1),
        }
        if now == "upload":
            holders = last & set(sessions.decryptors)
            assert error.code == ("too-few-clients" if len(last) < 2 else "decryptors-lost")
            assert len(last) < 2 or len(holders) < (sessions.cohort.quorum if recompute else 1)
        else:
            code, least = needed[now]
            assert error.code == code and len(last) < least
        assert sessions.server.retryable == (now in ("advertise", "key"))
        with pytest.raises(ProtocolError, match="sum-not-open"):
            sessions.server.sum()
        return
    assert_opened(sessions, in_sum)


# -- same request, same bytes -----------------------------------------------------------------------------


@both_kinds
@both_modes
def test_the_same_request_gets_the_same_bytes_at_every_stage_and_after_the_last(
    kind: Kind, recompute: bool
) -> None:
    """Encryption is randomised; a request that came twice must not show two ciphertexts of one vector."""
    sessions = Sessions(4, terms(kind, recompute))
    asked: list[tuple[str, bytes, bytes]] = []
    while sessions.server.stage:
        requests = sessions.server.requests()
        asked += [(name, requests[name], bytes(reply)) for name, reply in sessions.step().items()]
        for name, request, reply in asked:
            assert sessions.clients[name].answer(request) == reply


def test_an_answer_that_comes_twice_is_counted_once() -> None:
    sessions = Sessions(4)
    while sessions.server.stage:
        for name, reply in sessions.ask().items():
            sessions.server.receive(name, reply)
            sessions.server.receive(name, reply)
        sessions.server.advance()
    assert_opened(sessions, sessions.ids)


# -- without the library ----------------------------------------------------------------------------------


def test_a_client_without_the_extra_says_what_to_install_and_holds_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sessions = Sessions(4, terms(length=61))  # a scheme that nothing else here has loaded SEAL for
    sessions.run_to("key")
    maker = sessions.clients[sessions.decryptors[0]]
    watch = Watch(maker)
    monkeypatch.setitem(sys.modules, "tenseal.sealapi", None)  # as if it were not installed
    with pytest.raises(MissingExtraError) as missing:
        maker.answer(sessions.request(sessions.decryptors[0]))
    assert "secagg[he]" in missing.value.hint
    watch.assert_erased(missing.value)
    assert_silent(maker)
