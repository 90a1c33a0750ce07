"""A server that lies when the sum is opened, without recompute: what a decryptor can notice, it refuses.

What it cannot notice there is in `test_limits`; with recompute, see `test_recompute`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from secagg.errors import ServerFault
from secagg.homomorphic.messages import (
    OpenReply,
    OpenRequest,
)
from secagg.homomorphic.scheme import Kind
from tests.cohort import CONTEXT
from tests.homomorphic.lies import (
    Watch,
    assert_silent,
    ciphertext_of,
    ends,
)
from tests.homomorphic.sessions import Sessions, terms

N = 6
KINDS: list[Kind] = ["bfv", "ckks"]


def at(stage: str, recompute: bool = False, context: bytes = CONTEXT, kind: Kind = "bfv") -> Sessions:
    sessions = Sessions(N, terms(kind, recompute), context)
    sessions.run_to(stage)
    return sessions


ALL = tuple(range(N))


def open_request(sessions: Sessions) -> OpenRequest:
    return OpenRequest.from_bytes(sessions.request(sessions.decryptors[0]))


def refuses_opening(code: str, change: Callable[[Sessions], OpenRequest], kind: Kind = "bfv") -> None:
    for place in range(3):
        sessions = at("open", kind=kind)
        ends(sessions, sessions.decryptors[place], change(sessions).to_bytes(), code)


def others_than(sessions: Sessions) -> tuple[int, ...]:
    return tuple(at for at in range(N) if at not in sessions.cohort.decryptors)


def test_a_sum_that_is_said_to_be_without_the_client_itself_is_not_opened() -> None:
    refuses_opening(
        "survivors-without-self", lambda one: replace(open_request(one), survivors=others_than(one))
    )
    refuses_opening("survivors-without-self", lambda one: replace(open_request(one), survivors=()))


def test_a_sum_that_is_said_to_be_over_too_few_is_not_opened() -> None:
    sessions = at("open")
    for name in sessions.decryptors:
        survivors = tuple(sorted((sessions.cohort.position(name), others_than(sessions)[0])))
        lie = replace(open_request(sessions), survivors=survivors).to_bytes()
        ends(sessions, name, lie, "survivors-too-few")


@pytest.mark.parametrize("stranger", [N, 2**32 - 1])
def test_a_sum_over_somebody_who_is_not_in_the_roster_is_not_opened(stranger: int) -> None:
    refuses_opening("survivors-unknown", lambda one: replace(open_request(one), survivors=(*ALL, stranger)))


def test_a_survivor_counted_twice_is_refused() -> None:
    sessions = at("open")
    request = replace(open_request(sessions), survivors=(0, 1, 2, 2)).to_bytes()
    ends(sessions, sessions.decryptors[0], request, "message-order")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda sum: sum[:-1], "ciphertext-length"),
        (lambda sum: sum + b"\0", "ciphertext-length"),
        (lambda sum: b"", "ciphertext-length"),
        (lambda sum: b"\xff" * len(sum), "ciphertext-outside-ring"),
        (
            lambda sum: sum[: len(sum) // 2] + b"\xff" * 8 + sum[len(sum) // 2 + 8 :],
            "ciphertext-outside-ring",
        ),
    ],
    ids=["short", "long", "empty", "all outside", "one outside"],
)
def test_a_sum_that_is_no_ciphertext_is_refused(
    kind: Kind, spoil: Callable[[bytes], bytes], code: str
) -> None:
    refuses_opening(
        code,
        lambda one: replace(open_request(one), ciphertext=spoil(bytes(open_request(one).ciphertext))),
        kind,
    )


@pytest.mark.parametrize(("kind", "code"), [("bfv", "noise-budget"), ("ckks", "sum-inexact")])
def test_a_sum_under_another_key_is_not_opened(kind: Kind, code: str) -> None:
    def foreign_sum(_: Sessions) -> OpenRequest:
        return open_request(at("open", kind=kind))

    refuses_opening(code, foreign_sum, kind)


def test_a_sum_of_another_scheme_is_not_opened() -> None:
    refuses_opening("ciphertext-length", lambda _: open_request(at("open", kind="ckks")))


@pytest.mark.parametrize(("kind", "code"), [("bfv", "noise-budget"), ("ckks", "sum-inexact")])
def test_words_that_nobody_encrypted_are_not_opened(kind: Kind, code: str) -> None:
    """One bit of one word of the second polynomial is enough, as that word meets the whole key."""

    def spoiled(one: Sessions) -> OpenRequest:
        ciphertext = bytearray(open_request(one).ciphertext)
        ciphertext[len(ciphertext) // 2 + 3] ^= 1 << 6  # bit 30 of a word
        return replace(open_request(one), ciphertext=bytes(ciphertext))

    refuses_opening(code, spoiled, kind)


def test_confirmations_have_no_place_in_a_plan_without_recompute() -> None:
    refuses_opening("message-long", lambda one: replace(open_request(one), confirmations=((0, b""),)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_opens_once_and_a_second_sum_gets_nothing(kind: Kind) -> None:
    sessions = at("upload", kind=kind)
    replies = sessions.step()
    name = sessions.decryptors[0]
    client, request = sessions.clients[name], sessions.request(name)
    watch = Watch(client)
    first = client.answer(request)
    alone = replace(OpenRequest.from_bytes(request), ciphertext=ciphertext_of(replies[sessions.uploaders[0]]))
    with pytest.raises(ServerFault, match="request-changed"):
        client.answer(alone.to_bytes())
    watch.assert_erased()
    assert_silent(client, request)
    assert OpenReply.from_bytes(first).vector


def test_a_refused_sum_uses_up_the_key() -> None:
    """No second try for a server that finds out what a decryptor takes, one bit at a time."""
    sessions = at("open")
    name = sessions.decryptors[0]
    lie = replace(open_request(sessions), ciphertext=b"").to_bytes()
    ends(sessions, name, lie, "ciphertext-length")
    assert_silent(sessions.clients[name], sessions.request(name))
