"""A member: its certificate, its id, its keys and its signature verified, every key shown once, in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from secagg.certificates import Identity
from secagg.credentials import Credentials
from secagg.enrolment import issue_credentials, new_authority
from secagg.errors import FloorError, ProtocolError
from secagg.keys import KeyPair, Secret
from secagg.membership import Admits, claim_keys, require_sorted, signed, verify_member
from tests.cohort import CONTEXT, NOW, admit_all, credentials
from tests.vectors import reference

ANNA = credentials("anna")
ONE, TWO = (KeyPair(Secret(bytes((which,)) * 32)).public for which in (1, 2))
DIGEST = bytes(range(32, 64))


def verify(
    id: str = "anna",
    *,
    by: Credentials = ANNA,
    certificate: bytes | None = None,
    signature: bytes | None = None,
    keys: Sequence[bytes] = (ONE,),
    also_signed: Sequence[bytes] = (),
    context: bytes = CONTEXT,
    admits: Admits = admit_all,
    now: datetime = NOW,
) -> Identity:
    """What `by` shows as `id`, signed by it as it is shown unless told otherwise."""
    message = reference.signed("advertise", id, context, *keys, *also_signed)
    return verify_member(
        id,
        by.certificate_der if certificate is None else certificate,
        by.sign(message) if signature is None else signature,
        keys=keys,
        also_signed=also_signed,
        context=context,
        authority=ANNA.authority,
        admits=admits,
        now=now,
    )


def code_of(*args: object, **kwargs: object) -> str:
    with pytest.raises(ProtocolError) as refused:
        verify(*args, **kwargs)  # type: ignore[arg-type]
    return refused.value.code


# -- one member ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [(ONE,), (ONE, TWO)])
@pytest.mark.parametrize("also_signed", [(), (DIGEST,)])
def test_an_honest_member_is_who_its_certificate_says(
    keys: tuple[bytes, ...], also_signed: tuple[bytes, ...]
) -> None:
    identity = verify(keys=keys, also_signed=also_signed)
    assert identity == ANNA.identity
    assert (identity.name, identity.role) == ("anna", "client")


def test_what_another_signed_or_what_was_signed_for_another_purpose_or_attempt_is_refused() -> None:
    message = reference.signed("advertise", "anna", CONTEXT, ONE)
    assert verify(signature=ANNA.sign(message)) == ANNA.identity
    for signature in (
        credentials("bert").sign(message),
        ANNA.sign(reference.signed("confirm", "anna", CONTEXT, ONE)),
        ANNA.sign(reference.signed("advertise", "bert", CONTEXT, ONE)),
        ANNA.sign(reference.signed("advertise", "anna", bytes(32), ONE)),
        b"",
        b"no DER",
    ):
        assert code_of(signature=signature) == "member-signature"


@given(st.integers(0, 2), st.integers(0, 255))
def test_no_bit_of_a_key_or_of_what_is_signed_with_it_can_be_changed(part: int, bit: int) -> None:
    shown = [ONE, TWO, DIGEST]
    signature = ANNA.sign(reference.signed("advertise", "anna", CONTEXT, *shown))
    changed = bytearray(shown[part])
    changed[bit // 8] ^= 1 << bit % 8
    shown[part] = bytes(changed)
    expected = "key-encoding" if part < 2 and bit == 255 else "member-signature"
    assert code_of(signature=signature, keys=shown[:2], also_signed=shown[2:]) == expected


def test_a_signature_over_other_keys_than_are_shown_is_refused() -> None:
    signature = ANNA.sign(reference.signed("advertise", "anna", CONTEXT, ONE, TWO))
    assert verify(signature=signature, keys=(ONE, TWO)) == ANNA.identity
    for keys in ((TWO, ONE), (ONE,), (ONE, TWO, TWO), ()):
        assert code_of(signature=signature, keys=keys) == "member-signature"


def test_a_member_under_another_name_is_refused() -> None:
    assert code_of("anna", by=credentials("bert")) == "member-id"
    assert code_of("Anna") == "member-id"


def test_a_certificate_that_does_not_hold_is_refused() -> None:
    stranger = issue_credentials("anna", "client", new_authority("stranger", now=NOW), now=NOW)
    assert code_of(by=stranger) == "member-certificate"
    assert code_of("server-anna", by=credentials("server-anna", "server")) == "member-certificate"
    assert code_of(certificate=b"no DER") == "member-certificate"
    with pytest.raises(ProtocolError, match="expired") as refused:
        verify(now=NOW + timedelta(days=366))
    assert refused.value.code == "member-certificate"


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize(
    ("value", "code"),
    [
        *((value, "key-low-order") for value in (0, 1, 2**255 - 20, 2**255 - 19, 2**255 | 1)),
        *((value, "key-encoding") for value in (2**255 | 9, 2**255 - 19 + 9)),
    ],
)
def test_a_signed_key_of_small_order_or_in_a_second_form_is_refused(
    place: int, value: int, code: str
) -> None:
    keys = [ONE, TWO]
    keys[place] = value.to_bytes(32, "little")
    assert code_of(keys=keys) == code


def test_a_member_that_is_not_admitted_is_the_floors_refusal() -> None:
    asked: list[Identity] = []

    def admits_none(identity: Identity) -> bool:
        asked.append(identity)
        return False

    with pytest.raises(FloorError) as refused:
        verify(admits=admits_none)
    assert refused.value.code == "floor-member"
    assert ANNA.identity.fingerprint[:16] in refused.value.message
    assert asked == [ANNA.identity]


def test_of_several_faults_the_first_is_named() -> None:
    """Certificate, id, admission, keys in order, signature."""

    def admits_none(_identity: object) -> bool:
        return False

    low, second = bytes(32), (2**255 | 9).to_bytes(32, "little")
    assert code_of("bert", certificate=b"", signature=b"", keys=(low,)) == "member-certificate"
    assert code_of("bert", admits=admits_none, signature=b"", keys=(low,)) == "member-id"
    with pytest.raises(FloorError):
        verify(admits=admits_none, signature=b"", keys=(low,))
    assert code_of(signature=b"", keys=(low, second)) == "key-low-order"
    assert code_of(signature=b"", keys=(second, low)) == "key-encoding"


# -- all of them --------------------------------------------------------------------------------------


def certified(identity: Identity) -> bytes:
    return identity.public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


@pytest.mark.parametrize("keys", [(ONE,), (ONE, TWO)])
def test_all_keys_of_a_member_are_claimed(keys: tuple[bytes, ...]) -> None:
    seen: set[bytes] = {DIGEST}
    claim_keys(ANNA.identity, keys, seen)
    assert seen == {DIGEST, *keys, certified(ANNA.identity)}


@pytest.mark.parametrize("keys", [(ONE, ONE), (ONE, TWO, ONE), (certified(ANNA.identity),)])
def test_a_key_that_one_member_shows_twice_is_refused(keys: tuple[bytes, ...]) -> None:
    seen: set[bytes] = set()
    with pytest.raises(ProtocolError) as refused:
        claim_keys(ANNA.identity, keys, seen)
    assert refused.value.code == "key-repeated"
    assert "'anna'" in refused.value.message
    assert seen == set()


def test_a_key_that_another_member_shows_is_refused_and_its_other_keys_stay_free() -> None:
    seen: set[bytes] = set()
    claim_keys(ANNA.identity, (ONE,), seen)
    before = set(seen)
    bert = credentials("bert").identity
    for keys in ((ONE,), (TWO, ONE), (TWO, certified(ANNA.identity))):
        with pytest.raises(ProtocolError) as refused:
            claim_keys(bert, keys, seen)
        assert refused.value.code == "key-repeated"
        assert seen == before
    claim_keys(bert, (TWO,), seen)
    assert len(seen) == 4


def test_two_names_with_one_certified_key_are_refused() -> None:
    seen: set[bytes] = set()
    claim_keys(ANNA.identity, (ONE,), seen)
    twin = replace(credentials("bert").identity, public_key=ANNA.identity.public_key)
    with pytest.raises(ProtocolError) as refused:
        claim_keys(twin, (TWO,), seen)
    assert refused.value.code == "key-repeated"


@given(st.lists(st.text("abAé", max_size=3), max_size=5))
def test_ids_are_in_order_exactly_when_they_are_distinct_and_sorted(ids: list[str]) -> None:
    if ids == sorted(set(ids)):
        require_sorted(ids)
    else:
        with pytest.raises(ProtocolError) as refused:
            require_sorted(ids)
        assert refused.value.code == "member-repeated"


def test_no_two_signed_purposes_signers_or_contexts_share_a_message() -> None:
    messages = {
        signed(purpose, signer, context, *content)
        for purpose in ("advertise", "shares", "confirm")
        for signer in ("anna", "bert")
        for context in (CONTEXT, bytes(32))
        for content in ((), (b"",), (b"a", b"b"), (b"ab",), (b"a", b"b", b""))
    }
    assert len(messages) == 3 * 2 * 2 * 5
