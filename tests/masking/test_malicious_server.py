"""Every lie a server can tell: the honest client stops, says which, and has revealed nothing.

Six clients, of whom `LIAR` colludes and signs whatever the server likes. `HONEST` is the one lied to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import combinations

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.x509.oid import NameOID

from secagg import keys
from secagg.certificates import Authority, Identity, split_signed
from secagg.credentials import Credentials, key_to_pem
from secagg.enrolment import issue, issue_credentials, new_authority
from secagg.errors import FloorError, SecaggError, ServerFault
from secagg.masking.client import MaskingClient
from secagg.masking.messages import (
    KEY_SHARE,
    SEED_SHARE,
    STAGES,
    Advertisement,
    AdvertiseRequest,
    ConfirmReply,
    ConfirmRequest,
    Entry,
    Envelope,
    MaskReply,
    MaskRequest,
    RevealReply,
    RevealRequest,
    ShareReply,
    ShareRequest,
    bitmap,
)
from secagg.masking.parameters import Policy
from tests import cohort as cohorts
from tests.cohort import CONTEXT, NOW, Cohort, credentials
from tests.masking.lies import (
    Watch,
    advertised,
    assert_silent,
    assert_the_lie_ends_it,
    changed,
    confirmation,
    mask_request,
    share_request,
    twin,
)

N = 6
HONEST, LIAR = "client-000", "client-005"
EVERYONE = range(N)


def at(stage: str, adversary: str = "malicious", context: bytes = CONTEXT, n: int = N) -> Cohort:
    cohort = Cohort(n, policy=Policy(8, 3, adversary=adversary), context=context)
    cohort.run_to(stage)
    return cohort


def honest(cohort: Cohort) -> MaskingClient:
    return cohort.clients[HONEST]


# -- which stage ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", STAGES)
@pytest.mark.parametrize("due", STAGES)
def test_stages_can_neither_be_skipped_nor_gone_back_to(due: str, asked: str) -> None:
    if due == asked:
        return
    bare = {
        "advertise": AdvertiseRequest(bytes(32)).to_bytes(),
        "share": ShareRequest(5, 4, ()).to_bytes(),
        "mask": bytes((1, 2, 0, 0, 0, 0)),
        "confirm": ConfirmRequest(b"\x1f").to_bytes(),
        "reveal": RevealRequest(b"\x3f", ()).to_bytes(),
    }
    skipped = STAGES.index(asked) > STAGES.index(due)
    code = "stage-order" if skipped else "request-changed"
    assert_the_lie_ends_it(honest(at(due)), bare[asked], code)


@pytest.mark.parametrize("stage", STAGES)
def test_two_different_requests_for_one_stage_end_the_session(stage: str) -> None:
    cohort = at(stage)
    request = cohort.server.requests()[HONEST]
    watch = Watch(honest(cohort))
    first = honest(cohort).answer(request)
    assert honest(cohort).answer(request) == first
    with pytest.raises(ServerFault, match="request-changed"):
        honest(cohort).answer(request + b"\0")
    watch.assert_erased()
    assert_silent(honest(cohort), request)


@pytest.mark.parametrize("version", [0, 2, 255])
def test_a_request_of_another_protocol_version_is_refused(version: int) -> None:
    cohort = at("advertise")
    request = cohort.server.requests()[HONEST]
    assert_the_lie_ends_it(honest(cohort), bytes((version,)) + request[1:], "message-version")


def test_a_semi_honest_plan_skips_confirm_and_refuses_to_be_asked_for_it() -> None:
    cohort = at("reveal", adversary="semi-honest")
    assert_the_lie_ends_it(honest(cohort), ConfirmRequest(b"\x3f").to_bytes(), "stage-order")


def test_a_malicious_plan_reveals_nothing_to_a_server_that_skips_confirm() -> None:
    cohort = at("confirm")
    assert_the_lie_ends_it(honest(cohort), RevealRequest(b"\x3f", ()).to_bytes(), "stage-order")


@pytest.mark.parametrize("survivors", [b"\x3e", b"\x03", b"\x00"])
def test_a_semi_honest_reveal_still_checks_the_survivors(survivors: bytes) -> None:
    cohort = at("reveal", adversary="semi-honest")
    code = "survivors-too-few" if survivors == b"\x03" else "survivors-without-self"
    assert_the_lie_ends_it(honest(cohort), RevealRequest(survivors, ()).to_bytes(), code)


# -- which context ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bit", [0, 7, 128, 255])
def test_a_context_that_is_not_the_clients_own_is_refused(bit: int) -> None:
    lie = AdvertiseRequest(changed(CONTEXT, bit)).to_bytes()
    assert_the_lie_ends_it(honest(at("advertise")), lie, "context-mismatch")


def test_every_number_of_the_policy_the_ring_and_the_length_is_in_the_context() -> None:
    policies = [
        Policy(8, 3),
        Policy(9, 3),
        Policy(8, 4),
        Policy(8, 3, colluders=0.05),
        Policy(8, 3, dropouts=0.1),
        Policy(8, 3, adversary="semi-honest"),
        Policy(8, 3, sigma=39),
        Policy(8, 3, eta=19),
    ]
    encodings = {
        policy.encode(bits, length) for policy in policies for bits in (25, 26) for length in (33, 34)
    }
    assert len(encodings) == 4 * len(policies)


def test_clients_given_different_contexts_do_not_accept_each_other() -> None:
    """A server that tells each its own model or configuration gets no further than the roster."""
    cohort, other = at("share"), at("share", context=bytes(32))
    theirs = ShareRequest.from_bytes(other.server.requests()[LIAR]).roster[-1]
    lie = share_request(cohort, HONEST, lambda roster: [*roster[:-1], theirs])
    assert_the_lie_ends_it(honest(cohort), lie, "member-signature")


# -- the roster -------------------------------------------------------------------------------------------


def refuses_roster(change: Callable[[list[Entry]], list[Entry]], code: str) -> SecaggError:
    cohort = at("share")
    return assert_the_lie_ends_it(honest(cohort), share_request(cohort, HONEST, change), code)


def with_last(entry: Entry) -> Callable[[list[Entry]], list[Entry]]:
    return lambda roster: [*roster[:-1], entry]


def test_an_invented_member_without_a_certificate_is_refused() -> None:
    def invent(roster: list[Entry]) -> list[Entry]:
        return [*roster, Entry("client-999", replace(roster[1].advertisement, certificate=b"invented"))]

    refuses_roster(invent, "member-certificate")


def test_an_invented_member_with_the_certificate_of_another_is_refused() -> None:
    refuses_roster(lambda roster: [*roster, replace(roster[1], id="client-999")], "member-id")


def foreign(name: str, days: int = 365, past: timedelta = timedelta(0)) -> Credentials:
    return issue_credentials(name, "client", new_authority("other"), now=NOW - past, days=days)


def test_a_member_enrolled_by_another_authority_is_refused() -> None:
    refuses_roster(with_last(advertised(foreign(LIAR))), "member-certificate")


def test_an_authority_that_the_server_made_up_enrols_nobody() -> None:
    made_up = new_authority("authority", now=NOW)
    assert Authority.from_pem(made_up[1]).name == honest(at("advertise"))._credentials.authority.name
    member = issue_credentials(LIAR, "client", made_up, now=NOW)
    refuses_roster(with_last(advertised(member)), "member-certificate")


def test_a_member_whose_certificate_has_expired_is_refused() -> None:
    old = issue_credentials(LIAR, "client", cohorts._AUTHORITY, now=NOW, days=1)
    cohort = at("share")
    cohort.clients[HONEST]._now = NOW + timedelta(days=2)
    lie = share_request(cohort, HONEST, with_last(advertised(old)))
    error = assert_the_lie_ends_it(honest(cohort), lie, "member-certificate")
    assert "expired" in error.message and LIAR in error.message


def test_a_server_certificate_is_no_member() -> None:
    error = refuses_roster(with_last(advertised(credentials(LIAR, "server"))), "member-certificate")
    assert "server" in error.message


@pytest.mark.parametrize("key", ["channel_pk", "mask_pk", "commitment"])
def test_a_substituted_key_or_commitment_is_refused(key: str) -> None:
    def substitute(roster: list[Entry]) -> list[Entry]:
        theirs = replace(roster[3].advertisement, **{key: keys.KeyPair.fresh().public})
        return [*roster[:3], replace(roster[3], advertisement=theirs), *roster[4:]]

    refuses_roster(substitute, "member-signature")


def test_the_two_keys_of_a_member_cannot_be_swapped() -> None:
    def swap(roster: list[Entry]) -> list[Entry]:
        ad = roster[3].advertisement
        theirs = replace(ad, channel_pk=ad.mask_pk, mask_pk=ad.channel_pk)
        return [*roster[:3], replace(roster[3], advertisement=theirs), *roster[4:]]

    refuses_roster(swap, "member-signature")


def test_the_advertisements_of_two_members_cannot_be_swapped() -> None:
    def swap(roster: list[Entry]) -> list[Entry]:
        roster[3], roster[4] = (
            replace(roster[3], advertisement=roster[4].advertisement),
            replace(roster[4], advertisement=roster[3].advertisement),
        )
        return roster

    refuses_roster(swap, "member-id")


@pytest.mark.parametrize("key", ["channel_pk", "mask_pk"])
def test_the_clients_own_key_reflected_by_a_colluder_is_refused(key: str) -> None:
    def reflect(roster: list[Entry]) -> list[Entry]:
        own = getattr(roster[0].advertisement, key)
        return [*roster[:-1], advertised(credentials(LIAR), **{key: own})]

    refuses_roster(reflect, "key-repeated")


def test_the_same_point_in_other_bytes_is_no_other_key() -> None:
    """X25519 ignores the top bit and reduces modulo 2^255 - 19: one key would pass for two."""
    top = bytearray(keys.KeyPair.fresh().public)
    top[-1] |= 0x80
    above = (2**255 - 19 + 9).to_bytes(32, "little")
    for key in (bytes(top), above):
        refuses_roster(with_last(advertised(credentials(LIAR), mask_pk=key)), "key-encoding")
        refuses_roster(with_last(advertised(credentials(LIAR), channel_pk=key)), "key-encoding")


def test_a_key_that_two_members_show_is_refused() -> None:
    shown = keys.KeyPair.fresh().public

    def repeat(roster: list[Entry]) -> list[Entry]:
        fourth = advertised(credentials("client-004"), channel_pk=shown)
        return [*roster[:4], fourth, advertised(credentials(LIAR), mask_pk=shown)]

    refuses_roster(repeat, "key-repeated")


def test_one_key_for_both_purposes_is_refused() -> None:
    shown = keys.KeyPair.fresh().public
    refuses_roster(with_last(advertised(credentials(LIAR), channel_pk=shown, mask_pk=shown)), "key-repeated")


def test_one_certified_key_under_two_names_is_refused() -> None:
    """An authority that enrolled one key twice does not make two members of one."""
    key = credentials(LIAR)._key
    request = (
        x509.CertificateSigningRequestBuilder(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client-9")])
        )
        .add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH]), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    certificate = issue(request, *cohorts._AUTHORITY, now=NOW)
    second = Credentials.from_pem(certificate, key_to_pem(key), cohorts._AUTHORITY[1], NOW)
    refuses_roster(lambda roster: [*roster, advertised(second)], "key-repeated")


@pytest.mark.parametrize("top", [0, 0x80])
@pytest.mark.parametrize("point", sorted(keys._LOW_ORDER), ids=lambda point: point.hex()[:8])
def test_a_key_of_small_order_is_refused_though_it_is_signed(point: bytes, top: int) -> None:
    key = point[:-1] + bytes((point[-1] | top,))
    refuses_roster(with_last(advertised(credentials(LIAR), channel_pk=key)), "key-low-order")
    refuses_roster(with_last(advertised(credentials(LIAR), mask_pk=key)), "key-low-order")


def test_one_id_cannot_stand_in_the_roster_twice() -> None:
    refuses_roster(
        lambda roster: [*roster[:4], roster[4], advertised(credentials("client-004"))], "member-repeated"
    )


def test_a_roster_out_of_order_is_refused() -> None:
    refuses_roster(lambda roster: roster[::-1], "member-repeated")


def test_a_roster_without_the_client_or_with_the_client_twice_is_refused() -> None:
    refuses_roster(lambda roster: [*roster[1:], advertised(credentials("client-006"))], "own-entry")
    refuses_roster(lambda roster: [roster[0], *roster[:-1]], "own-entry")


@pytest.mark.parametrize("field", ["channel_pk", "mask_pk", "commitment", "certificate", "signature"])
def test_the_clients_own_entry_must_be_as_it_sent_it(field: str) -> None:
    def change(roster: list[Entry]) -> list[Entry]:
        ours = replace(roster[0].advertisement, **{field: getattr(roster[1].advertisement, field)})
        return [replace(roster[0], advertisement=ours), *roster[1:]]

    refuses_roster(change, "own-entry")


def test_the_clients_own_entry_signed_by_it_in_another_attempt_is_refused() -> None:
    refuses_roster(lambda roster: [advertised(credentials(HONEST)), *roster[1:]], "own-entry")


@pytest.mark.parametrize(("k", "t"), [(5, 3), (5, 5), (4, 4), (5, 1), (5, 0), (0, 0), (2**32 - 1, 4)])
def test_a_threshold_other_than_the_rules_give_is_refused(k: int, t: int) -> None:
    cohort = at("share")
    honest_request = ShareRequest.from_bytes(cohort.server.requests()[HONEST])
    lie = replace(honest_request, k=k, t=t).to_bytes()
    assert_the_lie_ends_it(honest(cohort), lie, "threshold-changed")


@pytest.mark.parametrize("size", [0, 1, 2])
def test_a_cohort_below_the_plans_least_sum_is_refused(size: int) -> None:
    refuses_roster(lambda roster: roster[:size], "cohort-too-small")


def test_a_cohort_above_the_plans_largest_is_refused() -> None:
    more = [advertised(credentials(f"client-{i:03d}")) for i in range(N, 9)]
    refuses_roster(lambda roster: roster + more, "cohort-too-large")


def test_a_cohort_that_colluders_could_surround_is_refused() -> None:
    cohort = Cohort(4, policy=Policy(4, 2, colluders=0.7))
    roster = tuple(Entry(name, Advertisement.from_bytes(reply)) for name, reply in cohort.ask().items())
    lie = ShareRequest(3, 3, roster).to_bytes()
    assert_the_lie_ends_it(honest(cohort), lie, "cohort-infeasible")


def test_a_member_below_the_clients_own_floor_is_refused() -> None:
    cohort = at("share")

    def admits(identity: Identity) -> bool:
        return identity.name != LIAR

    honest(cohort)._admits = admits
    error = assert_the_lie_ends_it(honest(cohort), cohort.server.requests()[HONEST], "floor-member")
    assert isinstance(error, FloorError)


def test_an_advertisement_replayed_from_another_attempt_is_refused() -> None:
    replayed = advertised(credentials(LIAR), context=bytes(32))
    refuses_roster(with_last(replayed), "member-signature")


def test_a_control_character_in_an_invented_id_does_not_reach_the_log() -> None:
    error = refuses_roster(
        lambda roster: [*roster, replace(roster[1], id="z\n\x1b[2Jadmin: all well")], "member-id"
    )
    assert "\n" not in error.message and "\x1b" not in error.message


# -- different rosters ------------------------------------------------------------------------------------


def shown_another_roster(
    cohort: Cohort, name: str, change: Callable[[list[Entry]], list[Entry]]
) -> ShareReply:
    """`name` answers a roster of its own; the others answer the true one, and the stage is closed."""
    other = cohort.clients[name].answer(share_request(cohort, name, change))
    for client, reply in cohort.ask(silent=(name,)).items():
        cohort.server.receive(client, reply)
    if len(ShareReply.from_bytes(other).envelopes) == N - 1:
        cohort.server.receive(name, other)
    cohort.server.advance()
    return ShareReply.from_bytes(other)


def test_a_client_shown_a_smaller_roster_opens_no_share_of_the_others() -> None:
    cohort = at("share")
    honest_request = ShareRequest.from_bytes(cohort.server.requests()[HONEST])
    smaller = ShareRequest(4, 3, honest_request.roster[:-1]).to_bytes()
    honest(cohort).answer(smaller)
    for name, reply in cohort.ask(silent=(HONEST,)).items():
        cohort.server.receive(name, reply)
    cohort.server.advance()
    replies = {owner: cohort.server._envelopes[owner][0] for owner in range(1, N - 1)}
    lie = MaskRequest(tuple(sorted(replies.items()))).to_bytes()
    assert_the_lie_ends_it(honest(cohort), lie, "too-few-shares")


def test_clients_shown_different_rosters_derive_different_masks_and_nothing_opens() -> None:
    """Each half sees a valid roster, with another key of the colluder in it."""
    cohort = at("share")
    second = advertised(credentials(LIAR))
    half = cohort.ids[:3]
    replies = {}
    for name, request in cohort.server.requests().items():
        lie = share_request(cohort, name, with_last(second)) if name in half else request
        replies[name] = cohort.clients[name].answer(lie) if name != LIAR or name not in half else b""
    for name, reply in replies.items():
        cohort.server.receive(name, reply)
    cohort.server.advance()
    for name in cohort.ids[:-1]:
        assert_the_lie_ends_it(cohort.clients[name], cohort.server.requests()[name], "too-few-shares")


def malleated(der: bytes) -> bytes:
    """The same certificate with the other valid form of its signature, (r, n - s); no key is needed."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    split = split_signed(der)
    assert split is not None
    body, algorithm, signature = split
    r, s = decode_dss_signature(signature)
    bits = b"\0" + encode_dss_signature(r, order - s)
    inner = body + algorithm + bytes((0x03, len(bits))) + bits
    return b"\x30\x82" + len(inner).to_bytes(2, "big") + inner


def test_a_certificate_re_encoded_for_one_client_alone_gives_that_client_another_roster() -> None:
    cohort = at("share")

    def re_encode(roster: list[Entry]) -> list[Entry]:
        ad = roster[3].advertisement
        again = replace(ad, certificate=malleated(ad.certificate))
        assert again.certificate != ad.certificate
        return [*roster[:3], replace(roster[3], advertisement=again), *roster[4:]]

    shown_another_roster(cohort, HONEST, re_encode)
    assert_the_lie_ends_it(honest(cohort), cohort.server.requests()[HONEST], "too-few-shares")


# -- shares -----------------------------------------------------------------------------------------------


def _add_first_as(owner: int, shown: dict[int, Envelope]) -> dict[int, Envelope]:
    return {**shown, owner: shown[1]}


def test_a_clients_own_envelope_and_those_of_strangers_are_refused() -> None:
    for owner in (0, N, N + 1, 2**32 - 1):
        cohort = at("mask")
        lie = mask_request(cohort, HONEST, partial(_add_first_as, owner))
        assert_the_lie_ends_it(honest(cohort), lie, "share-owner")


def test_an_owner_whose_envelope_comes_twice_is_refused() -> None:
    cohort = at("mask")
    request = cohort.server.requests()[HONEST]
    count = 2 + 4
    body = request[count:]
    first = body[: len(body) // (N - 1)]
    lie = request[:2] + (N).to_bytes(4, "little") + first + body
    with pytest.raises(ServerFault) as caught:
        honest(cohort).answer(lie)
    assert caught.value.code in ("message-order", "message-short", "message-long")
    assert_silent(honest(cohort))


def test_fewer_envelopes_than_the_threshold_are_refused() -> None:
    cohort = at("mask")
    lie = mask_request(cohort, HONEST, lambda shown: {owner: shown[owner] for owner in (1, 2, 3)})
    assert_the_lie_ends_it(honest(cohort), lie, "too-few-shares")


LIES_ABOUT_ONE_SHARE: dict[str, Callable[[Cohort], dict[int, Envelope]]] = {
    "redirected": lambda cohort: {1: cohort.server._envelopes[1][2]},
    "another owner's": lambda cohort: {1: cohort.server._envelopes[2][0]},
    "reflected": lambda cohort: {1: cohort.server._envelopes[0][1]},
    "replayed": lambda cohort: {1: at("mask", context=bytes(32)).server._envelopes[1][0]},
    "truncated": lambda cohort: {1: replace(cohort.server._envelopes[1][0], ciphertext=b"")},
    "ciphertext of another": lambda cohort: {
        1: replace(cohort.server._envelopes[1][0], ciphertext=cohort.server._envelopes[2][0].ciphertext)
    },
    "digests swapped": lambda cohort: {
        1: replace(
            cohort.server._envelopes[1][0],
            seed_digest=cohort.server._envelopes[1][0].key_digest,
            key_digest=cohort.server._envelopes[1][0].seed_digest,
        )
    },
}


@pytest.mark.parametrize("lie", LIES_ABOUT_ONE_SHARE)
def test_a_share_that_is_not_this_owners_for_this_holder_is_no_share(lie: str) -> None:
    """The client reports it, masks against its owner all the same, and later reveals nothing of it."""
    cohort, told = at("mask"), LIES_ABOUT_ONE_SHARE[lie]
    request = mask_request(cohort, HONEST, lambda shown: {**shown, **told(cohort)})
    true_vector = MaskReply.from_bytes(twin(honest(cohort)).answer(cohort.server.requests()[HONEST])).vector
    replies = cohort.ask(silent=(HONEST,))
    replies[HONEST] = honest(cohort).answer(request)
    answer = MaskReply.from_bytes(replies[HONEST])
    assert answer.failed == (1,)
    assert answer.vector == true_vector
    for name, reply in replies.items():
        cohort.server.receive(name, reply)
    cohort.server.advance()
    cohort.step()
    revealed = RevealReply.from_bytes(cohort.step()[HONEST]).shares
    assert [owner for owner, _, _ in revealed] == [2, 3, 4, 5]
    assert np.array_equal(cohort.server.sum().vector, cohort.expected(cohort.ids))


def test_when_too_many_shares_are_not_their_owners_the_client_stops() -> None:
    cohort = at("mask")

    def rotate(shown: dict[int, Envelope]) -> dict[int, Envelope]:
        return dict(zip(shown, [*list(shown.values())[1:], next(iter(shown.values()))], strict=True))

    lie = mask_request(cohort, HONEST, rotate)
    assert_the_lie_ends_it(honest(cohort), lie, "too-few-shares")


# -- survivors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("survivors", "code"),
    [
        (bitmap({1, 2, 3, 4, 5}, N), "survivors-without-self"),
        (bitmap((), N), "survivors-without-self"),
        (bitmap({0}, N), "survivors-too-few"),
        (bitmap({0, 1}, N), "survivors-too-few"),
        (b"", "bitmap-size"),
        (b"\x3f\x00", "bitmap-size"),
        (b"\x7f", "bitmap-range"),
        (b"\xbf", "bitmap-range"),
    ],
)
def test_survivors_that_cannot_be_are_not_confirmed(survivors: bytes, code: str) -> None:
    assert_the_lie_ends_it(honest(at("confirm")), ConfirmRequest(survivors).to_bytes(), code)


def test_a_survivor_whose_shares_the_client_was_never_shown_is_not_confirmed() -> None:
    cohort = at("mask")
    partial = mask_request(cohort, HONEST, lambda shown: {i: shown[i] for i in shown if i != 5})
    honest(cohort).answer(partial)
    lie = ConfirmRequest(bitmap(EVERYONE, N)).to_bytes()
    assert_the_lie_ends_it(honest(cohort), lie, "survivors-unknown")


def test_a_client_that_never_shared_has_nothing_asked_of_it() -> None:
    """Who advertised and did not share is not masked against, and no share of its key exists."""
    cohort = at("share")
    cohort.step(silent=(LIAR,))
    while cohort.server.stage != "reveal":
        cohort.step(silent=(LIAR,))
    for reply in cohort.step(silent=(LIAR,)).values():
        assert 5 not in {owner for owner, _, _ in RevealReply.from_bytes(reply).shares}


def test_a_survivor_that_never_shared_is_not_confirmed() -> None:
    cohort = at("share")
    cohort.step(silent=(LIAR,))
    cohort.step(silent=(LIAR,))
    lie = ConfirmRequest(bitmap(EVERYONE, N)).to_bytes()
    assert_the_lie_ends_it(honest(cohort), lie, "survivors-unknown")


# -- the quorum -------------------------------------------------------------------------------------------

ALL = bitmap(EVERYONE, N)


def confirmed(survivors: bytes = ALL) -> Cohort:
    """All have confirmed `survivors`, and the client's answer to `reveal` is due."""
    cohort = at("confirm")
    honest(cohort).answer(ConfirmRequest(survivors).to_bytes())
    return cohort


def signatures(cohort: Cohort, survivors: bytes, signers: range | list[int]) -> tuple[tuple[int, bytes], ...]:
    return tuple((i, confirmation(cohort, cohort.ids[i], survivors)) for i in signers)


def test_a_client_named_both_alive_and_dropped_reveals_nothing() -> None:
    """Survivors at `confirm`, and one of them dropped at `reveal`, with a quorum for each."""
    cohort = confirmed()
    fewer = bitmap(range(N - 1), N)
    lie = RevealRequest(fewer, signatures(cohort, fewer, [0, 1, 2, 3])).to_bytes()
    assert_the_lie_ends_it(honest(cohort), lie, "survivors-changed")


def test_a_client_named_dropped_and_then_alive_reveals_nothing() -> None:
    cohort = confirmed(bitmap(range(N - 1), N))
    lie = RevealRequest(ALL, signatures(cohort, ALL, range(N))).to_bytes()
    assert_the_lie_ends_it(honest(cohort), lie, "survivors-changed")


@pytest.mark.parametrize("count", [0, 1, 3])
def test_fewer_confirmations_than_the_quorum_open_nothing(count: int) -> None:
    cohort = confirmed()
    lie = RevealRequest(ALL, signatures(cohort, ALL, range(count))).to_bytes()
    assert_the_lie_ends_it(honest(cohort), lie, "quorum-too-small")


def test_the_quorum_itself_opens() -> None:
    cohort = confirmed()
    request = RevealRequest(ALL, signatures(cohort, ALL, [1, 2, 3, 4])).to_bytes()
    shares = RevealReply.from_bytes(honest(cohort).answer(request)).shares
    assert [(owner, kind) for owner, kind, _ in shares] == [(i, SEED_SHARE) for i in range(1, N)]


def test_a_confirmation_repeated_is_counted_once() -> None:
    cohort = confirmed()
    three = signatures(cohort, ALL, [0, 1, 2])
    lie = RevealRequest(ALL, (*three, three[-1])).to_bytes()
    assert_the_lie_ends_it(honest(cohort), lie, "message-order")


def test_a_confirmation_repeated_under_another_position_is_no_confirmation() -> None:
    cohort = confirmed()
    three = signatures(cohort, ALL, [0, 1, 2])
    lie = RevealRequest(ALL, (*three, (3, three[-1][1]))).to_bytes()
    assert_the_lie_ends_it(honest(cohort), lie, "quorum-signature")


def test_confirmations_of_clients_that_are_no_survivors_do_not_count() -> None:
    survivors = bitmap({0, 1, 2}, N)
    cohort = confirmed(survivors)
    lie = RevealRequest(survivors, signatures(cohort, survivors, [0, 1, 2, 5])).to_bytes()
    assert_the_lie_ends_it(honest(cohort), lie, "quorum-stranger")


@pytest.mark.parametrize("position", [N, 2**32 - 1])
def test_confirmations_of_nobody_in_the_roster_do_not_count(position: int) -> None:
    cohort = confirmed()
    stranger = (position, confirmation(cohort, "client-007", ALL))
    lie = RevealRequest(ALL, (*signatures(cohort, ALL, [0, 1, 2]), stranger)).to_bytes()
    assert_the_lie_ends_it(honest(cohort), lie, "quorum-stranger")


def test_confirmations_replayed_from_another_round_or_attempt_do_not_count() -> None:
    earlier = at("confirm", context=bytes(32))
    replayed = []
    for position, (_, reply) in enumerate(sorted(earlier.ask().items())):
        replayed.append((position, ConfirmReply.from_bytes(reply).signature))
    lie = RevealRequest(ALL, tuple(replayed)).to_bytes()
    assert_the_lie_ends_it(honest(confirmed()), lie, "quorum-signature")


def test_confirmations_over_other_survivors_do_not_count() -> None:
    cohort = confirmed()
    other = signatures(cohort, bitmap(range(N - 1), N), [1, 2, 3, 4])
    assert_the_lie_ends_it(honest(cohort), RevealRequest(ALL, other).to_bytes(), "quorum-signature")


def test_confirmations_signed_by_the_server_do_not_count() -> None:
    cohort = confirmed()
    forged = confirmation(cohort, HONEST, ALL)
    lie = RevealRequest(ALL, tuple((i, forged) for i in range(1, 5))).to_bytes()
    assert_the_lie_ends_it(honest(cohort), lie, "quorum-signature")


def test_a_signature_for_another_purpose_is_no_confirmation() -> None:
    """The colluder's advertisement signature, or one over the same bytes with another label."""
    cohort = confirmed()
    others = signatures(cohort, ALL, [1, 2, 3])
    bound = cohort.server._roster.context  # type: ignore[union-attr]
    wrong = credentials(LIAR).sign(b"confirm" + bound + ALL)
    lie = RevealRequest(ALL, (*others, (5, wrong))).to_bytes()
    assert_the_lie_ends_it(honest(cohort), lie, "quorum-signature")


@pytest.mark.parametrize("first", list(combinations(range(N - 1), 3)), ids=str)
def test_different_survivors_shown_to_different_clients_reach_no_two_quorums(first: tuple[int, ...]) -> None:
    """However the honest are split, and though the colluder confirms both, at most one set opens."""
    shown = {True: ALL, False: bitmap(range(N - 1), N)}
    cohort = at("confirm")
    signed: dict[bytes, dict[int, bytes]] = {
        survivors: {5: confirmation(cohort, LIAR, survivors)} for survivors in shown.values()
    }
    for position in range(N - 1):
        survivors = shown[position in first]
        reply = cohort.clients[cohort.ids[position]].answer(ConfirmRequest(survivors).to_bytes())
        signed[survivors][position] = ConfirmReply.from_bytes(reply).signature
    opened = set()
    for position in range(N - 1):
        survivors = shown[position in first]
        alive = (
            signed[survivors] if survivors == ALL else {i: s for i, s in signed[survivors].items() if i != 5}
        )
        request = RevealRequest(survivors, tuple(sorted(alive.items()))).to_bytes()
        try:
            cohort.clients[cohort.ids[position]].answer(request)
        except ServerFault as fault:
            assert fault.code == "quorum-too-small"
            assert_silent(cohort.clients[cohort.ids[position]], request)
        else:
            opened.add(survivors)
    assert len(opened) <= 1


def test_a_second_different_reveal_request_gets_no_second_share() -> None:
    cohort = confirmed()
    quorum = signatures(cohort, ALL, range(N))
    watch = Watch(honest(cohort))
    first = honest(cohort).answer(RevealRequest(ALL, quorum[:4]).to_bytes())
    watch_kinds = {(owner, kind) for owner, kind, _ in RevealReply.from_bytes(first).shares}
    assert {kind for _, kind in watch_kinds} == {SEED_SHARE}
    fewer = bitmap(range(N - 1), N)
    with pytest.raises(ServerFault, match="request-changed"):
        honest(cohort).answer(RevealRequest(fewer, quorum[:4]).to_bytes())
    watch.assert_erased()
    assert_silent(honest(cohort), RevealRequest(ALL, quorum[:4]).to_bytes())


def test_exactly_one_share_of_each_neighbour_leaves_a_client() -> None:
    cohort = at("mask")
    cohort.step(silent=(LIAR,))
    cohort.step()
    for name, reply in cohort.step().items():
        own = cohort.ids.index(name)
        expected = [(i, KEY_SHARE if i == 5 else SEED_SHARE) for i in range(N) if i != own]
        assert [(owner, kind) for owner, kind, _ in RevealReply.from_bytes(reply).shares] == expected
