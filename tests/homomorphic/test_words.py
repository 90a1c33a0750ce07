"""Ciphertexts as words: sums modulo primes are Python's, bytes come back, and bad bytes add nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.encoding.packing import BLOCK
from secagg.errors import EncodingError
from secagg.homomorphic.primes import primes_below
from secagg.homomorphic.words import (
    Words,
    add_words,
    check_words,
    pack_words,
    spread_words,
    unpack_words,
    zero_words,
)

PRIMES = tuple(next(primes_below(bits, 2048)) for bits in (20, 33, 42, 59, 60))
prime_lists = st.lists(st.sampled_from(PRIMES), min_size=1, max_size=3)


def drawn(primes: list[int] | tuple[int, ...], count: int, seed: int) -> Words:
    """Words with many at both ends: 0 and the prime less one."""
    random = np.random.default_rng(seed)
    words = [random.integers(0, prime, size=count, dtype=np.uint64) for prime in primes]
    for vector, prime in zip(words, primes, strict=True):
        vector[::3], vector[1::5] = prime - 1, 0
    return words


def as_lists(words: Words) -> list[list[int]]:
    return [vector.tolist() for vector in words]


@given(prime_lists, st.integers(1, 300), st.integers(0, 2**32))
def test_words_come_back_from_their_bytes(primes: list[int], count: int, seed: int) -> None:
    words = drawn(primes, count, seed)
    packed = pack_words(words, primes)
    assert len(packed) == sum((count * prime.bit_length() + 7) // 8 for prime in primes)
    check_words(packed, primes, count)
    assert as_lists(unpack_words(packed, primes, count)) == as_lists(words)


@given(prime_lists, st.integers(1, 200), st.integers(1, 8), st.integers(0, 2**32))
def test_sums_are_those_of_integers_modulo_each_prime(
    primes: list[int], count: int, parts: int, seed: int
) -> None:
    total = zero_words(primes, count)
    exact = [[0] * count for _ in primes]
    for at in range(parts):
        words = drawn(primes, count, seed + at)
        add_words(memoryview(pack_words(words, primes)), primes, total)
        exact = [
            [(one + int(other)) % prime for one, other in zip(row, vector, strict=True)]
            for row, vector, prime in zip(exact, words, primes, strict=True)
        ]
    assert as_lists(total) == exact


def test_sums_hold_across_the_blocks_they_are_made_in() -> None:
    count = 2 * BLOCK + 4096
    one, other = drawn(PRIMES, count, 1), drawn(PRIMES, count, 2)
    total = zero_words(PRIMES, count)
    for words in (one, other):
        add_words(pack_words(words, PRIMES), PRIMES, total)
    for vector, first, second, prime in zip(total, one, other, PRIMES, strict=True):
        assert np.array_equal(vector, (first + second) % np.uint64(prime))  # 61 bits at most


@given(prime_lists, st.integers(2, 40), st.data())
@settings(max_examples=50)
def test_bytes_of_another_length_are_refused_before_anything_is_added(
    primes: list[int], count: int, data: st.DataObject
) -> None:
    packed = bytes(pack_words(drawn(primes, count, 1), primes))
    cut = data.draw(st.integers(0, len(packed) - 1))
    more = data.draw(st.binary(min_size=1, max_size=9))
    before = drawn(primes, count, 2)
    for wrong in (packed[:cut], packed + more):
        total = [vector.copy() for vector in before]
        for refuse in (
            lambda data: check_words(data, primes, count),
            lambda data, total=total: add_words(data, primes, total),
            lambda data: unpack_words(data, primes, count),
        ):
            with pytest.raises(EncodingError) as refused:
                refuse(wrong)
            assert refused.value.code == "ciphertext-length"
            assert str(len(packed)) in refused.value.message
            assert str(len(wrong)) in refused.value.message
        assert as_lists(total) == as_lists(before)


@pytest.mark.parametrize("place", [0, 1, BLOCK - 1, BLOCK, BLOCK + 63])
@pytest.mark.parametrize("at", range(3))
def test_a_word_that_is_not_below_its_prime_is_refused_and_nothing_is_added(at: int, place: int) -> None:
    """Wherever it stands: in the last prime's last block, all before it would have been added by then."""
    primes, count = PRIMES[1:4], BLOCK + 64
    before = drawn(primes, count, 1)
    for too_large in (primes[at], (1 << primes[at].bit_length()) - 1):
        words = drawn(primes, count, 2)
        words[at][place] = too_large
        packed = pack_words(words, primes)
        total = [vector.copy() for vector in before]
        with pytest.raises(EncodingError) as refused:
            add_words(packed, primes, total)
        assert refused.value.code == "ciphertext-outside-ring"
        assert as_lists(total) == as_lists(before)
        with pytest.raises(EncodingError, match="ciphertext-outside-ring"):
            check_words(packed, primes, count)


def test_padding_behind_the_last_word_must_be_zero() -> None:
    primes = (PRIMES[1],)  # 33 bits: one word leaves 7 bits of its last byte
    packed = pack_words(drawn(primes, 1, 1), primes)
    packed[-1] |= 0x80
    total = zero_words(primes, 1)
    with pytest.raises(EncodingError, match="vector-outside-ring"):
        add_words(packed, primes, total)
    assert as_lists(total) == [[0]]


def test_a_vector_without_words_is_no_bytes() -> None:
    total = zero_words(PRIMES, 0)
    assert pack_words(total, PRIMES) == b""
    check_words(b"", PRIMES, 0)
    add_words(b"", PRIMES, total)
    assert as_lists(unpack_words(b"", PRIMES, 0)) == [[]] * len(PRIMES)
    with pytest.raises(EncodingError, match="ciphertext-length"):
        add_words(b"\0", PRIMES, total)


def test_zeros_change_nothing() -> None:
    words = drawn(PRIMES, 100, 1)
    total = [vector.copy() for vector in words]
    add_words(pack_words(zero_words(PRIMES, 100), PRIMES), PRIMES, total)
    assert as_lists(total) == as_lists(words)


# -- a public key that can hide ---------------------------------------------------------------------------

KEY = (*PRIMES[:2], PRIMES[-1])
DEGREE = 2048


def uniform(seed: int) -> Words:
    """Two polynomials modulo each prime, as an honest key's are."""
    random = np.random.default_rng(seed)
    return [random.integers(0, prime, size=2 * DEGREE, dtype=np.uint64) for prime in KEY]


@pytest.mark.parametrize("seed", range(20))
def test_random_words_are_spread_enough_for_a_key(seed: int) -> None:
    """Even below a prime of 20 bits, where a few of them repeat."""
    spread_words(pack_words(uniform(seed), KEY), KEY, 2 * DEGREE)


@pytest.mark.parametrize("polynomial", [0, 1])
@pytest.mark.parametrize("at", range(len(KEY)))
@pytest.mark.parametrize("values", [[0], [1], [0, 1], range(DEGREE // 2 - 1)], ids=["0", "1", "0 1", "few"])
def test_a_key_with_a_polynomial_of_few_values_modulo_any_prime_is_degenerate(
    at: int, polynomial: int, values: list[int]
) -> None:
    words = uniform(1)
    words[at].reshape(2, -1)[polynomial] = np.resize(np.array(values, dtype=np.uint64), DEGREE)
    with pytest.raises(EncodingError) as refused:
        spread_words(pack_words(words, KEY), KEY, 2 * DEGREE)
    assert refused.value.code == "public-key-degenerate"


def test_a_key_that_is_no_vector_of_words_is_refused_as_such() -> None:
    packed = pack_words(uniform(1), KEY)
    for wrong, code in (
        (packed[:-1], "ciphertext-length"),
        (b"\xff" * len(packed), "ciphertext-outside-ring"),
    ):
        with pytest.raises(EncodingError) as refused:
            spread_words(wrong, KEY, 2 * DEGREE)
        assert refused.value.code == code
