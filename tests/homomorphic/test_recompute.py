"""With `recompute`, what the server says of the sum is proved or refused: decryptors add it themselves.

Six clients, three of them decryptors. The server is malicious, and no client is on its side, unless a test
says whose signature it uses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.errors import SecaggError, ServerFault
from secagg.homomorphic.messages import (
    ConfirmReply,
    ConfirmRequest,
    FetchRequest,
    OpenRequest,
    Part,
    UploadReply,
)
from secagg.homomorphic.scheme import Kind
from secagg.homomorphic.words import pack_words, unpack_words
from tests.cohort import CONTEXT
from tests.homomorphic.lies import (
    assert_silent,
    assert_the_lie_ends_it,
    ciphertext_of,
    confirm_request,
    sign,
    upload_of,
)
from tests.homomorphic.sessions import Sessions, terms

N = 6
KINDS: list[Kind] = ["bfv", "ckks"]
both_kinds = pytest.mark.parametrize("kind", KINDS)


def at(stage: str, kind: Kind = "bfv", context: bytes = CONTEXT) -> Sessions:
    sessions = Sessions(N, terms(kind, recompute=True), context)
    sessions.run_to(stage)
    return sessions


def refuses(sessions: Sessions, lie: bytes, code: str, place: int = 0) -> SecaggError:
    return assert_the_lie_ends_it(sessions.clients[sessions.decryptors[place]], lie, code)


# -- who is in the sum ------------------------------------------------------------------------------------


def refuses_parts(code: str, change: Callable[[list[Part], Sessions, int], Iterable[Part]]) -> None:
    """The lie is told to each of the decryptors; `change` is given the honest parts and its position."""
    for place in range(3):
        sessions = at("confirm")
        own = sessions.cohort.decryptors[place]
        lie = confirm_request(sessions, lambda parts, s=sessions, own=own: change(parts, s, own))
        refuses(sessions, lie, code, place)


def test_one_clients_ciphertext_alone_is_not_confirmed() -> None:
    refuses_parts("survivors-too-few", lambda parts, _, own: [parts[own]])
    refuses_parts("survivors-without-self", lambda parts, _, own: [parts[own - 1]] if own else [parts[1]])


def test_a_sum_over_fewer_than_the_plan_says_is_not_confirmed() -> None:
    refuses_parts("survivors-too-few", lambda parts, _, own: sorted_parts({own, (own + 1) % N}, parts))


def sorted_parts(positions: Iterable[int], parts: list[Part]) -> list[Part]:
    return [parts[position] for position in sorted(positions)]


def test_a_sum_without_the_decryptor_itself_is_not_confirmed() -> None:
    refuses_parts("survivors-without-self", lambda parts, _, own: parts[:own] + parts[own + 1 :])
    refuses_parts("survivors-without-self", lambda parts, _, own: [])


def test_a_survivor_that_is_not_in_the_roster_is_not_confirmed() -> None:
    for position in (N, 2**32 - 1):
        refuses_parts(
            "survivors-unknown",
            lambda parts, _, own, position=position: [*parts, replace(parts[0], position=position)],
        )


def test_a_ciphertext_cannot_be_added_twice() -> None:
    refuses_parts("message-order", lambda parts, _, own: [*parts, parts[-1]])


def test_a_ciphertext_cannot_be_added_again_under_another_clients_name() -> None:
    """One client's part, signed by it, in the place of another's: the others would cancel to less than n."""

    def doubled(parts: list[Part], _: Sessions, own: int) -> list[Part]:
        one, other = [position for position in range(N) if position != own][:2]
        parts[other] = replace(parts[one], position=other)
        return parts

    refuses_parts("part-signature", doubled)


@pytest.mark.parametrize("spoil", ["digest", "signature", "empty", "server", "purpose", "context"])
def test_a_part_that_its_owner_did_not_sign_is_not_confirmed(spoil: str) -> None:
    def forged(parts: list[Part], sessions: Sessions, own: int) -> list[Part]:
        at = next(position for position in range(N) if position != own)
        part, name, under = parts[at], sessions.ids[at], sessions.server._under
        parts[at] = {
            "digest": replace(part, digest=bytes(32)),
            "signature": replace(part, signature=parts[own].signature),
            "empty": replace(part, signature=b""),
            "server": replace(part, signature=sign("server", "ciphertext", under, part.digest)),
            "purpose": replace(part, signature=sign(name, "confirm", under, part.digest)),
            "context": replace(
                part, signature=sign(name, "ciphertext", sessions.cohort.context, part.digest)
            ),
        }[spoil]
        return parts

    refuses_parts("part-signature", forged)


def test_a_ciphertext_replayed_from_another_attempt_is_not_confirmed() -> None:
    """Its owner signed it there, under that attempt's roster and key."""
    earlier = at("confirm", context=bytes(32)).server._survivors_request().parts

    def replayed(parts: list[Part], _: Sessions, own: int) -> list[Part]:
        position = (own + 1) % N
        parts[position] = earlier[position]
        return parts

    refuses_parts("part-signature", replayed)


def test_the_decryptors_own_ciphertext_cannot_be_exchanged() -> None:
    """Even for one with its own signature: two processes with one identity, or a stolen key."""

    def exchanged(parts: list[Part], sessions: Sessions, own: int) -> list[Part]:
        other = bytes(32)
        parts[own] = Part(own, other, sign(sessions.ids[own], "ciphertext", sessions.server._under, other))
        return parts

    refuses_parts("survivors-without-self", exchanged)


# -- what is fetched --------------------------------------------------------------------------------------


def fetched(sessions: Sessions) -> FetchRequest:
    return FetchRequest.from_bytes(sessions.request(sessions.decryptors[0]))


@both_kinds
@pytest.mark.parametrize("position", [0, 3, 5])
def test_a_ciphertext_that_is_not_the_signed_one_is_not_added(kind: Kind, position: int) -> None:
    """Another client's, none, a multiple, one with a bit changed, or all of them together."""
    uploads: list[bytes] = []
    for lie in range(6):
        sessions = at("upload", kind)
        uploads = [ciphertext_of(reply) for reply in sessions.step().values()]
        sessions.run_to(f"fetch-{position}")
        scheme, honest = sessions.terms.scheme, uploads[position]
        count = scheme.blocks * 2 * scheme.degree
        words = unpack_words(honest, scheme.primes, count)
        doubled = [2 * vector % np.uint64(prime) for vector, prime in zip(words, scheme.primes, strict=True)]
        content = [
            uploads[(position + 1) % N],
            b"",
            bytes(len(honest)),
            bytes(pack_words(doubled, scheme.primes)),
            honest[:-1] + bytes((honest[-1] ^ 1,)),
            honest + b"\0",
        ][lie]
        for place in range(3):
            refuses(sessions, FetchRequest(position, content).to_bytes(), "part-changed", place)


def test_ciphertexts_are_fetched_in_order_each_once() -> None:
    for position in (0, 1, 3, 5, N, 2**32 - 1):
        sessions = at("fetch-2")
        code = "request-changed" if position < 2 else "stage-order"
        refuses(sessions, FetchRequest(position, b"").to_bytes(), code)


def test_the_same_ciphertext_sent_again_is_not_added_again() -> None:
    """The answer is the cached one: a network that repeats itself changes no sum."""
    sessions = at("fetch-0")
    while sessions.server.stage != "open":
        for name, request in sessions.server.requests().items():
            assert sessions.clients[name].answer(request) == sessions.clients[name].answer(request)
        sessions.step()
    sessions.step()
    assert np.array_equal(sessions.server.sum().vector, sessions.expected(sessions.ids))


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda content: content[:-1], "ciphertext-length"),
        (lambda content: b"", "ciphertext-length"),
        (lambda content: b"\xff" * len(content), "ciphertext-outside-ring"),
    ],
    ids=["short", "empty", "outside"],
)
def test_a_signed_part_that_is_no_ciphertext_is_not_added(spoil: Callable[[bytes], bytes], code: str) -> None:
    """A colluding client signed it; the server did not check."""
    sessions = at("upload")
    liar = sessions.uploaders[-1]
    replies = sessions.ask()
    content = spoil(ciphertext_of(replies[liar]))
    for name, reply in replies.items():
        sessions.server.receive(name, reply)
    position = sessions.cohort.position(liar)
    part = upload_of(sessions, liar, content)
    signature = UploadReply.from_bytes(part).signature
    sessions.server._parts[position] = Part(position, hashlib.sha256(content).digest(), signature)
    sessions.server.advance()
    sessions.run_to(f"fetch-{position}")
    refuses(sessions, FetchRequest(position, content).to_bytes(), code)


# -- the opening ------------------------------------------------------------------------------------------


def opening(sessions: Sessions) -> OpenRequest:
    return OpenRequest.from_bytes(sessions.request(sessions.decryptors[0]))


def refuses_opening(code: str, change: Callable[[OpenRequest, Sessions], OpenRequest]) -> None:
    for place in range(3):
        sessions = at("open")
        refuses(sessions, change(opening(sessions), sessions).to_bytes(), code, place)


def test_a_ciphertext_in_the_open_request_gets_nothing() -> None:
    """A decryptor opens the sum it added, never one that it is shown."""
    sessions = at("upload")
    replies = sessions.step()
    sessions.run_to("open")
    alone = ciphertext_of(replies[sessions.uploaders[0]])
    for place in range(3):
        lie = replace(opening(sessions), ciphertext=alone).to_bytes()
        refuses(sessions, lie, "message-long", place)


def test_somebody_left_out_after_confirm_opens_nothing() -> None:
    for gone in range(N):

        def fewer(request: OpenRequest, _: Sessions, gone: int = gone) -> OpenRequest:
            return replace(request, survivors=tuple(at for at in request.survivors if at != gone))

        refuses_opening("survivors-changed", fewer)


@pytest.mark.parametrize("survivors", [(), (0,), (0, 1, 2, 3, 4, 5, 6)], ids=str)
def test_other_survivors_than_were_confirmed_open_nothing(survivors: tuple[int, ...]) -> None:
    refuses_opening("survivors-changed", lambda request, _: replace(request, survivors=survivors))


@pytest.mark.parametrize("due", ["confirm", "fetch-0", "fetch-3", "fetch-5"])
def test_a_sum_that_is_not_yet_whole_is_not_opened(due: str) -> None:
    """Whoever skips a fetch would open a sum over fewer."""
    sessions = at(due)
    confirmations = tuple(sorted(sessions.server._confirmations.items()))
    lie = OpenRequest(tuple(range(N)), confirmations, b"").to_bytes()
    refuses(sessions, lie, "stage-order")


# -- the quorum -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_confirmations_than_the_quorum_open_nothing(count: int) -> None:
    refuses_opening(
        "quorum-too-small",
        lambda request, _: replace(request, confirmations=request.confirmations[:count]),
    )


def test_the_quorum_itself_opens() -> None:
    for left_out in range(3):
        sessions = at("open")
        request = opening(sessions)
        two = tuple(one for at, one in enumerate(request.confirmations) if at != left_out)
        name = sessions.decryptors[0]
        reply = sessions.clients[name].answer(replace(request, confirmations=two).to_bytes())
        assert np.array_equal(sessions.opened(reply), sessions.expected(sessions.ids))


def test_a_confirmation_of_a_client_that_is_no_decryptor_does_not_count() -> None:
    def stranger(request: OpenRequest, sessions: Sessions) -> OpenRequest:
        name = sessions.uploaders[0]
        digest = sessions.server._survivors_request().digest()
        theirs = (sessions.cohort.position(name), sign(name, "confirm", sessions.server._under, digest))
        two = sorted((request.confirmations[0], theirs))
        return replace(request, confirmations=tuple(two))

    refuses_opening("quorum-stranger", stranger)


@pytest.mark.parametrize("position", [N, 2**32 - 1])
def test_a_confirmation_of_nobody_in_the_roster_does_not_count(position: int) -> None:
    refuses_opening(
        "quorum-stranger",
        lambda request, _: replace(request, confirmations=(request.confirmations[0], (position, b""))),
    )


def test_a_confirmation_repeated_is_counted_once() -> None:
    refuses_opening(
        "message-order", lambda request, _: replace(request, confirmations=request.confirmations[:1] * 2)
    )

    def under_another_name(request: OpenRequest, _: Sessions) -> OpenRequest:
        (first, signature), (second, _signature), *_rest = request.confirmations
        return replace(request, confirmations=((first, signature), (second, signature)))

    refuses_opening("quorum-signature", under_another_name)


def test_confirmations_of_another_attempt_do_not_count() -> None:
    def replayed(request: OpenRequest, sessions: Sessions) -> OpenRequest:
        under = at("confirm", context=bytes(32)).server._under
        digest = sessions.server._survivors_request().digest()
        signed = [
            (position, sign(sessions.ids[position], "confirm", under, digest))
            for position in sorted(sessions.cohort.decryptors)
        ]
        return replace(request, confirmations=tuple(signed))

    refuses_opening("quorum-signature", replayed)


def test_a_confirmation_by_the_server_or_for_another_purpose_does_not_count() -> None:
    for name, purpose in (("server", "confirm"), (None, "ciphertext")):

        def forged(
            request: OpenRequest, sessions: Sessions, name: str | None = name, purpose: str = purpose
        ) -> OpenRequest:
            digest, under = sessions.server._survivors_request().digest(), sessions.server._under
            signed = [
                (position, sign(name or sessions.ids[position], purpose, under, digest))
                for position, _ in request.confirmations
            ]
            return replace(request, confirmations=tuple(signed))

        refuses_opening("quorum-signature", forged)


@given(shown=st.lists(st.integers(0, 2), min_size=3, max_size=3), mixed=st.booleans())
@settings(max_examples=30, deadline=None)
def test_different_survivors_shown_to_different_decryptors_open_at_most_one_sum(
    shown: list[int], mixed: bool
) -> None:
    """However the three are split over three sets, the server has all confirmations and tries them all."""
    sessions = at("upload")
    uploads = {name: ciphertext_of(reply) for name, reply in sessions.step().items()}
    spare = [sessions.cohort.position(name) for name in sessions.uploaders]
    sets = [
        ConfirmRequest.from_bytes(
            confirm_request(sessions, lambda parts, gone=gone: [p for p in parts if p.position not in gone])
        )
        for gone in ((), spare[:1], spare[1:])
    ]
    confirmed: dict[int, dict[int, bytes]] = {0: {}, 1: {}, 2: {}}
    for place, which in enumerate(shown):
        client = sessions.clients[sessions.decryptors[place]]
        reply = client.answer(sets[which].to_bytes())
        confirmed[which][sessions.cohort.decryptors[place]] = ConfirmReply.from_bytes(reply).signature
        for part in sets[which].parts:
            client.answer(FetchRequest(part.position, uploads[sessions.ids[part.position]]).to_bytes())
    opened = set()
    for place, which in enumerate(shown):
        survivors = tuple(part.position for part in sets[which].parts)
        signatures = (
            {k: v for one in confirmed.values() for k, v in one.items()} if mixed else confirmed[which]
        )
        lie = OpenRequest(survivors, tuple(sorted(signatures.items())), b"").to_bytes()
        client = sessions.clients[sessions.decryptors[place]]
        try:
            reply = client.answer(lie)
        except ServerFault as fault:
            assert fault.code in ("quorum-too-small", "quorum-signature")
            assert_silent(client, lie)
        else:
            opened.add(which)
            names = [sessions.ids[position] for position in survivors]
            assert np.array_equal(sessions.opened(reply), sessions.expected(names))
    assert len(opened) <= 1
    assert opened or len(set(shown)) == 3 or mixed


def test_a_decryptor_confirms_once() -> None:
    sessions = at("confirm")
    client = sessions.clients[sessions.decryptors[0]]
    client.answer(sessions.request(sessions.decryptors[0]))
    gone = sessions.cohort.position(sessions.uploaders[0])
    fewer = confirm_request(sessions, lambda parts: [part for part in parts if part.position != gone])
    with pytest.raises(ServerFault, match="request-changed"):
        client.answer(fewer)
    assert_silent(client, fewer)


@both_kinds
def test_two_decryptors_of_a_cohort_of_two_must_both_confirm(kind: Kind) -> None:
    for count in (1, 2):
        sessions = Sessions(2, terms(kind, recompute=True, min_survivors=2))
        sessions.run_to("open")
        request = opening(sessions)
        lie = replace(request, confirmations=request.confirmations[:count]).to_bytes()
        if count == 1:
            refuses(sessions, lie, "quorum-too-small")
        else:
            reply = sessions.clients[sessions.decryptors[0]].answer(lie)
            assert np.array_equal(sessions.opened(reply), sessions.expected(sessions.ids))


def test_no_two_quorums_of_any_cohort_are_apart() -> None:
    """Of n decryptors, two quorums share one, and each confirms once."""
    for n, quorum in ((2, 2), (3, 2)):
        sessions = Sessions(n, terms(recompute=True, min_survivors=2))
        sessions.run_to("key")
        assert (len(sessions.decryptors), sessions.cohort.quorum) == (n, quorum)
        for sides in product((0, 1), repeat=n):
            assert not (sum(sides) >= quorum and n - sum(sides) >= quorum)
