"""The roster: every entry verified, every key shown once, and a context that binds all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cache

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from secagg.credentials import Credentials
from secagg.errors import FloorError, ProtocolError
from secagg.keys import KeyPair, Secret
from secagg.masking.messages import Advertisement, Entry
from secagg.masking.parameters import Policy, Threshold, threshold
from secagg.masking.roster import Member, Roster, verify_entry
from secagg.membership import signed
from tests.cohort import CONTEXT, NOW, admit_all, credentials
from tests.vectors import reference

NAMES = ("anna", "bert", "cleo", "dora")


def public(name: str, which: str) -> bytes:
    return KeyPair(Secret(reference.digest("test", name, which))).public


def advertisement(
    name: str,
    changed: Mapping[str, bytes] | None = None,
    *,
    by: Credentials | None = None,
    context: bytes = CONTEXT,
) -> Advertisement:
    """Signed as it stands, by `by` or by `name` itself."""
    who = by or credentials(name)
    parts = {
        "channel_pk": public(name, "channel"),
        "mask_pk": public(name, "mask"),
        "commitment": reference.digest("test", name, "commitment"),
        **(changed or {}),
    }
    message = signed("advertise", name, context, *parts.values())
    return Advertisement(**parts, certificate=who.certificate_der, signature=who.sign(message))


def verify(name: str, shown: Advertisement, context: bytes = CONTEXT) -> Member:
    return verify_entry(Entry(name, shown), context, credentials("anna").authority, admit_all, NOW)


@cache
def member(name: str) -> Member:
    return verify(name, advertisement(name))


def roster(members: Sequence[Member], limits: Threshold | None = None, context: bytes = CONTEXT) -> Roster:
    return Roster.of(
        members, limits or threshold(Policy(max_clients=9, min_survivors=3), len(members)), context
    )


def code_of(name: str, shown: Advertisement, context: bytes = CONTEXT) -> str:
    with pytest.raises(ProtocolError) as refused:
        verify(name, shown, context)
    return refused.value.code


# -- one entry ----------------------------------------------------------------------------------------


def test_an_honest_entry_is_a_member() -> None:
    one = member("anna")
    assert one.id == one.identity.name == "anna"
    assert one.identity.role == "client"


def test_an_entry_signed_by_another_or_for_another_attempt_is_refused() -> None:
    shown = advertisement("anna")
    stolen = replace(advertisement("anna", by=credentials("bert")), certificate=shown.certificate)
    assert code_of("anna", stolen) == "member-signature"
    assert code_of("anna", advertisement("anna", context=bytes(32))) == "member-signature"
    assert code_of("anna", shown, context=bytes(32)) == "member-signature"
    assert code_of("anna", replace(shown, signature=b"")) == "member-signature"
    assert code_of("anna", replace(shown, signature=b"no DER")) == "member-signature"


@given(st.sampled_from(["channel_pk", "mask_pk", "commitment"]), st.integers(0, 255))
def test_no_bit_of_what_an_entry_shows_can_be_changed(part: str, bit: int) -> None:
    shown = advertisement("anna")
    changed = bytearray(getattr(shown, part))
    changed[bit // 8] ^= 1 << bit % 8
    second_form = part != "commitment" and bit == 255
    expected = "key-encoding" if second_form else "member-signature"
    assert code_of("anna", replace(shown, **{part: bytes(changed)})) == expected


def test_two_keys_of_one_entry_cannot_change_places() -> None:
    shown = advertisement("anna")
    swapped = replace(shown, channel_pk=shown.mask_pk, mask_pk=shown.channel_pk)
    assert code_of("anna", swapped) == "member-signature"


@pytest.mark.parametrize("part", ["channel_pk", "mask_pk"])
@pytest.mark.parametrize("value", [0, 1, 2**255 - 20, 2**255 - 19, 2**255 | 1])
def test_a_signed_key_of_small_order_is_refused(part: str, value: int) -> None:
    assert code_of("anna", advertisement("anna", {part: value.to_bytes(32, "little")})) == "key-low-order"


@pytest.mark.parametrize("part", ["channel_pk", "mask_pk"])
@pytest.mark.parametrize("value", [2**255 | 9, 2**255 - 19 + 9])
def test_a_signed_key_in_a_second_form_is_refused(part: str, value: int) -> None:
    assert code_of("anna", advertisement("anna", {part: value.to_bytes(32, "little")})) == "key-encoding"


def test_an_entry_is_verified_for_its_own_id_at_the_time_and_against_the_members_it_is_given() -> None:
    entry, authority = Entry("anna", advertisement("anna")), credentials("anna").authority
    assert code_of("anna", advertisement("anna", by=credentials("bert"))) == "member-id"
    with pytest.raises(ProtocolError, match="expired") as refused:
        verify_entry(entry, CONTEXT, authority, admit_all, NOW + timedelta(days=366))
    assert refused.value.code == "member-certificate"
    with pytest.raises(FloorError) as not_admitted:
        verify_entry(entry, CONTEXT, authority, lambda identity: identity.name != "anna", NOW)
    assert not_admitted.value.code == "floor-member"


# -- the whole roster ---------------------------------------------------------------------------------


def test_the_context_is_the_digest_of_root_and_threshold() -> None:
    members = [member(name) for name in NAMES]
    limits = threshold(Policy(max_clients=9, min_survivors=3), 4)
    digests = [
        reference.digest(
            "roster entry",
            one.id,
            one.advertisement.channel_pk,
            one.advertisement.mask_pk,
            one.advertisement.commitment,
            one.advertisement.certificate,
        )
        for one in members
    ]
    root = reference.digest("roster", CONTEXT, *digests)
    made = roster(members)
    assert made.context == reference.digest("roster context", CONTEXT, root, 4, limits.k, limits.t)
    assert made.seed == reference.digest("graph", CONTEXT, *sorted(digests))


def test_every_difference_in_a_roster_or_its_threshold_is_another_context() -> None:
    members = [member(name) for name in NAMES]
    limits = threshold(Policy(max_clients=9, min_survivors=3), 4)

    def with_changed(part: str, value: bytes) -> list[Member]:
        return [*members[:3], verify("dora", advertisement("dora", {part: value}))]

    rosters = [
        roster(members),
        roster(members, context=bytes(32)),
        roster(members[:3]),
        roster(members, replace(limits, t=limits.t - 1)),
        roster(members, replace(limits, k=limits.k - 1)),
        roster(members, replace(limits, n=limits.n + 1)),
        roster(with_changed("channel_pk", public("dora", "another"))),
        roster(with_changed("mask_pk", public("dora", "another"))),
        roster(with_changed("commitment", bytes(32))),
    ]
    assert len({one.context for one in rosters}) == len(rosters)


def test_another_signature_over_the_same_keys_is_the_same_roster() -> None:
    """ECDSA draws a nonce; what was signed counts."""
    one, other = (verify("anna", advertisement("anna")) for _ in range(2))
    assert one.advertisement.signature != other.advertisement.signature
    rest = [member(name) for name in NAMES[1:]]
    assert roster([one, *rest]).context == roster([other, *rest]).context


@pytest.mark.parametrize(
    "names",
    [("anna", "cleo", "bert"), ("anna", "anna", "bert"), ("bert", "cleo", "anna"), ("anna", "bert", "bert")],
)
def test_a_roster_that_is_not_distinct_and_sorted_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ProtocolError) as refused:
        roster([member(name) for name in names])
    assert refused.value.code == "member-repeated"


@pytest.mark.parametrize("part", ["channel_pk", "mask_pk"])
@pytest.mark.parametrize("of", ["channel_pk", "mask_pk"])
def test_a_key_that_another_member_shows_is_refused(part: str, of: str) -> None:
    taken = getattr(member("anna").advertisement, of)
    copier = verify("dora", advertisement("dora", {part: taken}))
    with pytest.raises(ProtocolError) as refused:
        roster([member("anna"), member("bert"), copier])
    assert refused.value.code == "key-repeated"


def test_a_key_shown_for_both_purposes_is_refused() -> None:
    one_key = public("dora", "channel")
    twice = verify("dora", advertisement("dora", {"mask_pk": one_key}))
    with pytest.raises(ProtocolError) as refused:
        twice.claim_keys(set())
    assert refused.value.code == "key-repeated"


def test_two_names_with_one_certified_key_are_refused() -> None:
    one, other = member("anna"), member("bert")
    twin = replace(other, identity=replace(other.identity, public_key=one.identity.public_key))
    with pytest.raises(ProtocolError) as refused:
        roster([one, twin, member("cleo")])
    assert refused.value.code == "key-repeated"


def test_the_three_keys_of_a_member_are_claimed_and_a_refused_member_claims_none() -> None:
    seen: set[bytes] = set()
    one = member("anna")
    one.claim_keys(seen)
    certified = one.identity.public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert seen == {one.advertisement.channel_pk, one.advertisement.mask_pk, certified}
    copier = verify("dora", advertisement("dora", {"mask_pk": one.advertisement.mask_pk}))
    with pytest.raises(ProtocolError):
        copier.claim_keys(seen)
    assert len(seen) == 3
    member("dora").claim_keys(seen)  # and its own key is still free


def test_positions_and_neighbours_follow_the_sorted_ids() -> None:
    made = roster([member(name) for name in NAMES])
    assert len(made) == 4
    assert [made.position(name) for name in NAMES] == [0, 1, 2, 3]
    assert made.neighbours(1) == (0, 2, 3)
    with pytest.raises(KeyError):
        made.position("nobody")
