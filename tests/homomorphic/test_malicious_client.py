"""A client that breaks the rules: it is named, and the others finish, or the attempt ends with nothing open.

Six clients; the one that breaks the rules is a decryptor, the key maker or an uploader, as the test says.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pytest

from secagg.encoding.packing import pack
from secagg.enrolment import issue_credentials
from secagg.errors import ClientFault, ProtocolError, ServerFault
from secagg.homomorphic.engine import SecretKey
from secagg.homomorphic.messages import (
    ConfirmReply,
    FetchReply,
    KeyReply,
    OpenReply,
    UploadReply,
)
from secagg.homomorphic.scheme import Kind
from tests import cohort as cohorts
from tests.cohort import CONTEXT, NOW, credentials
from tests.homomorphic.lies import advertised, ciphertext_of, key_reply, sealed_for, sign, upload_of
from tests.homomorphic.sessions import Reply, Sessions, in_ring, terms

N = 6
STAGES = ["advertise", "key", "upload", "confirm", "fetch", "open"]
KINDS: list[Kind] = ["bfv", "ckks"]
both_kinds = pytest.mark.parametrize("kind", KINDS)


def at(stage: str, recompute: bool = True, kind: Kind = "bfv", context: bytes = CONTEXT) -> Sessions:
    sessions = Sessions(N, terms(kind, recompute), context)
    sessions.run_to(stage)
    return sessions


def liar_at(sessions: Sessions) -> str:
    """Somebody who is asked at this stage."""
    return next(reversed(sessions.server.requests()))


def refuses(sessions: Sessions, name: str, lie: Reply, *codes: str) -> str:
    """The server refuses the lie by name and does not take a better answer after it."""
    with pytest.raises(ClientFault) as caught:
        sessions.server.receive(name, lie)
    assert caught.value.code in codes and caught.value.client == name
    with pytest.raises(ClientFault) as again:
        sessions.server.receive(name, sessions.clients[name].answer(sessions.request(name)))
    assert again.value.code == caught.value.code
    assert dict(sessions.server.faults) == {name: caught.value.code}
    return caught.value.code


def assert_the_others_finish(sessions: Sessions, liar: str, *, without: bool) -> None:
    """The honest answers from here on open the plain sum."""
    while sessions.server.stage:
        for name, reply in sessions.ask(silent=(liar,)).items():
            sessions.server.receive(name, reply)
        sessions.server.advance()
    survivors = tuple(name for name in sessions.ids if not without or name != liar)
    opened = sessions.server.sum()
    assert opened.survivors == survivors
    assert np.array_equal(opened.vector, sessions.expected(survivors))
    assert set(sessions.server.faults) == {liar}


def assert_nothing_opens(sessions: Sessions, code: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        sessions.server.advance()
    assert caught.value.code == code
    with pytest.raises(ProtocolError, match="sum-not-open"):
        sessions.server.sum()


# -- answers that are no answers --------------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    ("spoil", "codes"),
    [
        (lambda reply: b"", {"message-short"}),
        (lambda reply: reply[:1], {"message-short"}),
        (lambda reply: b"\x02" + reply[1:], {"message-version"}),
        (lambda reply: reply[:1] + b"\x09" + reply[2:], {"message-stage"}),
        (lambda reply: reply[:-1], {"message-short", "ciphertext-signature", "vector-length"}),
        (lambda reply: reply + b"\0", {"message-long", "ciphertext-signature", "vector-length"}),
        (lambda reply: reply + bytes(1 << 20), {"message-long", "ciphertext-signature", "vector-length"}),
    ],
    ids=["empty", "short", "version", "stage", "truncated", "left over", "oversized"],
)
def test_a_malformed_answer_names_its_sender_and_the_others_finish(
    stage: str, spoil: Callable[[bytes], bytes], codes: set[str]
) -> None:
    sessions = at(stage)
    liar = liar_at(sessions)
    refuses(sessions, liar, spoil(bytes(sessions.clients[liar].answer(sessions.request(liar)))), *codes)
    if stage == "key":
        assert_nothing_opens(sessions, "key-maker-lost")
        assert sessions.server.retryable
        return
    for name, reply in sessions.ask(silent=(liar,)).items():
        sessions.server.receive(name, reply)
    sessions.server.advance()
    assert_the_others_finish(sessions, liar, without=stage in ("advertise", "upload"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stage", STAGES)
def test_an_honest_answer_is_within_the_stages_limit_and_one_of_a_megabyte_is_not(
    kind: Kind, stage: str
) -> None:
    sessions = at(stage, kind=kind)
    limit = sessions.server.reply_limit
    assert all(len(reply) <= limit for reply in sessions.ask().values())
    assert limit < 1 << 20


@pytest.mark.parametrize("stage", STAGES)
def test_two_different_answers_name_their_sender(stage: str) -> None:
    """The first counts, the second does not; its sender is left out from here on."""
    sessions = at(stage)
    liar = liar_at(sessions)
    for name, reply in sessions.ask().items():
        sessions.server.receive(name, reply)
        sessions.server.receive(name, reply)
    with pytest.raises(ClientFault) as caught:
        sessions.server.receive(liar, bytes(sessions.ask()[liar]) + b"\0")
    assert (caught.value.code, caught.value.client) == ("two-answers", liar)
    sessions.server.advance()
    if stage == "advertise" and sessions.decryptors[0] == liar:
        assert_nothing_opens(sessions, "key-maker-lost")
        return
    assert_the_others_finish(sessions, liar, without=stage in ("advertise", "key"))


@pytest.mark.parametrize("stage", STAGES)
def test_an_answer_of_someone_who_was_not_asked_is_refused(stage: str) -> None:
    sessions = at(stage)
    reply = sessions.clients[liar_at(sessions)].answer(sessions.request(liar_at(sessions)))
    asked = set(sessions.server.requests())
    for stranger in ("client-007", *(name for name in sessions.ids if name not in asked)):
        with pytest.raises(ClientFault) as caught:
            sessions.server.receive(stranger, reply)
        assert caught.value.code == "reply-unexpected"
    sessions.run()
    assert np.array_equal(sessions.server.sum().vector, sessions.expected(sessions.ids))


@pytest.mark.parametrize(
    ("stage", "code"),
    [("advertise", "member-id"), ("upload", "ciphertext-signature"), ("confirm", "confirm-signature")],
)
def test_the_answer_of_another_client_is_not_taken_for_ones_own(stage: str, code: str) -> None:
    sessions = at(stage)
    replies = sessions.ask()
    liar, mark = list(replies)[-1], next(iter(replies))
    refuses(sessions, liar, replies[mark], code)
    sessions.step(silent=(liar,))
    assert_the_others_finish(sessions, liar, without=stage != "confirm")


def test_after_the_last_stage_every_answer_is_unexpected() -> None:
    sessions = at("open")
    liar = liar_at(sessions)
    reply = sessions.clients[liar].answer(sessions.request(liar))
    sessions.run()
    with pytest.raises(ClientFault, match="reply-unexpected"):
        sessions.server.receive(liar, reply)


# -- advertise --------------------------------------------------------------------------------------------

LIAR = "client-005"


@pytest.mark.parametrize(
    ("forge", "code"),
    [
        (lambda: advertised(credentials(LIAR), context=bytes(32)), "member-signature"),
        (lambda: advertised(credentials(LIAR, "server")), "member-certificate"),
        (lambda: advertised(credentials(LIAR), name="client-001"), "member-signature"),
        (lambda: advertised(credentials(LIAR), channel_pk=bytes(32)), "key-low-order"),
        (lambda: advertised(credentials(LIAR), channel_pk=b"\xff" * 32), "key-encoding"),
    ],
    ids=["another attempt", "server", "another name", "low order", "second form"],
)
def test_an_advertisement_that_clients_would_refuse_never_reaches_them(
    forge: Callable[[], object], code: str
) -> None:
    sessions = Sessions(N)
    with pytest.raises(ClientFault) as caught:
        sessions.server.receive(LIAR, forge().advertisement.to_bytes())  # type: ignore[attr-defined]
    assert caught.value.code == code
    sessions.step(silent=(LIAR,))
    mishap = code == "member-certificate"
    assert dict(sessions.server.faults) == ({} if mishap else {LIAR: code})
    sessions.run()
    others = sessions.ids[:-1]
    assert sessions.server.sum().survivors == tuple(others)
    assert np.array_equal(sessions.server.sum().vector, sessions.expected(others))


def test_a_certificate_that_expired_in_mid_run_keeps_its_client_out_and_blames_nobody() -> None:
    sessions = Sessions(N)
    old = issue_credentials(LIAR, "client", cohorts._AUTHORITY, now=NOW, days=1)
    sessions.server._now = NOW + timedelta(days=2)
    with pytest.raises(ClientFault, match="member-certificate"):
        sessions.server.receive(LIAR, advertised(old).advertisement.to_bytes())
    assert sessions.server.faults == {}


def test_of_two_clients_with_one_key_the_later_is_at_fault() -> None:
    sessions = Sessions(N)
    first = sessions.clients["client-000"]
    sessions.server.receive("client-000", first.answer(sessions.request("client-000")))
    copied = advertised(credentials(LIAR), channel_pk=first._channel.public).advertisement
    refuses(sessions, LIAR, copied.to_bytes(), "key-repeated")


# -- the key maker ----------------------------------------------------------------------------------------


def refuses_key(code: str, change: Callable[[Sessions], dict[str, object]]) -> None:
    """The key maker is named, there is no key, and the attempt may be followed by another."""
    sessions = at("key")
    maker = sessions.decryptors[0]
    refuses(sessions, maker, key_reply(sessions, **change(sessions)), code)
    assert sessions.server.key_holders == ()
    assert_nothing_opens(sessions, "key-maker-lost")
    assert sessions.server.retryable
    assert not any(client.spent for client in sessions.clients.values())


def test_a_public_key_that_its_maker_did_not_sign_is_refused() -> None:
    refuses_key("public-key-signature", lambda _: {"signature": b""})
    refuses_key(
        "public-key-signature",
        lambda sessions: {"public_key": SecretKey.fresh(sessions.terms.scheme)[1].to_bytes()},
    )


@pytest.mark.parametrize("code", ["ciphertext-length", "ciphertext-outside-ring", "public-key-degenerate"])
def test_a_public_key_that_is_none_is_refused_before_any_client_sees_it(code: str) -> None:
    """Degenerate: of zeros, it would encrypt every update to itself."""

    def spoiled(sessions: Sessions) -> dict[str, object]:
        size = sessions.terms.scheme.public_key_size
        public = {
            "ciphertext-length": b"\xff" * (size - 1),
            "ciphertext-outside-ring": b"\xff" * size,
            "public-key-degenerate": bytes(size),
        }[code]
        signature = sign(sessions.decryptors[0], "public key", sessions.cohort.context, public)
        return {"public_key": public, "signature": signature}

    refuses_key(code, spoiled)


def test_a_secret_key_sealed_for_anyone_but_the_other_decryptors_is_refused() -> None:
    """Too few, too many, an uploader, itself, a stranger."""

    def holders(sessions: Sessions) -> list[list[int]]:
        maker, first, second = sessions.cohort.decryptors
        uploader = sessions.cohort.position(sessions.uploaders[0])
        return [[], [first], [first, second, uploader], [first, uploader], [maker, first], [first, 2**32 - 1]]

    for which in range(6):

        def sealed(sessions: Sessions, which: int = which) -> dict[str, object]:
            return {"sealed": tuple((position, b"") for position in sorted(holders(sessions)[which]))}

        refuses_key("secret-holders", sealed)


def test_another_attempt_opens_without_the_key_maker_that_cheated() -> None:
    first = at("key")
    maker = first.decryptors[0]
    refuses(first, maker, key_reply(first, signature=b""), "public-key-signature")
    again = Sessions(N, context=bytes(32))
    again.server._admits = lambda identity: identity.name != maker
    with pytest.raises(ClientFault, match="floor-member"):
        again.server.receive(maker, again.clients[maker].answer(again.request(maker)))
    again.step(silent=(maker,))
    again.run()
    others = [name for name in again.ids if name != maker]
    assert np.array_equal(again.server.sum().vector, again.expected(others))


@both_kinds
@pytest.mark.parametrize("garbage", ["bytes", "another key", "nothing"])
def test_a_key_maker_that_seals_garbage_loses_the_decryptors_it_sealed_it_for(
    kind: Kind, garbage: str
) -> None:
    """The server cannot look inside. Whoever cannot open it stops before it uploads; the others finish."""
    sessions = at("key", kind=kind, recompute=False)
    victim = sessions.decryptors[1]
    other = bytes(SecretKey.fresh(sessions.terms.scheme)[0].to_secret().reveal())
    content = {"bytes": b"garbage" * 20, "nothing": b"", "another key": other}[garbage]
    honest = KeyReply.from_bytes(sessions.ask()[sessions.decryptors[0]])
    position = sessions.cohort.position(victim)
    sealed = {**dict(honest.sealed), position: sealed_for(sessions, victim, content)}
    sessions.server.receive(sessions.decryptors[0], key_reply(sessions, sealed=tuple(sorted(sealed.items()))))
    sessions.server.advance()
    with pytest.raises(ServerFault) as refused:
        sessions.clients[victim].answer(sessions.request(victim))
    assert refused.value.code in ("secret-sealed", "secret-mismatch", "ciphertext-length")
    assert sessions.decryptors[0] in refused.value.message or refused.value.code == "ciphertext-length"
    assert not sessions.clients[victim].spent
    sessions.run(silent=(victim,))
    others = [name for name in sessions.ids if name != victim]
    assert np.array_equal(sessions.server.sum().vector, sessions.expected(others))


def test_a_key_maker_that_seals_garbage_for_both_others_decrypts_alone_and_is_believed() -> None:
    """A limit: the two refuse, for all to see, and nobody is left to contradict it."""
    sessions = at("key", recompute=False)
    maker, *victims = sessions.decryptors
    garbage = tuple(
        sorted((sessions.cohort.position(name), sealed_for(sessions, name, b"garbage")) for name in victims)
    )
    sessions.server.receive(maker, key_reply(sessions, sealed=garbage))
    sessions.server.advance()
    for name in victims:
        with pytest.raises(ServerFault):
            sessions.clients[name].answer(sessions.request(name))
    sessions.step(silent=victims)
    assert list(sessions.server.requests()) == [maker]
    said = in_ring(np.arange(sessions.terms.scheme.length), sessions.terms.scheme.bits)
    sessions.server.receive(maker, opened_as(sessions, said))
    sessions.server.advance()
    np.testing.assert_array_equal(sessions.server.sum().vector, said)
    assert sessions.server.faults == {}


# -- uploads ----------------------------------------------------------------------------------------------

Spoil = Callable[[Sessions, str, bytes], bytes]

SPOILT_UPLOADS: dict[str, tuple[Spoil, str]] = {
    "truncated": (lambda one, name, text: upload_of(one, name, text[:-1]), "ciphertext-length"),
    "empty": (lambda one, name, text: upload_of(one, name, b""), "ciphertext-length"),
    "left over": (lambda one, name, text: upload_of(one, name, text + b"\0"), "ciphertext-length"),
    "two": (lambda one, name, text: upload_of(one, name, text * 2), "ciphertext-length"),
    "outside": (lambda one, name, text: upload_of(one, name, b"\xff" * len(text)), "ciphertext-outside-ring"),
    "last outside": (
        lambda one, name, text: upload_of(one, name, text[:-8] + b"\xff" * 8),
        "ciphertext-outside-ring",
    ),
    "tampered": (
        lambda one, name, text: UploadReply(signature_in(one, name), b"").head() + b"\1" + text[1:],
        "ciphertext-signature",
    ),
    "unsigned": (lambda one, name, text: UploadReply(b"", b"").head() + text, "ciphertext-signature"),
    "signed elsewhere": (
        lambda one, name, text: UploadReply(sign(name, "ciphertext", CONTEXT, bytes(32)), b"").head() + text,
        "ciphertext-signature",
    ),
}


def signature_in(sessions: Sessions, name: str) -> bytes:
    return UploadReply.from_bytes(sessions.clients[name].answer(sessions.request(name))).signature


@both_kinds
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("lie", SPOILT_UPLOADS)
def test_an_upload_that_is_no_ciphertext_of_its_sender_is_refused_and_not_added(
    kind: Kind, recompute: bool, lie: str
) -> None:
    sessions = at("upload", recompute, kind)
    liar = sessions.uploaders[0]
    spoil, code = SPOILT_UPLOADS[lie]
    replies = sessions.ask()
    before, after = sessions.ids[:3], sessions.ids[3:]
    for name in before:
        if name != liar:
            sessions.server.receive(name, replies[name])
    refuses(sessions, liar, spoil(sessions, liar, ciphertext_of(replies[liar])), code)
    for name in after:
        if name != liar:
            sessions.server.receive(name, replies[name])
    sessions.server.advance()
    assert_the_others_finish(sessions, liar, without=True)


def test_an_upload_for_another_attempt_is_refused() -> None:
    sessions, other = at("upload"), at("upload", context=bytes(32))
    liar = sessions.uploaders[0]
    refuses(sessions, liar, other.clients[liar].answer(other.request(liar)), "ciphertext-signature")


def test_the_ciphertext_of_another_client_signed_anew_is_added_as_ones_own() -> None:
    """Nothing forbids it: a client that is shown another's ciphertext can send the same vector, unread."""
    sessions = at("upload", recompute=False)
    copier, victim = sessions.uploaders[:2]
    replies = sessions.ask()
    replies[copier] = upload_of(sessions, copier, ciphertext_of(replies[victim]))
    for name, reply in replies.items():
        sessions.server.receive(name, reply)
    sessions.server.advance()
    sessions.run()
    total = sum(sessions.integers[victim if name == copier else name] for name in sessions.ids)
    assert np.array_equal(
        sessions.server.sum().vector, in_ring(np.asarray(total), sessions.terms.scheme.bits)
    )


# -- confirm and fetch ------------------------------------------------------------------------------------


@pytest.mark.parametrize("forge", ["empty", "other survivors", "other purpose", "another attempt"])
def test_a_confirmation_that_is_none_names_its_sender(forge: str) -> None:
    sessions = at("confirm")
    liar = sessions.decryptors[1]
    digest, under = sessions.server._survivors_request().digest(), sessions.server._under
    signature = {
        "empty": b"",
        "other survivors": sign(liar, "confirm", under, bytes(32)),
        "other purpose": sign(liar, "ciphertext", under, digest),
        "another attempt": sign(liar, "confirm", CONTEXT, digest),
    }[forge]
    refuses(sessions, liar, ConfirmReply(signature).to_bytes(), "confirm-signature")
    sessions.step(silent=(liar,))
    assert liar not in sessions.server.requests()
    assert_the_others_finish(sessions, liar, without=False)


def test_a_decryptor_that_says_it_added_another_ciphertext_is_named() -> None:
    sessions = at("fetch-2")
    liar = sessions.decryptors[1]
    refuses(sessions, liar, FetchReply(3).to_bytes(), "fetch-position")
    sessions.step(silent=(liar,))
    assert liar not in sessions.server.requests()
    assert_the_others_finish(sessions, liar, without=False)


# -- the opening ------------------------------------------------------------------------------------------


def opened_as(sessions: Sessions, vector: object) -> bytes:
    return OpenReply.head() + bytes(pack(vector, sessions.terms.scheme.bits))  # type: ignore[arg-type]


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("liars", [1, 2])
def test_when_decryptors_disagree_by_one_unit_no_sum_is_taken(recompute: bool, liars: int) -> None:
    sessions = at("open", recompute)
    replies = sessions.ask()
    wrong = sessions.expected(sessions.ids)
    wrong[7] += 1
    for name in sessions.decryptors[:liars]:
        replies[name] = opened_as(sessions, wrong)
    for name, reply in replies.items():
        sessions.server.receive(name, reply)
    assert_nothing_opens(sessions, "decryptors-disagree")
    assert not sessions.server.retryable
    assert sessions.server._sum is None


def test_the_order_of_the_answers_does_not_decide_between_decryptors() -> None:
    for order in (1, -1):
        sessions = at("open", recompute=False)
        replies = dict(list(sessions.ask().items())[::order])
        replies[sessions.decryptors[2]] = opened_as(sessions, sessions.vectors[sessions.ids[0]])
        for name, reply in replies.items():
            sessions.server.receive(name, reply)
        assert_nothing_opens(sessions, "decryptors-disagree")


def test_a_decryptor_that_answers_twice_is_named_and_its_first_answer_counts() -> None:
    sessions = at("open", recompute=False)
    liar = sessions.decryptors[1]
    for name, reply in sessions.ask().items():
        sessions.server.receive(name, reply)
    with pytest.raises(ClientFault, match="two-answers"):
        sessions.server.receive(liar, opened_as(sessions, sessions.vectors[liar]))
    sessions.server.advance()
    assert np.array_equal(sessions.server.sum().vector, sessions.expected(sessions.ids))
    assert dict(sessions.server.faults) == {liar: "two-answers"}


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda vector: vector[:-1], "vector-length"),
        (lambda vector: vector + b"\0", "vector-length"),
        (lambda vector: b"", "vector-length"),
        (lambda vector: vector[:-1] + b"\xff", "vector-outside-ring"),
    ],
    ids=["short", "long", "empty", "padding"],
)
def test_an_opened_sum_that_is_no_ring_vector_names_its_sender(
    spoil: Callable[[bytes], bytes], code: str
) -> None:
    """61 coordinates of 25 bits leave three bits of padding, which must be zero: one sum, one form."""
    sessions = Sessions(N, terms(length=61))
    sessions.run_to("open")
    liar = sessions.decryptors[0]
    vector = bytes(OpenReply.from_bytes(sessions.ask()[liar]).vector)
    refuses(sessions, liar, OpenReply.head() + spoil(vector), code)
    sessions.step(silent=(liar,))
    assert np.array_equal(sessions.server.sum().vector, sessions.expected(sessions.ids))


@both_kinds
def test_a_single_dishonest_decryptor_that_answers_alone_gives_any_sum(kind: Kind) -> None:
    """The others vanished, and nothing contradicts it: within the ring, whatever it says is taken."""
    sessions = at("open", recompute=False, kind=kind)
    liar = sessions.decryptors[0]
    said = in_ring(np.arange(sessions.terms.scheme.length), sessions.terms.scheme.bits)
    sessions.server.receive(liar, opened_as(sessions, said))
    sessions.server.advance()
    assert np.array_equal(sessions.server.sum().vector, said)


def beyond_its_share(kind: Kind) -> Sessions:
    """Two clients send a value at the ring's edge, where the plan leaves each an eighth of it."""
    sessions = Sessions(N, terms(kind))
    sessions.run_to("upload")
    bits = sessions.terms.scheme.bits
    for name in sessions.uploaders[:2]:
        sessions.integers[name] = np.full(sessions.terms.scheme.length, (1 << (bits - 1)) - 1)
        sessions.clients[name]._vector = in_ring(sessions.integers[name], bits)
    sessions.run_to("open")
    return sessions


def test_ckks_refuses_a_sum_that_has_left_the_ring() -> None:
    sessions = beyond_its_share("ckks")
    for name in sessions.decryptors:
        with pytest.raises(ServerFault, match="sum-out-of-range"):
            sessions.clients[name].answer(sessions.request(name))
    assert_nothing_opens(sessions, "decryptors-lost")


def test_bfv_wraps_a_sum_that_has_left_the_ring_as_masks_do() -> None:
    """Around its plain modulus: garbage in, garbage out, and no way to tell who sent it."""
    sessions = beyond_its_share("bfv")
    sessions.run()
    scheme = sessions.terms.scheme
    half = scheme.plain_modulus // 2
    total = np.asarray(sum(sessions.integers.values()))
    wrapped = (total + half) % scheme.plain_modulus - half
    assert not np.array_equal(wrapped, total)
    assert np.array_equal(sessions.server.sum().vector, in_ring(wrapped, scheme.bits))
