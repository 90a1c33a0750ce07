"""Ciphertexts as whole arrays of words, and as bytes at exactly their primes' bits.

A vector's ciphertexts are, for each prime, the coefficients of two polynomials a block: one long vector of
words below that prime. That is all a server needs to know of them: it adds words modulo their primes, without
SEAL and without a key. On the wire the primes' vectors follow each other, packed (`encoding.packing`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

import numpy as np
import numpy.typing as npt

from secagg.encoding.packing import pack, packed_size, unpacked_blocks
from secagg.errors import EncodingError

__all__ = ["Words", "add_words", "check_words", "pack_words", "spread_words", "unpack_words", "zero_words"]

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


def _blocks(
    data: bytes | bytearray | memoryview, primes: Sequence[int], count: int
) -> Iterator[tuple[int, int, npt.NDArray[np.uint64]]]:
    """(a prime's index, start, words below that prime from there on), block after block."""
    for at, (section, prime) in enumerate(_sections(data, primes, count)):
        for start, block in unpacked_blocks(section, count, prime.bit_length()):
            if int(block.max()) >= prime:
                raise EncodingError("ciphertext-outside-ring", "a word is not below its prime")
            yield at, start, block


def check_words(data: bytes | bytearray | memoryview, primes: Sequence[int], count: int) -> None:
    """Raises EncodingError `ciphertext-length`, or `ciphertext-outside-ring`: a word not below its prime."""
    for _ in _blocks(data, primes, count):
        pass


def spread_words(data: bytes | bytearray | memoryview, primes: Sequence[int], count: int) -> Words:
    """A public key's `count` words modulo each prime, checked as `check_words` does, and that they can hide.

    A key with a polynomial of zeros, or of one value, encrypts to what anyone can read. Random words below a
    prime of 20 bits or more hardly ever repeat. Raises EncodingError `public-key-degenerate`.
    """
    words = unpack_words(data, primes, count)
    for vector in words:
        for polynomial in vector.reshape(2, -1):
            if len(np.unique(polynomial)) < len(polynomial) // 2:
                raise EncodingError(
                    "public-key-degenerate", "a public key whose words repeat hides nothing from anybody"
                )
    return words


def add_words(data: bytes | bytearray | memoryview, primes: Sequence[int], total: Words) -> None:
    """Adds packed words into `total`, modulo each prime: all of them or, if one is refused, none.

    Unpacking costs more than adding, so it is done once; what a refused vector has added is taken out again.
    Raises EncodingError as `check_words` does.
    """
    count, added = len(total[0]), 0
    try:
        for at, start, block in _blocks(data, primes, count):
            stretch = total[at][start : start + len(block)]
            stretch += block
            np.subtract(stretch, np.uint64(primes[at]), out=block)
            np.minimum(stretch, block, out=stretch)  # below its prime again, by wrapping
            added += 1
    except EncodingError:
        for at, start, block in islice(_blocks(data, primes, count), added):
            stretch = total[at][start : start + len(block)]
            stretch -= block
            np.add(stretch, np.uint64(primes[at]), out=block)
            np.minimum(stretch, block, out=stretch)
        raise


def unpack_words(data: bytes | bytearray | memoryview, primes: Sequence[int], count: int) -> Words:
    """`count` words modulo each prime. Raises EncodingError as `add_words` does."""
    words = zero_words(primes, count)
    add_words(data, primes, words)
    return words
