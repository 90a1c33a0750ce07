"""The cohort: drawn from what every client verifies for itself, and bound into all that is signed after."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg import canonical
from secagg.errors import FloorError, ProtocolError
from secagg.homomorphic.cohort import DECRYPTORS, Cohort, Member, verify_entry
from secagg.homomorphic.messages import Entry
from secagg.keys import KeyPair
from tests.cohort import CONTEXT, NOW, admit_all, credentials
from tests.homomorphic.lies import advertised, sign
from tests.homomorphic.sessions import terms

NAMES = [f"client-{i:03d}" for i in range(8)]


def member(name: str, context: bytes = CONTEXT) -> Member:
    return verified(advertised(credentials(name), context), context)


def verified(entry: Entry, context: bytes = CONTEXT) -> Member:
    return verify_entry(entry, context, credentials("client-000").authority, admit_all, NOW)


def cohort(n: int = 6, context: bytes = CONTEXT) -> Cohort:
    return Cohort.of([member(name, context) for name in NAMES[:n]], terms(min_survivors=2), context)


# -- the draw ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "holders", "quorum"), [(2, 2, 2), (3, 3, 2), (4, 3, 2), (8, 3, 2)])
def test_three_decrypt_or_all_where_there_are_fewer_and_more_than_half_confirm(
    n: int, holders: int, quorum: int
) -> None:
    drawn = cohort(n)
    assert len(drawn) == n
    assert len(set(drawn.decryptors)) == len(drawn.decryptors) == holders <= DECRYPTORS
    assert all(0 <= position < n for position in drawn.decryptors)
    assert drawn.key_maker is drawn.members[drawn.decryptors[0]]
    assert drawn.quorum == quorum


def test_everybody_who_verifies_the_same_roster_draws_the_same_decryptors() -> None:
    members = [member(name) for name in NAMES[:6]]
    again = [verified(one.entry) for one in members]
    one, other = (Cohort.of(them, terms(), CONTEXT) for them in (members, again))
    assert (one.decryptors, one.context) == (other.decryptors, other.context)


def test_the_draw_favours_no_position() -> None:
    """8 clients, 3 drawn: 200 draws give each position 75 in the mean; 30 and 120 are 6 sigma away."""
    members = [member(name) for name in NAMES]
    counts: Counter[int] = Counter()
    makers: Counter[int] = Counter()
    for number in range(200):
        drawn = Cohort.of(members, terms(), number.to_bytes(32, "little"))
        counts.update(drawn.decryptors)
        makers[drawn.decryptors[0]] += 1
    assert set(counts) == set(makers) == set(range(8))
    assert min(counts.values()) > 30 and max(counts.values()) < 120


def test_a_changed_key_of_any_member_changes_the_draw_and_the_context() -> None:
    members = [member(name) for name in NAMES[:6]]
    first = Cohort.of(members, terms(), CONTEXT)
    contexts = {first.context}
    for position in range(6):
        for _ in range(3):
            fresh = [*members[:position], member(NAMES[position]), *members[position + 1 :]]
            contexts.add(Cohort.of(fresh, terms(), CONTEXT).context)
    assert len(contexts) == 19


def test_positions_are_those_of_the_roster_by_id() -> None:
    drawn = cohort(6)
    assert [drawn.position(name) for name in NAMES[:6]] == list(range(6))
    with pytest.raises(KeyError):
        drawn.position("client-007")


# -- what is bound ----------------------------------------------------------------------------------------


@given(bit=st.integers(0, 255))
@settings(max_examples=20, deadline=None)
def test_every_bit_of_the_attempts_context_is_bound(bit: int) -> None:
    members = [member(name) for name in NAMES[:3]]
    other = bytearray(CONTEXT)
    other[bit // 8] ^= 1 << bit % 8
    assert Cohort.of(members, terms(), bytes(other)).context != Cohort.of(members, terms(), CONTEXT).context


def test_a_smaller_cohort_of_the_same_members_has_another_context() -> None:
    members = [member(name) for name in NAMES]
    contexts = [Cohort.of(members[:n], terms(), CONTEXT).context for n in range(3, 9)]
    assert len(set(contexts)) == 6


def test_what_is_said_under_one_public_key_is_not_said_under_another() -> None:
    drawn = cohort(3)
    under = [drawn.under(key) for key in (b"", b"\0", b"a key", b"another")]
    assert len({*under, drawn.context}) == 5
    assert drawn.under(b"a key") == canonical.digest("homomorphic key", drawn.context, b"a key")


def test_a_signature_is_over_its_purpose_signer_context_and_content() -> None:
    drawn = cohort(3)
    good = sign(NAMES[1], "confirm", drawn.context, b"content")
    assert drawn.verify(1, good, "confirm", drawn.context, b"content")
    assert not drawn.verify(2, good, "confirm", drawn.context, b"content")
    assert not drawn.verify(1, good, "ciphertext", drawn.context, b"content")
    assert not drawn.verify(1, good, "confirm", CONTEXT, b"content")
    assert not drawn.verify(1, good, "confirm", drawn.context, b"contents")
    assert not drawn.verify(1, b"", "confirm", drawn.context, b"content")


# -- what is refused --------------------------------------------------------------------------------------


def refuses(members: list[Member], code: str, min_survivors: int = 3) -> None:
    with pytest.raises(ProtocolError) as refused:
        Cohort.of(members, terms(min_survivors=min_survivors), CONTEXT)
    assert refused.value.code == code


def test_a_cohort_has_its_least_and_its_largest_size() -> None:
    members = [member(name) for name in [*NAMES, "client-008"]]
    refuses(members[:2], "cohort-too-small")
    refuses([], "cohort-too-small")
    refuses(members[:4], "cohort-too-small", min_survivors=5)
    Cohort.of(members[:8], terms(), CONTEXT)
    refuses(members, "cohort-too-large")


def test_members_are_sorted_and_come_once() -> None:
    members = [member(name) for name in NAMES[:4]]
    refuses(members[::-1], "member-repeated")
    refuses([*members, members[-1]], "member-repeated")
    refuses([*members, member(NAMES[3])], "member-repeated")


def test_no_two_members_show_one_key() -> None:
    members = [member(name) for name in NAMES[:3]]
    shown = verified(advertised(credentials(NAMES[3]), channel_pk=members[0].channel_pk))
    refuses([*members, shown], "key-repeated")


def test_a_member_that_is_not_admitted_or_not_signed_is_none() -> None:
    entry = advertised(credentials(NAMES[0]))
    with pytest.raises(FloorError, match="floor-member"):
        verify_entry(entry, CONTEXT, credentials(NAMES[1]).authority, lambda _: False, NOW)
    changed = replace(entry.advertisement, channel_pk=KeyPair.fresh().public)
    with pytest.raises(ProtocolError, match="member-signature"):
        verified(Entry(NAMES[0], changed))


def test_an_advertisement_for_masks_is_none_for_ciphertexts() -> None:
    """Both protocols sign under the purpose `advertise`: over one key here, two keys and more there."""
    pair = [KeyPair.fresh().public for _ in range(2)]
    who = credentials(NAMES[0])
    message = canonical.encode(
        canonical.VERSION_LABEL, "signature advertise", NAMES[0], CONTEXT, *pair, bytes(32)
    )
    forged = replace(advertised(who).advertisement, channel_pk=pair[0], signature=who.sign(message))
    with pytest.raises(ProtocolError, match="member-signature"):
        verified(Entry(NAMES[0], forged))
