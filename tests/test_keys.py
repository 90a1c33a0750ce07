"""Keys: every derivation apart from every other, small orders refused, and secrets that show nothing."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.errors import ProtocolError
from secagg.keys import (
    KEY_BYTES,
    Agreement,
    KeyPair,
    Secret,
    channel_key,
    derive,
    is_canonical,
    is_low_order,
    seal,
    unseal,
)
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


@given(key_bytes, st.text("abc-é", max_size=8), st.lists(st.binary(max_size=40), max_size=4))
def test_a_derived_key_is_that_of_hkdf_by_hand(secret: bytes, label: str, info: list[bytes]) -> None:
    assert derive(secret, label, *info) == reference.hkdf(secret, label, *info)
    assert len(derive(secret, label, *info)) == KEY_BYTES


@given(key_bytes, key_bytes, st.text("abc-é", max_size=8), st.text("abc-é", max_size=8))
def test_a_channels_key_is_that_of_hkdf_by_hand(secret: bytes, context: bytes, one: str, other: str) -> None:
    mine, theirs = b"\x01" * 32, b"\x02" * 32
    assert channel_key(secret, one, other, mine, theirs, context) == reference.hkdf(
        secret, "channel", one, other, mine, theirs, context
    )


def test_no_two_channels_directions_parties_or_contexts_share_a_key() -> None:
    secret, a, b = bytes(32), b"\x01" * 32, b"\x02" * 32
    derived = [
        channel_key(secret, *of, context)
        for context in (CONTEXT, bytes(32))
        for of in (("a", "b", a, b), ("b", "a", b, a), ("a", "c", a, b), ("a", "b", b, a))
    ]
    assert len(set(derived)) == len(derived) == 8


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


# -- sealing ------------------------------------------------------------------------------------------


def test_what_is_sealed_is_the_nonce_and_the_known_answer_of_aes_256_gcm() -> None:
    """Test case 14 of McGrew and Viega, The Galois/Counter Mode of Operation (2004), appendix B."""
    known = "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"
    assert seal(bytes(32), bytes(16), bytes) == bytes(12) + bytes.fromhex(known)


@given(key_bytes, st.binary(max_size=200), st.integers(0, 99))
def test_what_is_sealed_opens_and_is_28_bytes_longer(key: bytes, plaintext: bytes, seed: int) -> None:
    sealed = seal(key, plaintext, seeded(seed))
    assert sealed[:12] == seeded(seed)(12)
    assert len(sealed) == len(plaintext) + 28
    assert unseal(bytearray(key), sealed) == plaintext


@given(st.binary(max_size=40), st.data())
def test_no_bit_of_what_is_sealed_can_be_changed(plaintext: bytes, data: st.DataObject) -> None:
    key, sealed = bytes(range(32)), bytearray(seal(bytes(range(32)), plaintext, seeded(1)))
    bit = data.draw(st.integers(0, 8 * len(sealed) - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    assert unseal(key, bytes(sealed)) is None


def test_what_is_sealed_does_not_open_cut_short_drawn_out_or_under_another_key() -> None:
    sealed = seal(bytes(range(32)), b"two shares", seeded(1))
    for length in range(len(sealed)):
        assert unseal(bytes(range(32)), sealed[:length]) is None
    assert unseal(bytes(range(32)), sealed + b"\0") is None
    assert unseal(bytes(32), sealed) is None


def test_a_key_of_another_length_seals_and_opens_nothing() -> None:
    for key in (b"", bytes(31), bytes(33)):
        with pytest.raises(ValueError, match="key"):
            seal(key, b"", seeded(1))
        with pytest.raises(ValueError, match="key"):
            unseal(key, bytes(28))


# -- secrets ------------------------------------------------------------------------------------------


def test_a_secret_shows_nothing() -> None:
    secret, pair = Secret(b"\x41" * 32), KeyPair(Secret(b"\x42" * 32))
    assert repr(secret) == str(secret) == f"{secret}" == "Secret()"
    assert repr(pair) == "KeyPair()"
    assert not hasattr(secret, "__dict__")


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_secret_is_never_copied(duplicate: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match="never pickled or copied"):
        duplicate(Secret(bytes(32)))


def test_a_key_pair_is_never_copied_deeply() -> None:
    """A shallow copy is a second pair of the same one Secret, which is erased with it."""
    pair = KeyPair(Secret(bytes(32)))
    with pytest.raises(TypeError, match="never pickled or copied"):
        copy.deepcopy(pair)
    assert copy.copy(pair).private is pair.private


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("one", [Secret(bytes(32)), KeyPair(Secret(bytes(32)))], ids=["secret", "key pair"])
def test_neither_a_secret_nor_a_key_pair_is_ever_pickled(one: object, protocol: int) -> None:
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(one, protocol)


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
