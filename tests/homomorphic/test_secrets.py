"""What is secret stays where it is: not in a frame, a log, an error, a repr or a pickle; and not for long."""

from __future__ import annotations

import copy
import gc
import logging
import pickle
import weakref
from collections.abc import Callable

import numpy as np
import pytest

from secagg.encoding.packing import pack
from secagg.errors import SecaggError
from secagg.homomorphic.engine import SecretKey
from secagg.homomorphic.messages import ConfirmRequest, FetchRequest, KeyReply, OpenRequest, UploadRequest
from secagg.homomorphic.scheme import Kind
from secagg.keys import Secret
from tests.cohort import credentials
from tests.homomorphic.lies import (
    Watch,
    advertised,
    assert_silent,
    ciphertext_of,
    key_of,
    keys_reachable,
    sealed_for,
    secrets_of,
    traces_of,
    upload_request,
    with_roster,
)
from tests.homomorphic.sessions import Sessions, terms
from tests.masking.lies import content, leaks, reachable

STAGES = ["advertise", "key", "upload", "confirm", "fetch-0", "fetch-5", "open"]
KINDS: list[Kind] = ["bfv", "ckks"]
both_kinds = pytest.mark.parametrize("kind", KINDS)
both_modes = pytest.mark.parametrize("recompute", [False, True], ids=["once", "recompute"])


def at(stage: str, kind: Kind = "bfv", recompute: bool = True) -> Sessions:
    sessions = Sessions(6, terms(kind, recompute))
    sessions.run_to(stage)
    return sessions


# -- in transit and at the server -------------------------------------------------------------------------


@both_kinds
@both_modes
def test_no_secret_is_in_any_frame_or_log_or_anywhere_in_the_server(
    kind: Kind, recompute: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The secret key, packed and as words; the channels' keys; the vectors, as words and packed."""
    caplog.set_level(logging.DEBUG)
    sessions = Sessions(6, terms(kind, recompute))
    scheme = sessions.terms.scheme
    never = [vector.tobytes() for vector in sessions.vectors.values()]
    never += [bytes(pack(vector, scheme.bits)) for vector in sessions.vectors.values()]
    never += [bytes(client._channel.private.reveal()) for client in sessions.clients.values()]
    frames: list[bytes] = []
    keys = 0
    while sessions.server.stage:
        frames += sessions.server.requests().values()
        for name, reply in sessions.ask().items():
            frames.append(bytes(reply))
            if (key := key_of(sessions.clients[name])) is not None:
                never += traces_of(key, scheme)
                keys += 1
            sessions.server.receive(name, reply)
        assert leaks(never, sessions.server) == []
        assert keys_reachable(sessions.server) == []
        sessions.server.advance()
    assert keys >= 4
    assert leaks(never, sessions.server, *frames, caplog.text, *caplog.records) == []


@both_kinds
def test_the_search_finds_a_key_where_there_is_one(kind: Kind) -> None:
    """So that finding none above means something: in a decryptor, packed, as words, in bytes and arrays."""
    sessions = at("upload", kind)
    client, scheme = sessions.clients[sessions.decryptors[0]], sessions.terms.scheme
    key = key_of(client)
    assert key is not None
    assert keys_reachable(client) == [key]
    traces = traces_of(key, scheme)
    assert len(set(traces)) == len(traces)
    packed = bytes(key.to_secret().reveal())
    words = np.array(key._engine.words_of(key._key))
    for copied in (
        packed,
        bytearray(packed),
        memoryview(packed),
        words,
        words[0],
        {"kept": [words.tobytes()]},
    ):
        assert leaks(traces, copied)
    assert leaks(traces, sessions.request(sessions.uploaders[0])) == []


def test_the_sealed_key_is_only_where_it_must_be() -> None:
    """Each decryptor's request holds its own, and no other request holds any."""
    sessions = at("key")
    reply = KeyReply.from_bytes(sessions.step()[sessions.decryptors[0]])
    sealed = {sessions.ids[position]: secret for position, secret in reply.sealed}
    for name, request in sessions.server.requests().items():
        assert UploadRequest.from_bytes(request).sealed == sealed.get(name, b"")
        assert [other for other, secret in sealed.items() if secret in request] == [name] * (name in sealed)


@both_kinds
def test_one_vector_encrypted_twice_has_nothing_in_common(kind: Kind) -> None:
    seen = []
    for _ in range(2):
        sessions = Sessions(3, terms(kind))
        for vector in sessions.vectors.values():
            vector[:] = 0
        sessions.run_to("upload")
        seen += [ciphertext_of(reply) for reply in sessions.ask().values()]
    windows = [text[at : at + 12] for text in seen for at in range(0, len(text) - 12, 12)]
    assert len(set(windows)) == len(windows)


def test_two_attempts_over_one_vector_share_no_key() -> None:
    secrets: list[bytes] = []
    for attempt in (1, 2):
        sessions = Sessions(6, context=bytes((attempt,)) * 32)
        sessions.run_to("upload")
        key = key_of(sessions.clients[sessions.decryptors[0]])
        assert key is not None
        secrets += traces_of(key, sessions.terms.scheme)
        secrets += [bytes(client._channel.private.reveal()) for client in sessions.clients.values()]
    assert len(set(secrets)) == len(secrets)


# -- in print and in storage ------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES)
def test_no_repr_of_anything_in_a_session_shows_a_secret(stage: str) -> None:
    sessions = at(stage)
    name = sessions.ids[0] if stage == "advertise" else sessions.decryptors[0]
    client = sessions.clients[name]
    secrets = secrets_of(client)
    shown = [
        text
        for found in reachable(client)
        if not isinstance(found, bytes | bytearray | int | dict | list | tuple | np.ndarray)
        for text in (repr(found), str(found))
    ]
    for secret in secrets:
        for form in (secret.hex(), repr(secret)[2:-1], str(int.from_bytes(secret, "little"))):
            assert not any(form in text for text in shown)
    assert repr(client) == f"HomomorphicClient('{name}')"
    if client._decryptor is not None:
        assert repr(client._decryptor) == "Decryptor()"
    if (key := key_of(client)) is not None:
        assert repr(key) == "SecretKey()"


@pytest.mark.parametrize("stage", STAGES)
def test_a_session_can_be_neither_pickled_nor_copied_deeply_at_any_stage(stage: str) -> None:
    sessions = at(stage)
    name = sessions.ids[0] if stage == "advertise" else sessions.decryptors[0]
    for _ in range(2):  # while it runs, and after it was closed
        for attempt in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError):
                attempt(sessions.clients[name])
        sessions.clients[name].close()


def test_a_decryptor_can_be_neither_pickled_nor_copied_deeply() -> None:
    client = at("open").clients
    for decryptor in (one._decryptor for one in client.values() if one._decryptor is not None):
        for attempt in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError):
                attempt(decryptor)


# -- after the end ----------------------------------------------------------------------------------------


@both_kinds
@both_modes
def test_after_the_opening_a_decryptor_holds_no_key_and_still_repeats_its_answers(
    kind: Kind, recompute: bool
) -> None:
    sessions = at("open", kind, recompute)
    for name in sessions.decryptors:
        client, request = sessions.clients[name], sessions.request(name)
        watch = Watch(client)
        reply = client.answer(request)
        watch.assert_erased(reply)
        assert client.answer(request) == reply
        client.close()
        watch.assert_erased()
        assert_silent(client, request)


@both_kinds
def test_after_its_upload_an_uploader_holds_no_secret(kind: Kind) -> None:
    sessions = at("upload", kind)
    for name in sessions.uploaders:
        watch = Watch(sessions.clients[name])
        reply = sessions.clients[name].answer(sessions.request(name))
        watch.assert_erased(reply)


def test_after_its_upload_a_decryptor_holds_the_key_once_and_no_channel_key() -> None:
    sessions = at("upload")
    for name in sessions.decryptors:
        client = sessions.clients[name]
        watch = Watch(client)
        client.answer(sessions.request(name))
        assert not any(any(buffer) for buffer in watch.buffers)
        assert len(keys_reachable(client)) == 1
        key = key_of(client)
        assert key is not None
        assert leaks(traces_of(key, sessions.terms.scheme), client) == []


@pytest.mark.parametrize("stage", STAGES)
def test_after_close_a_client_holds_no_secret_whatever_the_stage(stage: str) -> None:
    sessions = at(stage)
    for name in sessions.ids:
        client = sessions.clients[name]
        watch = Watch(client)
        client.close()
        client.close()
        watch.assert_erased()
        assert_silent(client)


LIES: dict[str, Callable[[Sessions, str], bytes]] = {
    "advertise": lambda one, name: b"\x01\x00" + bytes(32),
    "key": lambda one, name: with_roster(one.request(name), lambda roster: roster[::-1]),
    "upload": lambda one, name: upload_request(one, name, sealed=b"\1" * 99),
    "confirm": lambda one, name: ConfirmRequest(()).to_bytes(),
    "fetch-0": lambda one, name: FetchRequest(0, b"").to_bytes(),
    "fetch-5": lambda one, name: FetchRequest(5, b"").to_bytes(),
    "open": lambda one, name: OpenRequest((), (), b"").to_bytes(),
}


@pytest.mark.parametrize("stage", STAGES)
def test_after_an_abort_neither_the_session_nor_its_error_holds_a_secret(stage: str) -> None:
    """Python keeps the local variables of a failed call alive with its traceback; here they are cleared."""
    sessions = at(stage)
    for name in sessions.decryptors if stage not in ("advertise", "key") else [*sessions.server.requests()]:
        client = sessions.clients[name]
        watch = Watch(client)
        try:
            client.answer(LIES[stage](sessions, name))
        except SecaggError as error:
            chained = error.__cause__
            watch.assert_erased(error, error.__traceback__, chained, error.__context__)
            watch.assert_erased(chained.__traceback__ if chained else None)
            assert leaks(watch.secrets, str(error), repr(error), error.args) == []
        else:
            pytest.fail("the lie was believed")


@both_kinds
def test_every_buffer_that_a_secret_key_passes_through_is_zeroed(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On its way out, to be sealed, and on its way in, unsealed: whether it is taken or not."""
    seen: list[tuple[Secret, bytearray]] = []
    out, into = SecretKey.to_secret, SecretKey.from_secret.__func__  # type: ignore[attr-defined]

    def note(secret: Secret) -> Secret:
        seen.append((secret, secret.reveal()))
        assert any(seen[-1][1])
        return secret

    monkeypatch.setattr(SecretKey, "to_secret", lambda key: note(out(key)))
    monkeypatch.setattr(
        SecretKey, "from_secret", classmethod(lambda cls, scheme, secret: into(cls, scheme, note(secret)))
    )
    sessions = at("upload", kind)
    assert len(seen) == 1
    first, second = sessions.decryptors[1:]
    sessions.clients[first].answer(sessions.request(first))
    garbage = sealed_for(sessions, second, b"\1" * len(seen[0][1]) + b"\1")
    with pytest.raises(SecaggError):
        sessions.clients[second].answer(upload_request(sessions, second, sealed=garbage))
    assert len(seen) == 3
    for secret, buffer in seen:
        assert not any(buffer)
        with pytest.raises(SecaggError, match="secret-erased"):
            secret.reveal()


def test_a_failure_deep_in_the_key_leaves_nothing_behind() -> None:
    """The sum is refused after the key was used on it: its local variables are gone too."""
    sessions = at("open", recompute=False)
    for name in sessions.decryptors:
        client = sessions.clients[name]
        watch = Watch(client)
        honest = OpenRequest.from_bytes(sessions.request(name))
        spoiled = bytearray(honest.ciphertext)
        spoiled[len(spoiled) // 2 + 3] ^= 1 << 6
        with pytest.raises(SecaggError, match="noise-budget") as refused:
            client.answer(OpenRequest(honest.survivors, (), bytes(spoiled)).to_bytes())
        cause = refused.value.__cause__
        assert cause is not None
        watch.assert_erased(refused.value, refused.value.__traceback__, cause, cause.__traceback__)


def test_a_failure_nobody_foresaw_ends_the_session_as_well() -> None:
    sessions = at("upload")
    client = sessions.clients[sessions.decryptors[0]]
    watch = Watch(client)

    def broken(_identity: object) -> bool:
        raise RuntimeError("a floor of one's own")

    client._admits = broken
    with pytest.raises(RuntimeError, match="a floor of one's own"):
        client.answer(sessions.request(sessions.decryptors[0]))
    watch.assert_erased()
    assert_silent(client)


@both_modes
def test_a_client_does_not_change_the_vector_it_was_given(recompute: bool) -> None:
    sessions = Sessions(4, terms(recompute=recompute))
    before = {name: vector.copy() for name, vector in sessions.vectors.items()}
    sessions.run()
    assert all(np.array_equal(sessions.vectors[name], vector) for name, vector in before.items())


@both_kinds
def test_once_all_sessions_are_closed_no_object_of_the_process_holds_the_key(kind: Kind) -> None:
    """Everything the collector knows, not only what the sessions reach."""
    sessions = at("open", kind)
    held = [key_of(sessions.clients[name]) for name in sessions.decryptors]
    traces = list({trace for key in held if key for trace in traces_of(key, sessions.terms.scheme)})
    alive = [weakref.ref(key) for key in held if key is not None]
    del held
    assert len(alive) == 3
    sessions.run()
    for client in sessions.clients.values():
        client.close()
    gc.collect()
    assert [one() for one in alive] == [None] * 3
    own = {id(trace) for trace in traces}
    found = [
        type(one).__name__
        for holder in gc.get_objects()
        for one in (holder, *gc.get_referents(holder))
        if type(one) in (bytes, bytearray, np.ndarray) and id(one) not in own
        if (bytes_of := content(one)) and any(trace in bytes_of for trace in traces)
    ]
    assert found == []


def test_a_channel_key_is_fresh_for_each_session() -> None:
    assert len({Sessions(1).clients["client-000"]._channel.public for _ in range(5)}) == 5
    assert advertised(credentials("client-000")) != advertised(credentials("client-000"))
