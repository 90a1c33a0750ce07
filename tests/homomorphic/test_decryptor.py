"""A decryptor on its own, without the session that guards its stages: it keeps the rules by itself."""

from __future__ import annotations

import numpy as np
import pytest

from secagg.errors import SecaggError, ServerFault
from secagg.homomorphic.decryptor import Decryptor
from secagg.homomorphic.messages import FetchRequest, OpenRequest
from secagg.homomorphic.scheme import Kind
from tests.homomorphic.lies import ciphertext_of, keys_reachable
from tests.homomorphic.sessions import Sessions, terms

N = 5
ALL = tuple(range(N))
KINDS: list[Kind] = ["bfv", "ckks"]
both_kinds = pytest.mark.parametrize("kind", KINDS)


def holder(kind: Kind, recompute: bool) -> tuple[Sessions, Decryptor, bytes, list[bytes]]:
    """After all uploads: a decryptor, the digest of its own ciphertext, and everybody's ciphertexts."""
    sessions = Sessions(N, terms(kind, recompute))
    sessions.run_to("upload")
    uploads = [ciphertext_of(reply) for reply in sessions.step().values()]
    client = sessions.clients[sessions.decryptors[0]]
    assert client._decryptor is not None
    return sessions, client._decryptor, client._digest, uploads


@both_kinds
def test_a_key_opens_one_sum(kind: Kind) -> None:
    sessions, decryptor, _, _ = holder(kind, False)
    request = OpenRequest.from_bytes(sessions.request(sessions.decryptors[0]))
    assert np.array_equal(sessions.opened(decryptor.open(request)), sessions.expected(sessions.ids))
    assert keys_reachable(decryptor) == []
    with pytest.raises(ServerFault, match="session-closed"):
        decryptor.open(request)


@both_kinds
@pytest.mark.parametrize("survivors", [(), (0, 1), ALL], ids=str)
def test_a_refused_opening_uses_up_the_key_as_well(kind: Kind, survivors: tuple[int, ...]) -> None:
    """Too few survivors, or a sum that is no ciphertext: there is no second try."""
    sessions, decryptor, _, _ = holder(kind, False)
    with pytest.raises(SecaggError):
        decryptor.open(OpenRequest(survivors, (), b""))
    assert keys_reachable(decryptor) == []
    with pytest.raises(ServerFault, match="session-closed"):
        decryptor.open(OpenRequest.from_bytes(sessions.request(sessions.decryptors[0])))


@both_kinds
def test_with_recompute_it_opens_nothing_before_all_of_the_sum_is_added(kind: Kind) -> None:
    for added in range(N):
        sessions, decryptor, digest, uploads = holder(kind, True)
        parts = sessions.server._survivors_request()
        decryptor.confirm(parts, digest)
        for position in range(added):
            assert decryptor.next_stage == f"fetch-{position}"
            decryptor.fetch(FetchRequest(position, uploads[position]))
        with pytest.raises(ServerFault, match="stage-order"):
            decryptor.open(OpenRequest(ALL, (), b""))
        assert keys_reachable(decryptor) == []


def test_with_recompute_it_adds_and_opens_nothing_before_it_confirmed() -> None:
    _, decryptor, _, uploads = holder("bfv", True)
    assert decryptor.next_stage == "confirm"
    with pytest.raises(ServerFault, match="stage-order"):
        decryptor.fetch(FetchRequest(0, uploads[0]))
    with pytest.raises(ServerFault, match="stage-order"):
        decryptor.open(OpenRequest(ALL, (), uploads[0]))


def test_it_adds_no_more_than_it_confirmed() -> None:
    sessions, decryptor, digest, uploads = holder("bfv", True)
    decryptor.confirm(sessions.server._survivors_request(), digest)
    for position, ciphertext in enumerate(uploads):
        decryptor.fetch(FetchRequest(position, ciphertext))
    assert decryptor.next_stage == "open"
    with pytest.raises(ServerFault, match="stage-order"):
        decryptor.fetch(FetchRequest(N - 1, uploads[-1]))


def test_erased_it_opens_nothing() -> None:
    sessions, decryptor, _, _ = holder("bfv", False)
    decryptor.erase()
    assert keys_reachable(decryptor) == []
    with pytest.raises(ServerFault, match="session-closed"):
        decryptor.open(OpenRequest.from_bytes(sessions.request(sessions.decryptors[0])))


def test_it_prints_nothing() -> None:
    _, decryptor, _, _ = holder("bfv", False)
    assert repr(decryptor) == str(decryptor) == "Decryptor()"
