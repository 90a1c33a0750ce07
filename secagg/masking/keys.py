"""The keys of masks, and the digests that hold a client to its secrets.

Bonawitz et al. 2017 (ePrint 2017/281), figure 4: a mask for each pair of neighbours, and one of each client's
own. How keys are agreed on and derived is in `secagg.keys`.
"""

from __future__ import annotations

from secagg import canonical
from secagg.keys import derive

__all__ = ["commitment", "mask_key", "self_mask_key", "share_digest"]


def mask_key(shared: bytes, one: tuple[str, bytes], other: tuple[str, bytes], context: bytes) -> bytes:
    """The key of the mask two clients share; each is (id, s_pk), and the order does not matter."""
    (first, first_pk), (second, second_pk) = sorted((one, other))
    return derive(shared, "pairwise mask", first, second, first_pk, second_pk, context)


def self_mask_key(seed: bytes | bytearray, owner: str, context: bytes) -> bytes:
    """The key of a client's own mask, from the seed it committed to."""
    return derive(seed, "self mask", owner, context)


def commitment(context: bytes, owner: str, seed: bytes | bytearray) -> bytes:
    """What a client advertises of its self-mask seed (32 uniform bytes, so the digest hides it)."""
    return canonical.digest("seed commitment", context, owner, seed)


def share_digest(kind: str, owner: str, holder: str, share: bytes, context: bytes) -> bytes:
    """What an owner signs of each share it hands out (a uniform field element, so the digest hides it)."""
    return canonical.digest("share", kind, owner, holder, share, context)
