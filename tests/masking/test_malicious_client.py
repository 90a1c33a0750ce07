"""A client that breaks the rules: it is named, and the others finish, or the attempt ends with nothing open.

Six clients; `LIAR` breaks the rules and `MARK` is the one it would harm. Four shares open a secret.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from secagg.encoding.packing import packed_size
from secagg.errors import ClientFault, ProtocolError, TooFewClients
from secagg.keys import KeyPair, Secret
from secagg.masking.messages import (
    KEY_SHARE,
    SEED_SHARE,
    STAGES,
    Advertisement,
    ConfirmReply,
    Envelope,
    MaskReply,
    RevealReply,
    ShareReply,
    bitmap,
)
from secagg.masking.parameters import Policy
from secagg.masking.shamir import PRIME, SHARE_BYTES
from tests.cohort import Cohort, credentials
from tests.masking.lies import advertised, changed, confirmation

N = 6
MARK, LIAR = "client-001", "client-005"
Reply = bytes | bytearray


def at(stage: str, n: int = N, colluders: float = 0.1, length: int = 33) -> Cohort:
    cohort = Cohort(n, length=length, policy=Policy(8, 3, colluders))
    cohort.run_to(stage)
    return cohort


def step_with(cohort: Cohort, lies: dict[str, Reply], code: str | None) -> None:
    """A stage in which each of `lies` comes instead of the honest answer, and is refused with `code`."""
    for name, reply in {**cohort.ask(), **lies}.items():
        if name in lies and code is not None:
            with pytest.raises(ClientFault) as caught:
                cohort.server.receive(name, reply)
            assert (caught.value.code, caught.value.client) == (code, name)
        else:
            cohort.server.receive(name, reply)
    cohort.server.advance()


def assert_the_others_finish(
    cohort: Cohort, faults: dict[str, str], *, without: tuple[str, ...] = ()
) -> None:
    """The honest answers from here on open the plain sum, and exactly these clients are named."""
    while cohort.server.stage:
        for name, reply in cohort.ask(silent=faults).items():
            cohort.server.receive(name, reply)
        cohort.server.advance()
    survivors = tuple(name for name in cohort.ids if name not in without)
    opened = cohort.server.sum()
    assert opened.survivors == survivors
    assert np.array_equal(opened.vector, cohort.expected(survivors))
    assert dict(cohort.server.faults) == faults


def assert_nothing_opens(cohort: Cohort, code: str, faults: dict[str, str]) -> None:
    with pytest.raises(ProtocolError) as caught:
        cohort.server.advance()
    assert caught.value.code == code
    assert dict(cohort.server.faults) == faults
    with pytest.raises(ProtocolError, match="sum-not-open"):
        cohort.server.sum()


def honest_reply(cohort: Cohort, name: str = LIAR) -> Reply:
    return cohort.clients[name].answer(cohort.server.requests()[name])


# -- answers that are no answers --------------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    ("spoil", "codes"),
    [
        (lambda reply: b"", {"message-short"}),
        (lambda reply: reply[:1], {"message-short"}),
        (lambda reply: b"\x02" + reply[1:], {"message-version"}),
        (lambda reply: reply[:1] + b"\x09" + reply[2:], {"message-stage"}),
        (lambda reply: reply[:-1], {"message-short", "vector-length"}),
        (lambda reply: reply + b"\0", {"message-long", "vector-length"}),
        (lambda reply: reply + bytes(1 << 20), {"message-long", "vector-length"}),
    ],
    ids=["empty", "short", "version", "stage", "truncated", "left over", "oversized"],
)
def test_a_malformed_answer_names_its_sender_and_the_others_finish(
    stage: str, spoil: Callable[[bytes], bytes], codes: set[str]
) -> None:
    cohort = at(stage)
    lie = spoil(bytes(honest_reply(cohort)))
    with pytest.raises(ClientFault) as caught:
        cohort.server.receive(LIAR, lie)
    assert caught.value.code in codes and caught.value.client == LIAR
    with pytest.raises(ClientFault) as again:
        cohort.server.receive(LIAR, honest_reply(cohort))
    assert again.value.code == caught.value.code
    for name, reply in cohort.ask(silent=(LIAR,)).items():
        cohort.server.receive(name, reply)
    cohort.server.advance()
    late = stage in ("confirm", "reveal")
    assert_the_others_finish(cohort, {LIAR: caught.value.code}, without=() if late else (LIAR,))


@pytest.mark.parametrize("stage", STAGES)
def test_an_honest_answer_is_within_the_stages_limit_and_four_megabytes_are_not(stage: str) -> None:
    cohort = at(stage)
    limit = cohort.server.reply_limit
    assert all(len(reply) <= limit for reply in cohort.ask().values())
    assert limit < 1 << 16


@pytest.mark.parametrize("stage", STAGES)
def test_two_different_answers_name_their_sender(stage: str) -> None:
    """The first counts, the second does not; its sender is left out from here on."""
    cohort = at(stage)
    for name, reply in cohort.ask().items():
        cohort.server.receive(name, reply)
        cohort.server.receive(name, reply)
    with pytest.raises(ClientFault) as caught:
        cohort.server.receive(LIAR, bytes(honest_reply(cohort)) + b"\0")
    assert (caught.value.code, caught.value.client) == ("two-answers", LIAR)
    cohort.server.advance()
    without = (LIAR,) if stage in ("advertise", "share") else ()
    assert_the_others_finish(cohort, {LIAR: "two-answers"}, without=without)


@pytest.mark.parametrize("stage", STAGES)
def test_an_answer_of_someone_who_was_not_asked_is_refused(stage: str) -> None:
    cohort = at(stage)
    with pytest.raises(ClientFault) as caught:
        cohort.server.receive("client-007", honest_reply(cohort))
    assert caught.value.code == "reply-unexpected"
    cohort.run()
    assert np.array_equal(cohort.server.sum().vector, cohort.expected(cohort.ids))


@pytest.mark.parametrize(
    ("stage", "code"),
    [
        ("advertise", "member-id"),
        ("share", "share-holders"),
        ("confirm", "confirm-signature"),
        ("reveal", "share-set"),
    ],
)
def test_the_answer_of_another_client_is_not_taken_for_ones_own(stage: str, code: str) -> None:
    cohort = at(stage)
    step_with(cohort, {LIAR: honest_reply(cohort, MARK)}, code)
    late = stage in ("confirm", "reveal")
    assert_the_others_finish(cohort, {LIAR: code}, without=() if late else (LIAR,))


def test_after_the_last_stage_every_answer_is_unexpected() -> None:
    cohort = at("reveal")
    reply = honest_reply(cohort)
    cohort.run()
    assert cohort.server.reply_limit == 0
    with pytest.raises(ClientFault, match="reply-unexpected"):
        cohort.server.receive(LIAR, reply)


# -- advertise --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("forge", "code"),
    [
        (lambda: advertised(credentials(LIAR), context=bytes(32)), "member-signature"),
        (lambda: advertised(credentials(LIAR, "server")), "member-certificate"),
        (lambda: advertised(credentials(LIAR), name=MARK), "member-signature"),
        (lambda: advertised(credentials(LIAR), channel_pk=bytes(32)), "key-low-order"),
        (lambda: advertised(credentials(LIAR), mask_pk=b"\x01" + bytes(31)), "key-low-order"),
        (lambda: advertised(credentials(LIAR), mask_pk=b"\xff" * 32), "key-encoding"),
        (
            lambda: advertised(
                credentials(LIAR), channel_pk=b"\x09" + bytes(31), mask_pk=b"\x09" + bytes(31)
            ),
            "key-repeated",
        ),
    ],
)
def test_an_advertisement_that_clients_would_refuse_never_reaches_them(
    forge: Callable[[], object], code: str
) -> None:
    cohort = at("advertise")
    forged = forge().advertisement.to_bytes()  # type: ignore[attr-defined]
    step_with(cohort, {LIAR: forged}, code)
    named = {} if code == "member-certificate" else {LIAR: code}  # a certificate may expire in mid-run
    assert_the_others_finish(cohort, named, without=(LIAR,))


def test_who_shows_a_key_that_another_has_shown_is_named_and_not_the_other() -> None:
    cohort = at("advertise")
    mark = Advertisement.from_bytes(honest_reply(cohort, MARK))
    copied = advertised(credentials(LIAR), mask_pk=mark.mask_pk).advertisement.to_bytes()
    step_with(cohort, {LIAR: copied}, "key-repeated")
    assert_the_others_finish(cohort, {LIAR: "key-repeated"}, without=(LIAR,))


def test_a_client_the_server_does_not_admit_takes_no_part() -> None:
    cohort = at("advertise")
    cohort.server._admits = lambda identity: identity.name != LIAR
    step_with(cohort, {LIAR: honest_reply(cohort)}, "floor-member")
    assert_the_others_finish(cohort, {LIAR: "floor-member"}, without=(LIAR,))


# -- shares -----------------------------------------------------------------------------------------------


def lying_envelopes(cohort: Cohort, change: Callable[[dict[int, Envelope]], dict[int, Envelope]]) -> bytes:
    envelopes = dict(ShareReply.from_bytes(honest_reply(cohort)).envelopes)
    return ShareReply(tuple(sorted(change(envelopes).items()))).to_bytes()


@pytest.mark.parametrize("holders", [(), (0, 1, 2, 3), (0, 1, 2, 3, 4, 5), (0, 1, 2, 3, 6)], ids=str)
def test_envelopes_for_other_than_ones_neighbours_are_refused(holders: tuple[int, ...]) -> None:
    cohort = at("share")
    lie = lying_envelopes(cohort, lambda sealed: dict.fromkeys(holders, sealed[0]))
    step_with(cohort, {LIAR: lie}, "share-holders")
    assert_the_others_finish(cohort, {LIAR: "share-holders"}, without=(LIAR,))


def test_an_envelope_its_owner_did_not_sign_names_its_owner() -> None:
    """One holder complains, and the signature proves that it is right."""
    cohort = at("share")
    lie = lying_envelopes(
        cohort, lambda sealed: {**sealed, 1: replace(sealed[1], signature=sealed[0].signature)}
    )
    step_with(cohort, {LIAR: lie}, None)
    replies = cohort.step()
    assert MaskReply.from_bytes(replies[MARK]).failed == (5,)
    assert cohort.server.suspects == ((LIAR, MARK),)
    assert_the_others_finish(cohort, {LIAR: "share-signature"})


def test_an_envelope_that_holds_other_shares_than_its_owner_signed_cannot_be_blamed_on_one() -> None:
    cohort = at("share")
    lie = lying_envelopes(
        cohort, lambda sealed: {**sealed, 1: replace(sealed[1], ciphertext=sealed[0].ciphertext)}
    )
    step_with(cohort, {LIAR: lie}, None)
    replies = cohort.step()
    assert MaskReply.from_bytes(replies[MARK]).failed == (5,)
    assert cohort.server.suspects == ((LIAR, MARK),)
    assert_the_others_finish(cohort, {})


def test_shares_that_are_not_those_of_the_signed_digests_are_no_shares(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sealed and signed by their owner, and yet other shares than it will be held to."""
    cohort = at("share")
    with monkeypatch.context() as patch:
        patch.setattr("secagg.masking.client.keys.share_digest", lambda *_: bytes(32))
        lie = honest_reply(cohort)
    step_with(cohort, {LIAR: lie}, None)
    for name in cohort.ids[:-1]:
        reply = cohort.clients[name].answer(cohort.server.requests()[name])
        assert MaskReply.from_bytes(reply).failed == (5,)
        cohort.server.receive(name, reply)
    assert_nothing_opens(cohort, "shares-lost", {LIAR: "share-unopenable"})


def test_more_complaints_than_there_can_be_colluders_name_the_owner() -> None:
    cohort = at("share", n=8)
    position = cohort.ids.index(LIAR)
    request = cohort.server.requests()[LIAR]
    envelopes = dict(ShareReply.from_bytes(cohort.clients[LIAR].answer(request)).envelopes)
    for holder in (1, 2):  # c is 1
        envelopes[holder] = replace(envelopes[holder], ciphertext=changed(envelopes[holder].ciphertext, 200))
    step_with(cohort, {LIAR: ShareReply(tuple(sorted(envelopes.items()))).to_bytes()}, None)
    replies = cohort.step()
    assert MaskReply.from_bytes(replies[MARK]).failed == (position,)
    assert_the_others_finish(cohort, {LIAR: "share-unopenable"})


def test_envelopes_that_nobody_can_open_end_the_attempt_before_anyone_confirms() -> None:
    cohort = at("share")
    step_with(
        cohort,
        {
            LIAR: lying_envelopes(
                cohort, lambda sealed: {i: replace(e, signature=b"") for i, e in sealed.items()}
            )
        },
        None,
    )
    for name, reply in cohort.ask(silent=(LIAR,)).items():
        cohort.server.receive(name, reply)
    assert_nothing_opens(cohort, "shares-lost", {LIAR: "share-signature"})
    assert cohort.server.stage == "mask" and not cohort.server.opens
    retry = Cohort(N - 1)
    retry.run()
    assert np.array_equal(retry.server.sum().vector, retry.expected(retry.ids))


# -- masked vectors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "size", [0, 1, packed_size(33, 26) - 1, packed_size(33, 26) + 1, packed_size(34, 26)]
)
def test_a_masked_vector_of_another_length_is_refused(size: int) -> None:
    cohort = at("mask")
    step_with(cohort, {LIAR: MaskReply((), b"").head() + bytes(size)}, "vector-length")
    assert_the_others_finish(cohort, {LIAR: "vector-length"}, without=(LIAR,))


def test_a_masked_vector_with_values_outside_the_ring_is_refused() -> None:
    """At exactly b bits a coordinate, only the padding could hold any."""
    cohort = at("mask")
    reply = bytearray(honest_reply(cohort))
    assert 33 * 26 % 8 == 2
    for bit in range(2, 8):
        spoiled = bytearray(reply)
        spoiled[-1] |= 1 << bit
        with pytest.raises(ClientFault, match="vector-outside-ring"):
            cohort.server.receive(LIAR, spoiled)
        cohort.server._answers.faults.clear()
    cohort.run()
    assert np.array_equal(cohort.server.sum().vector, cohort.expected(cohort.ids))


def test_a_refused_vector_leaves_no_trace_in_the_sum() -> None:
    cohort = at("mask", length=40_000)
    with pytest.raises(ClientFault):
        cohort.server.receive(LIAR, bytes(honest_reply(cohort)) + b"\0")
    assert not cohort.server._total.any()


def test_a_garbage_vector_spoils_the_sum_and_cannot_be_told_from_an_honest_one() -> None:
    cohort = at("mask")
    reply = bytearray(honest_reply(cohort))
    reply[10] ^= 1
    step_with(cohort, {LIAR: reply}, None)
    while cohort.server.stage:
        cohort.step()
    assert not cohort.server.faults
    assert not np.array_equal(cohort.server.sum().vector, cohort.expected(cohort.ids))


def complaining(cohort: Cohort, failed: tuple[int, ...]) -> bytes:
    honest = MaskReply.from_bytes(honest_reply(cohort))
    return MaskReply(failed, b"").head() + bytes(honest.vector)


def test_a_false_complaint_names_nobody_and_the_sum_is_opened_without_that_share() -> None:
    cohort = at("mask")
    step_with(cohort, {LIAR: complaining(cohort, (1,))}, None)
    assert cohort.server.suspects == ((MARK, LIAR),)
    cohort.step()
    for name, reply in cohort.ask(silent=(LIAR,)).items():
        cohort.server.receive(name, reply)
    withheld = [share for share in RevealReply.from_bytes(honest_reply(cohort)).shares if share[0] != 1]
    cohort.server.receive(LIAR, RevealReply(tuple(withheld)).to_bytes())
    cohort.server.advance()
    assert not cohort.server.faults
    assert np.array_equal(cohort.server.sum().vector, cohort.expected(cohort.ids))


def test_false_complaints_about_everyone_name_nobody() -> None:
    cohort = at("mask")
    step_with(cohort, {LIAR: complaining(cohort, (0, 1, 2, 3, 4))}, None)
    assert len(cohort.server.suspects) == N - 1
    assert_the_others_finish_after_complaints(cohort)


def assert_the_others_finish_after_complaints(cohort: Cohort) -> None:
    while cohort.server.stage:
        cohort.step(silent=(LIAR,) if cohort.server.stage == "reveal" else ())
    assert not cohort.server.faults
    assert np.array_equal(cohort.server.sum().vector, cohort.expected(cohort.ids))


@pytest.mark.parametrize("failed", [(5,), (6,), (2**32 - 1,)], ids=str)
def test_a_complaint_about_an_envelope_that_was_never_sent_is_refused(failed: tuple[int, ...]) -> None:
    cohort = at("mask")
    step_with(cohort, {LIAR: complaining(cohort, failed)}, "complaint-stranger")
    assert_the_others_finish(cohort, {LIAR: "complaint-stranger"}, without=(LIAR,))


def test_a_complaint_about_a_client_that_never_shared_is_refused() -> None:
    cohort = at("share", n=8)
    cohort.step(silent=(MARK,))
    step_with(cohort, {LIAR: complaining(cohort, (1,))}, "complaint-stranger")
    assert_the_others_finish(cohort, {LIAR: "complaint-stranger"}, without=(MARK, LIAR))


@pytest.mark.parametrize("failed", [(1, 1), (2, 1)], ids=str)
def test_complaints_repeated_or_out_of_order_are_refused(failed: tuple[int, ...]) -> None:
    cohort = at("mask")
    step_with(cohort, {LIAR: complaining(cohort, failed)}, "message-order")
    assert_the_others_finish(cohort, {LIAR: "message-order"}, without=(LIAR,))


def test_a_count_of_complaints_beyond_any_roster_is_refused_before_it_is_read() -> None:
    cohort = at("mask")
    step_with(cohort, {LIAR: b"\x01\x02" + b"\xff" * 4}, "message-long")
    assert_the_others_finish(cohort, {LIAR: "message-long"}, without=(LIAR,))


# -- confirmations ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "forge",
    [
        lambda cohort: b"",
        lambda cohort: bytes(70),
        lambda cohort: confirmation(cohort, LIAR, bitmap(range(5), N)),
        lambda cohort: confirmation(cohort, LIAR, bitmap(range(N), N), bytes(32)),
        lambda cohort: confirmation(cohort, MARK, bitmap(range(N), N)),
    ],
    ids=["none", "garbage", "of other survivors", "of another attempt", "of another client"],
)
def test_a_confirmation_that_is_not_its_senders_is_refused(forge: Callable[[Cohort], bytes]) -> None:
    cohort = at("confirm")
    step_with(cohort, {LIAR: ConfirmReply(forge(cohort)).to_bytes()}, "confirm-signature")
    assert_the_others_finish(cohort, {LIAR: "confirm-signature"})


def test_too_few_confirmations_open_nothing() -> None:
    cohort = at("confirm")
    for name, reply in cohort.ask(silent=cohort.ids[3:]).items():
        cohort.server.receive(name, reply)
    assert_nothing_opens(cohort, "too-few-clients", {})
    assert not cohort.server.retryable


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_could_not_be_closed_counts_no_answer_twice(stage: str) -> None:
    """Who answered stays who answered: the same bytes again are one answer, and add nothing."""
    cohort = at(stage)
    replies = cohort.ask()
    for name in cohort.ids[:2]:
        cohort.server.receive(name, replies[name])
    with pytest.raises(ProtocolError) as caught:
        cohort.server.advance()
    assert caught.value.code in ("too-few-clients", "cohort-too-small")
    if stage == "reveal":  # what was revealed is not kept for another try
        assert not cohort.server._shares._of
        return
    for name, reply in replies.items():
        cohort.server.receive(name, reply)
    cohort.server.advance()
    assert_the_others_finish(cohort, {})


# -- revealed shares --------------------------------------------------------------------------------------


def revealing(
    cohort: Cohort, change: Callable[[list[tuple[int, int, bytes]]], list[tuple[int, int, bytes]]]
) -> bytes:
    shares = list(RevealReply.from_bytes(honest_reply(cohort)).shares)
    return RevealReply(tuple(change(shares))).to_bytes()


@pytest.mark.parametrize("bit", [0, 17, 255, 263])
def test_a_share_that_is_not_the_one_its_owner_signed_names_the_holder(bit: int) -> None:
    cohort = at("reveal")
    lie = revealing(cohort, lambda shares: [(0, SEED_SHARE, changed(shares[0][2], bit)), *shares[1:]])
    step_with(cohort, {LIAR: lie}, "share-forged")
    assert_the_others_finish(cohort, {LIAR: "share-forged"})


@pytest.mark.parametrize(
    "change",
    [
        lambda shares: [],
        lambda shares: shares[1:],
        lambda shares: [*shares, (5, SEED_SHARE, bytes(SHARE_BYTES))],
        lambda shares: [*shares, (2**32 - 1, SEED_SHARE, bytes(SHARE_BYTES))],
        lambda shares: [(0, KEY_SHARE, shares[0][2]), *shares[1:]],
    ],
    ids=["none", "one missing", "its own", "a stranger's", "of the other kind"],
)
def test_other_shares_than_were_asked_for_are_refused(change: Callable[[object], object]) -> None:
    cohort = at("reveal")
    step_with(cohort, {LIAR: revealing(cohort, change)}, "share-set")  # type: ignore[arg-type]
    assert_the_others_finish(cohort, {LIAR: "share-set"})


def test_shares_exchanged_between_two_owners_name_the_holder() -> None:
    cohort = at("reveal")

    def swap(shares: list[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
        return [(0, SEED_SHARE, shares[1][2]), (1, SEED_SHARE, shares[0][2]), *shares[2:]]

    step_with(cohort, {LIAR: revealing(cohort, swap)}, "share-forged")
    assert_the_others_finish(cohort, {LIAR: "share-forged"})


def test_a_kind_of_share_that_is_none_is_refused() -> None:
    cohort = at("reveal")
    lie = revealing(cohort, lambda shares: [(0, 2, shares[0][2]), *shares[1:]])
    step_with(cohort, {LIAR: lie}, "message-share-kind")
    assert_the_others_finish(cohort, {LIAR: "message-share-kind"})


def test_opening_goes_on_while_the_threshold_of_good_shares_remains_and_not_below() -> None:
    for liars, opens in ((1, True), (2, False)):
        cohort = at("reveal")
        lies = {
            name: RevealReply(
                tuple((i, kind, bytes(SHARE_BYTES)) for i, kind, _ in RevealReply.from_bytes(reply).shares)
            ).to_bytes()
            for name, reply in list(cohort.ask().items())[:liars]
        }
        for name, reply in {**cohort.ask(), **lies}.items():
            if name in lies:
                with pytest.raises(ClientFault, match="share-forged"):
                    cohort.server.receive(name, reply)
            else:
                cohort.server.receive(name, reply)
        if opens:
            cohort.server.advance()
            assert np.array_equal(cohort.server.sum().vector, cohort.expected(cohort.ids))
        else:
            with pytest.raises(TooFewClients):
                cohort.server.advance()
            assert set(cohort.server.faults) == set(lies)
            assert not cohort.server._shares._of


# -- shares that match their digests and rebuild the wrong secret -----------------------------------------


def test_shares_of_another_seed_than_was_committed_to_name_their_owner() -> None:
    cohort = at("share")
    cohort.clients[LIAR]._seed = Secret.fresh()
    cohort.run_to("reveal")
    for name, reply in cohort.ask().items():
        cohort.server.receive(name, reply)
    assert_nothing_opens(cohort, "seed-forged", {LIAR: "seed-forged"})


def test_shares_of_another_key_than_was_advertised_name_their_owner() -> None:
    cohort = at("share")
    cohort.clients[LIAR]._mask.private = KeyPair.fresh().private
    cohort.step()
    cohort.step(silent=(LIAR,))
    cohort.step(silent=(LIAR,))
    for name, reply in cohort.ask(silent=(LIAR,)).items():
        cohort.server.receive(name, reply)
    assert_nothing_opens(cohort, "key-forged", {LIAR: "key-forged"})


@pytest.mark.parametrize("value", [PRIME, PRIME + 1, (1 << 264) - 1, 1 << 256], ids=hex)
def test_shares_that_are_no_field_elements_or_rebuild_no_secret_name_their_owner(value: int) -> None:
    """A constant polynomial of 2^256 rebuilds an element of the field that no 32 bytes hold."""
    cohort = at("share")
    share = value.to_bytes(SHARE_BYTES, "little")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "secagg.masking.client.split", lambda secret, t, points, random: dict.fromkeys(points, share)
        )
        lie = honest_reply(cohort)
    step_with(cohort, {LIAR: lie}, None)
    cohort.run_to("reveal")
    for name, reply in cohort.ask().items():
        cohort.server.receive(name, reply)
    assert_nothing_opens(cohort, "seed-forged", {LIAR: "seed-forged"})


def test_after_a_failed_opening_the_server_holds_no_revealed_share_and_the_round_is_not_retried() -> None:
    cohort = at("share")
    cohort.clients[LIAR]._seed = Secret.fresh()
    cohort.run_to("reveal")
    for name, reply in cohort.ask().items():
        cohort.server.receive(name, reply)
    assert_nothing_opens(cohort, "seed-forged", {LIAR: "seed-forged"})
    assert not cohort.server._shares._of
    assert cohort.server.opens and not cohort.server.retryable


def test_the_cohort_of_the_next_attempt_opens_without_the_liar() -> None:
    cohort = Cohort(N)
    cohort.server._admits = lambda identity: identity.name != LIAR
    with pytest.raises(ClientFault):
        cohort.server.receive(LIAR, honest_reply(cohort))
    while cohort.server.stage:
        for name, reply in cohort.ask(silent=(LIAR,)).items():
            cohort.server.receive(name, reply)
        cohort.server.advance()
    others = [name for name in cohort.ids if name != LIAR]
    assert np.array_equal(cohort.server.sum().vector, cohort.expected(others))
