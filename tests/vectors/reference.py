"""A second, slow reading of the protocol's bytes, in Python integers; it shares no code with `secagg`.

Only SHA-256 and HMAC (the standard library) and AES on single blocks (`cryptography`) are taken from
elsewhere. Sources: NIST SP 800-38A 6.5 (counter mode), RFC 5869 (HKDF), RFC 7748 5 (X25519), Shamir 1979,
Knuth 3.4.2 algorithm P (permutations). Not constant-time, not for use.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import struct
from collections.abc import Sequence
from fractions import Fraction

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

PRIME = 2**256 + 297


def le(value: int, size: int) -> bytes:
    return value.to_bytes(size, "little")


def encode(*fields: bytes | str | int | float) -> bytes:
    """Every field behind its length in 8 bytes."""
    out = b""
    for one in fields:
        if isinstance(one, str):
            one = one.encode("utf-8")
        elif isinstance(one, int):
            one = le(one, 8)
        elif isinstance(one, float):
            one = struct.pack("<d", one)
        out += le(len(one), 8) + one
    return out


def digest(label: str, *fields: bytes | str | int | float) -> bytes:
    return hashlib.sha256(encode("secagg/v1", label, *fields)).digest()


def signed(purpose: str, signer: str, context: bytes, *content: bytes | str) -> bytes:
    return encode("secagg/v1", "signature " + purpose, signer, context, *content)


# -- the pseudorandom generator -----------------------------------------------------------------------


def keystream(key: bytes, first: int, length: int) -> bytes:
    """Bytes `first` to `first + length`: AES of the counter's blocks, one at a time."""
    cipher = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()
    blocks = range(first // 16, (first + length + 15) // 16)
    stream = b"".join(cipher.update(counter.to_bytes(16, "big")) for counter in blocks)
    return stream[first % 16 : first % 16 + length]


def words(key: bytes, start: int, length: int, width: int) -> list[int]:
    stream = keystream(key, start * width, length * width)
    return [int.from_bytes(stream[at : at + width], "little") for at in range(0, len(stream), width)]


def hkdf(secret: bytes, label: str, *info: bytes | str) -> bytes:
    """32 bytes: extract without a salt, expand once."""
    extracted = hmac.digest(bytes(32), secret, "sha256")
    return hmac.digest(extracted, encode("secagg/v1", label, *info) + b"\x01", "sha256")


# -- X25519 -------------------------------------------------------------------------------------------


def x25519(scalar: bytes, u_bytes: bytes) -> bytes:
    """The ladder of RFC 7748, section 5."""
    p, a24 = 2**255 - 19, 121665
    k = (int.from_bytes(scalar, "little") & (2**254 - 8)) | 2**254
    u = (int.from_bytes(u_bytes, "little") & (2**255 - 1)) % p
    x2, z2, x3, z3, swap = 1, 0, u, 1, 0
    for bit in range(254, -1, -1):
        now = k >> bit & 1
        if swap != now:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = now
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a % p, b * b % p, d * a % p, c * b % p
        e = aa - bb
        x3, z3 = pow(da + cb, 2, p), u * pow(da - cb, 2, p) % p
        x2, z2 = aa * bb % p, e * (aa + a24 * e) % p
    if swap:
        x2, z2 = x3, z3
    return le(x2 * pow(z2, p - 2, p) % p, 32)


def public_key(private: bytes) -> bytes:
    return x25519(private, le(9, 32))


# -- secret sharing and the graph ---------------------------------------------------------------------


def polynomial(coefficients: Sequence[int], x: int, prime: int = PRIME) -> int:
    """The sum of coefficients[i] * x^i."""
    total = sum(c * int(x**i) for i, c in enumerate(coefficients))
    return total % prime


def permutation(seed: bytes, n: int) -> list[int]:
    """Algorithm P, an integer below i from 64-bit words, those at or above a multiple of i thrown away."""
    order = list(range(n))
    position = 0
    for i in range(n, 1, -1):
        while (word := words(seed, position, 1, 8)[0]) >= 2**64 - 2**64 % i:
            position += 1
        position += 1
        order[i - 1], order[word % i] = order[word % i], order[i - 1]
    return order


def ring_edges(order: Sequence[int], k: int) -> set[tuple[int, int]]:
    """Everyone with the k / 2 that follow, around the ring."""
    n = len(order)
    edges = {(order[i], order[(i + step) % n]) for i in range(n) for step in range(1, k // 2 + 1)}
    return edges | {(b, a) for a, b in edges}


# -- the encoding -------------------------------------------------------------------------------------


def ring_bits(clients: int, largest: int) -> int:
    return next(b for b in range(8, 65) if 2**b > 2 * clients * largest)


def rounded(value: Fraction, word: int) -> int:
    """Up when the 32-bit word is below the fraction of 2^32."""
    low = math.floor(value)
    return low + (word < (value - low) * 2**32)


def pack(values: Sequence[int], bits: int) -> bytes:
    """One long integer, the first value in its lowest bits; negative values modulo 2^bits."""
    whole = sum(value % 2**bits << i * bits for i, value in enumerate(values))
    return le(whole, (len(values) * bits + 7) // 8)
