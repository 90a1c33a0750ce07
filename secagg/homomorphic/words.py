"""Ciphertexts as whole arrays of words, and as bytes at exactly their primes' bits.

A vector's ciphertexts are, for each prime, the coefficients of two polynomials a block: one long vector of
words below that prime. That is all a server needs to know of them: it adds words modulo their primes, without
SEAL and without a key. On the wire the primes' vectors follow each other, packed (`encoding.packing`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from secagg.encoding.packing import pack, packed_size, unpacked_blocks
from secagg.errors import EncodingError

__all__ = ["Words", "add_words", "check_words", "pack_words", "unpack_words", "zero_words"]

Words = list[npt.NDArray[np.uint64]]
"""One vector of words for each prime."""

_U64: Final = np.dtype("<u8")


def zero_words(primes: Sequence[int], count: int) -> Words:
    """`count` words of zero modulo each prime: ciphertexts of zero, as a sum begins."""
    return [np.zeros(count, dtype=_U64) for _ in primes]


def pack_words(words: Words, primes: Sequence[int]) -> bytearray:
    """The vectors of all primes, each packed at its prime's bits."""
    out = bytearray()
    for vector, prime in zip(words, primes, strict=True):
        out += pack(vector, prime.bit_length())
    return out


def _sections(
    data: bytes | bytearray | memoryview, primes: Sequence[int], count: int
) -> list[tuple[memoryview, int]]:
    view = memoryview(data)
    sizes = [packed_size(count, prime.bit_length()) for prime in primes]
    if len(view) != sum(sizes):
        raise EncodingError(
            "ciphertext-length", f"{sum(sizes)} bytes of ciphertext expected, {len(view)} came"
        )
    starts = [sum(sizes[:at]) for at in range(len(sizes))]
    return [
        (view[start : start + size], prime) for start, size, prime in zip(starts, sizes, primes, strict=True)
    ]


def check_words(data: bytes | bytearray | memoryview, primes: Sequence[int], count: int) -> None:
    """Raises EncodingError `ciphertext-length`, or `ciphertext-outside-ring`: a word not below its prime."""
    for section, prime in _sections(data, primes, count):
        for _, block in unpacked_blocks(section, count, prime.bit_length()):
            if int(block.max()) >= prime:
                raise EncodingError("ciphertext-outside-ring", "a word is not below its prime")


def add_words(data: bytes | bytearray | memoryview, primes: Sequence[int], total: Words) -> None:
    """Adds packed words into `total`, modulo each prime; checks all of them before it adds any.

    Raises EncodingError as `check_words` does.
    """
    check_words(data, primes, len(total[0]))
    for (section, prime), vector in zip(_sections(data, primes, len(total[0])), total, strict=True):
        for start, block in unpacked_blocks(section, len(vector), prime.bit_length()):
            stretch = vector[start : start + len(block)]
            stretch += block
            np.minimum(stretch, stretch - np.uint64(prime), out=stretch)  # below its prime again, by wrapping


def unpack_words(data: bytes | bytearray | memoryview, primes: Sequence[int], count: int) -> Words:
    """`count` words modulo each prime. Raises EncodingError as `add_words` does."""
    words = zero_words(primes, count)
    add_words(data, primes, words)
    return words
