"""Keys and ciphertexts: sums as the server makes them, and what SEAL decodes before it is rounded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from secagg.encoding.ring import centred, word
from secagg.homomorphic.engine import PublicKey, SecretKey
from secagg.homomorphic.scheme import Scheme
from secagg.homomorphic.words import Words, add_words, pack_words, zero_words
from secagg.prg import Ring


@lru_cache(maxsize=16)
def key_pair(scheme: Scheme) -> tuple[SecretKey, PublicKey]:
    """One pair for all the tests of a scheme."""
    return SecretKey.fresh(scheme)


def ring(values: Sequence[int] | npt.NDArray[np.int64], bits: int) -> Ring:
    """Signed integers as elements of the ring of `bits` bits."""
    masked = np.asarray(values, dtype=np.int64).view(np.uint64) & np.uint64((1 << bits) - 1)
    return masked.astype(word(bits))


def signed(elements: Ring, bits: int) -> list[int]:
    values: list[int] = centred(elements, bits).tolist()
    return values


def largest_part(scheme: Scheme) -> int:
    """What one client of a full cohort may have in a coordinate."""
    return ((1 << (scheme.bits - 1)) - 1) // scheme.max_clients


def added(parts: Iterable[Words], scheme: Scheme) -> Words:
    """The sum of one block's ciphertexts, packed and added as a server does it."""
    total = zero_words(scheme.primes, 2 * scheme.degree)
    for part in parts:
        add_words(pack_words(part, scheme.primes), scheme.primes, total)
    return total


def times(words: Words, factor: int, scheme: Scheme) -> Words:
    """A ciphertext added to itself `factor` times over."""
    return [
        np.array([int(one) * factor % prime for one in vector], dtype=np.uint64)
        for vector, prime in zip(words, scheme.primes, strict=True)
    ]


def raw_slots(key: SecretKey, words: Words, scheme: Scheme) -> npt.NDArray[np.complex128]:
    """What SEAL decodes of a CKKS ciphertext: what must never leave a decryptor."""
    engine = key._engine
    plaintext = engine.seal.Plaintext()
    polynomials = np.stack([vector.reshape(2, scheme.degree) for vector in words], axis=1)
    key._decryptor.decrypt(engine.thing_of("Ciphertext", polynomials.reshape(-1, scheme.degree)), plaintext)
    return np.array(engine.encoder.decode_complex(plaintext), dtype=np.complex128)


def noise_budget(key: SecretKey, words: Words, scheme: Scheme) -> int:
    """SEAL's own measure of what is left of a BFV ciphertext, in bits."""
    polynomials = np.stack([vector.reshape(2, scheme.degree) for vector in words], axis=1)
    ciphertext = key._engine.thing_of("Ciphertext", polynomials.reshape(-1, scheme.degree))
    budget: int = key._decryptor.invariant_noise_budget(ciphertext)
    return budget
