"""Shamir's secret sharing (1979) over the prime field of p = 2^256 + 297.

A secret is 32 bytes, an integer below p; a share is the value at x = 1, 2, ... of a uniform polynomial of
degree t - 1 through it, 33 bytes little-endian. Any t shares rebuild the secret, t - 1 say nothing. Shares
carry no authentication of their own: the protocol signs a digest of each.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from secagg.errors import ProtocolError
from secagg.prg import Random, uniform_below

__all__ = ["PRIME", "SECRET_BYTES", "SHARE_BYTES", "join", "split"]

PRIME: Final = (1 << 256) + 297
SECRET_BYTES: Final = 32
SHARE_BYTES: Final = 33


def split(
    secret: bytes | bytearray,
    threshold: int,
    points: Sequence[int],
    random: Random = os.urandom,
    prime: int = PRIME,
) -> dict[int, bytes]:
    """A share for each of `points` (distinct, 1 or more); any `threshold` of them rebuild `secret`."""
    if len(set(points)) != len(points) or any(not 0 < x < prime for x in points):
        raise ProtocolError("share-point", "shares lie at distinct, non-zero points")
    if not 0 < threshold <= len(points):
        raise ProtocolError("share-threshold", f"a threshold of {threshold} among {len(points)} points")
    coefficients = [uniform_below(prime, random) for _ in range(threshold - 1)]
    coefficients.append(int.from_bytes(secret, "little"))
    shares = {}
    for x in points:
        value = 0
        for coefficient in coefficients:
            value = (value * x + coefficient) % prime
        shares[x] = value.to_bytes(SHARE_BYTES, "little")
    return shares


@lru_cache(maxsize=256)
def _weights_at_zero(points: tuple[int, ...], prime: int) -> tuple[int, ...]:
    """Lagrange's coefficients at zero; public, and the same for all secrets opened by the same clients."""
    weights = []
    for x in points:
        above, below = 1, 1
        for other in points:
            if other != x:
                above = above * other % prime
                below = below * (other - x) % prime
        weights.append(above * pow(below, -1, prime) % prime)
    return tuple(weights)


def join(shares: Mapping[int, bytes], threshold: int, prime: int = PRIME) -> bytearray:
    """The secret behind exactly `threshold` shares.

    Raises ProtocolError `share-count`, `share-point`, `share-length`, `share-range`, or `secret-range` when
    the value is no 32-byte secret.
    """
    if not shares or len(shares) != threshold:
        raise ProtocolError("share-count", f"{threshold} shares expected, {len(shares)} came")
    points = tuple(sorted(shares))
    if points[0] < 1 or points[-1] >= prime:
        raise ProtocolError("share-point", "shares lie at distinct, non-zero points")
    total = 0
    for weight, x in zip(_weights_at_zero(points, prime), points, strict=True):
        share = shares[x]
        if len(share) != SHARE_BYTES:
            raise ProtocolError("share-length", f"a share is {SHARE_BYTES} bytes, not {len(share)}")
        value = int.from_bytes(share, "little")
        if value >= prime:
            raise ProtocolError("share-range", "a share is an element of the field")
        total += weight * value
    secret = total % prime
    if secret >> (8 * SECRET_BYTES):
        raise ProtocolError("secret-range", "the shares rebuild no secret of this protocol")
    return bytearray(secret.to_bytes(SECRET_BYTES, "little"))
