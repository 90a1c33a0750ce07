"""The keys of masks: every derivation apart from every other, and the digests that bind a client."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from secagg.keys import KEY_BYTES, channel_key
from secagg.masking.keys import commitment, mask_key, self_mask_key, share_digest
from secagg.prg import expand
from tests.vectors import reference

CONTEXT = bytes(range(32))
key_bytes = st.binary(min_size=32, max_size=32)


@given(key_bytes, key_bytes, st.text("abc-é", max_size=8), st.text("abc-é", max_size=8))
def test_derived_keys_are_those_of_hkdf_by_hand(secret: bytes, context: bytes, one: str, other: str) -> None:
    mine, theirs = b"\x01" * 32, b"\x02" * 32
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
