"""Primes: exact against a sieve and the known liars, and the same as SEAL finds."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import tenseal.sealapi as seal
from hypothesis import given
from hypothesis import strategies as st

from secagg.homomorphic.primes import is_prime, primes_below, smallest_prime_from

DEGREES = (2048, 4096, 8192)


def test_the_test_agrees_with_a_sieve() -> None:
    count = 200_000
    sieve = np.ones(count, dtype=bool)
    sieve[:2] = False
    for factor in range(2, 448):
        sieve[factor * factor :: factor] = False
    assert [n for n in range(count) if is_prime(n)] == np.flatnonzero(sieve).tolist()


@pytest.mark.parametrize(
    "liar",
    [
        561,  # Carmichael numbers: Fermat's test believes them for every base
        41041,
        825265,
        321197185,
        9746347772161,
        1436697831295441,
        2047,  # strong pseudoprimes to the first 1, 2, ... prime bases (OEIS A014233)
        1373653,
        25326001,
        3215031751,
        2152302898747,
        3474749660383,
        341550071728321,
        3825123056546413051,
        (2**31 - 1) ** 2,
        4294967291 * 4294967279,  # the two largest primes of 32 bits
    ],
)
def test_numbers_that_pass_for_prime_elsewhere_are_composite(liar: int) -> None:
    assert not is_prime(liar)


@pytest.mark.parametrize("prime", [2, 37, 41, 2**31 - 1, 2**61 - 1, 4294967291, 2**64 - 59])
def test_primes_are_prime(prime: int) -> None:
    assert is_prime(prime)


@given(st.integers(2, 2**60 - 1).map(lambda n: n | 1))
def test_the_test_agrees_with_seal(odd: int) -> None:
    assert is_prime(odd) == seal.Modulus(odd).is_prime()


@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("bits", [20, 21, 25, 32, 37, 42, 50, 59, 60])
def test_the_largest_primes_of_a_size_are_those_that_seal_creates(degree: int, bits: int) -> None:
    found = list(islice(primes_below(bits, degree), 4))
    created = seal.CoeffModulus.Create(degree, [bits] * len(found))
    assert found == sorted((modulus.value() for modulus in created), reverse=True)
    assert seal.PlainModulus.Batching(degree, bits).value() == found[0]


def test_there_may_be_no_prime_of_a_size() -> None:
    """Of 13 bits, 1 modulo 4096: 4097 is 17 * 241, and the next is too large."""
    assert list(primes_below(13, 2048)) == []


@given(st.sampled_from(DEGREES), st.integers(2, 2**32))
def test_the_smallest_prime_from_a_number_on_skips_none(degree: int, least: int) -> None:
    found = smallest_prime_from(least, degree)
    assert found >= least
    assert found % (2 * degree) == 1
    assert is_prime(found)
    between = range(found - 2 * degree, least - 1, -2 * degree)
    assert not any(is_prime(candidate) for candidate in between)
    assert smallest_prime_from(found, degree) == found


@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("bits", [20, 33, 51])
def test_going_up_and_going_down_meet(degree: int, bits: int) -> None:
    """Every prime of a size found from the top is found from below too."""
    top, second = islice(primes_below(bits, degree), 2)
    assert smallest_prime_from(second + 1, degree) == top
