"""Keys: every derivation apart from every other, small orders refused, and secrets that show nothing."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.errors import ProtocolError
from secagg.masking.keys import (
    KEY_BYTES,
    Agreement,
    KeyPair,
    Secret,
    channel_key,
    commitment,
    is_canonical,
    is_low_order,
    mask_key,
    self_mask_key,
    share_digest,
)
from secagg.prg import expand
from tests.cohort import seeded
from tests.vectors import make, reference

CONTEXT = bytes(range(32))
LOW_ORDER = [bytes.fromhex(one) for one in make.load("kdf.json")["low order"]]
key_bytes = st.binary(min_size=32, max_size=32)


@settings(max_examples=15)
@given(key_bytes, key_bytes)
def test_two_agree_on_what_the_second_implementation_computes(one: bytes, other: bytes) -> None:
    mine, theirs = KeyPair(Secret(one)), KeyPair(Secret(other))
    assert mine.public == reference.public_key(one)
    shared = Agreement(mine.private).shared(theirs.public)
    assert shared == Agreement(theirs.private).shared(mine.public)
    assert shared == reference.x25519(one, reference.public_key(other))


@given(key_bytes, key_bytes, st.text("abc-é", max_size=8), st.text("abc-é", max_size=8))
def test_derived_keys_are_those_of_hkdf_by_hand(secret: bytes, context: bytes, one: str, other: str) -> None:
    mine, theirs = b"\x01" * 32, b"\x02" * 32
    assert channel_key(secret, one, other, mine, theirs, context) == reference.hkdf(
        secret, "channel", one, other, mine, theirs, context
    )
    first, second = sorted([(one, mine), (other, theirs)])
    assert mask_key(secret, (one, mine), (other, theirs), context) == reference.hkdf(
        secret, "pairwise mask", first[0], second[0], first[1], second[1], context
    )
    assert self_mask_key(secret, one, context) == reference.hkdf(secret, "self mask", one, context)
    assert commitment(context, one, secret) == reference.digest("seed commitment", context, one, secret)


def test_no_two_purposes_directions_parties_or_contexts_share_a_key() -> None:
    secret, a, b = bytes(32), b"\x01" * 32, b"\x02" * 32
    derived = [
        derived
        for context in (CONTEXT, bytes(32))
        for derived in (
            channel_key(secret, "a", "b", a, b, context),
            channel_key(secret, "b", "a", b, a, context),
            channel_key(secret, "a", "c", a, b, context),
            channel_key(secret, "a", "b", b, a, context),
            mask_key(secret, ("a", a), ("b", b), context),
            mask_key(secret, ("a", b), ("b", a), context),
            mask_key(secret, ("a", a), ("c", b), context),
            self_mask_key(secret, "a", context),
            self_mask_key(secret, "b", context),
            commitment(context, "a", secret),
            share_digest("seed", "a", "b", secret, context),
            share_digest("key", "a", "b", secret, context),
            share_digest("seed", "b", "a", secret, context),
        )
    ]
    assert len(set(derived)) == len(derived)
    assert all(len(one) == KEY_BYTES for one in derived)


def test_both_ends_of_an_edge_derive_the_same_mask() -> None:
    one, other = ("a", b"\x01" * 32), ("b", b"\x02" * 32)
    assert mask_key(bytes(32), one, other, CONTEXT) == mask_key(bytes(32), other, one, CONTEXT)


def test_flipping_any_one_bit_of_a_self_mask_seed_changes_the_mask() -> None:
    """All 256 bits, through the derivation, to the stream itself."""
    seed = bytes(range(32))
    before = expand(self_mask_key(seed, "a", CONTEXT), 64, "<u4")
    seen = {before.tobytes()}
    for bit in range(256):
        flipped = bytearray(seed)
        flipped[bit // 8] ^= 1 << bit % 8
        after = expand(self_mask_key(flipped, "a", CONTEXT), 64, "<u4")
        assert 0.4 < np.unpackbits((before ^ after).view(np.uint8)).mean() < 0.6
        seen.add(after.tobytes())
    assert len(seen) == 257


# -- small orders -------------------------------------------------------------------------------------


@pytest.mark.parametrize("public", LOW_ORDER, ids=lambda public: public.hex()[:8])
@pytest.mark.parametrize("top_bit", [0, 0x80])
def test_a_key_of_small_order_is_known_and_agrees_on_nothing(public: bytes, top_bit: int) -> None:
    shown = public[:-1] + bytes([public[-1] | top_bit])
    assert not any(reference.x25519(bytes(range(32)), shown))
    assert is_low_order(shown)
    with pytest.raises(ProtocolError) as refused:
        Agreement(Secret(bytes(range(32)))).shared(shown)
    assert refused.value.code == "key-low-order"


def test_the_known_keys_are_all_there_are() -> None:
    """The curve has cofactor 8 and its twist 4 (RFC 7748, 4.1), both cyclic: of order 2 there is u = 0; of
    order 4 u = 1 and u = -1, one on each; of order 8, on the curve alone, two. What is below 19 has a second
    encoding, u + p."""
    p, a = 2**255 - 19, 486662

    def double(u: int) -> int:
        return pow(u * u - 1, 2, p) * pow(4 * u * (u * u + a * u + 1), p - 2, p) % p

    values = {int.from_bytes(public, "little") for public in LOW_ORDER}
    of_eight = {value for value in values if value % p not in (0, 1, p - 1)}
    assert [double(double(value)) for value in of_eight] == [0, 0]
    assert len(of_eight) == 2
    assert values == {*of_eight, 0, 1, p - 1, p, p + 1}


@given(key_bytes)
def test_an_ordinary_key_is_canonical_and_not_of_small_order(private: bytes) -> None:
    public = KeyPair(Secret(private)).public
    assert not is_low_order(public)
    assert is_canonical(public)


@pytest.mark.parametrize("value", [2**255 - 19, 2**255 - 18, 2**255 - 1, 2**255, 2**255 | 9, 2**256 - 1])
def test_a_second_form_of_a_key_is_known(value: int) -> None:
    """X25519 drops the top bit and reduces modulo p, so each of these agrees as another key does."""
    same = value % 2**255 % (2**255 - 19)
    assert reference.x25519(bytes(range(32)), reference.le(value, 32)) == reference.x25519(
        bytes(range(32)), reference.le(same, 32)
    )
    assert not is_canonical(reference.le(value, 32))
    assert is_canonical(reference.le(same, 32))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_of_another_length_agrees_on_nothing(size: int) -> None:
    with pytest.raises(ProtocolError) as refused:
        Agreement(Secret(bytes(range(32)))).shared(b"\x09" * size)
    assert refused.value.code == "key-low-order"


# -- secrets ------------------------------------------------------------------------------------------


def test_a_secret_shows_nothing() -> None:
    secret, pair = Secret(b"\x41" * 32), KeyPair(Secret(b"\x42" * 32))
    assert repr(secret) == str(secret) == f"{secret}" == "Secret()"
    assert repr(pair) == "KeyPair()"
    assert not hasattr(secret, "__dict__")


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, *(lambda one, p=p: pickle.dumps(one, p) for p in range(6))]
)
@pytest.mark.parametrize("make_one", [lambda: Secret(bytes(32)), lambda: KeyPair(Secret(bytes(32)))])
def test_a_secret_is_never_copied_or_pickled(duplicate: Any, make_one: Any) -> None:
    if duplicate is copy.copy and isinstance(make_one(), KeyPair):
        return  # a second pair of the same one Secret, which is erased with it
    with pytest.raises(TypeError):
        duplicate(make_one())


def test_an_erased_secret_is_zeroed_where_it_was_and_refuses_to_be_used() -> None:
    secret = Secret(b"\x41" * 32)
    held = secret.reveal()
    secret.erase()
    assert held == bytes(32)
    with pytest.raises(ProtocolError) as refused:
        secret.reveal()
    assert refused.value.code == "secret-erased"
    secret.erase()  # twice is once
    with pytest.raises(ProtocolError):
        Agreement(secret)


def test_a_secret_keeps_its_own_copy() -> None:
    given_bytes = bytearray(b"\x41" * 32)
    secret = Secret(given_bytes)
    given_bytes[0] = 0
    assert secret.reveal() == b"\x41" * 32


def test_secrets_compare_by_content_and_are_not_hashable() -> None:
    assert Secret(bytes(32)) == Secret(bytes(32))
    assert Secret(bytes(32)) != Secret(b"\x01" * 32)
    assert Secret(bytes(32)) != bytes(32)
    with pytest.raises(TypeError):
        hash(Secret(bytes(32)))


def test_fresh_keys_come_from_the_source_they_are_given_and_differ_in_production() -> None:
    assert KeyPair.fresh(seeded(1)).public == KeyPair.fresh(seeded(1)).public
    assert KeyPair.fresh().public != KeyPair.fresh().public
    assert Secret.fresh() != Secret.fresh()
    assert len(Secret.fresh().reveal()) == KEY_BYTES
