"""Primes that a number-theoretic transform can use: congruent to 1 modulo twice the ring's degree.

Found here and not by SEAL, because a server and a plan's validation know nothing of SEAL.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

__all__ = ["is_prime", "primes_below", "smallest_prime_from"]

_WITNESSES: Final = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
"""Enough below 3.1e23 (Sorenson and Webster 2015, arXiv 1509.00864): the test is exact for 64-bit numbers."""


def is_prime(n: int) -> bool:
    """Miller and Rabin's test, exact for 0 <= n < 2^64."""
    if n < 2:
        return False
    for prime in _WITNESSES:
        if n % prime == 0:
            return n == prime
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    return all(_passes(witness, n, odd, twos) for witness in _WITNESSES)


def _passes(witness: int, n: int, odd: int, twos: int) -> bool:
    power = pow(witness, odd, n)
    if power in (1, n - 1):
        return True
    for _ in range(twos - 1):
        power = power * power % n
        if power == n - 1:
            return True
    return False


def primes_below(bits: int, degree: int) -> Iterator[int]:
    """Primes of exactly `bits` bits, congruent to 1 modulo 2 * degree, from the largest down."""
    step = 2 * degree
    candidate = ((1 << bits) - 1) // step * step + 1
    if candidate >= 1 << bits:
        candidate -= step
    while candidate >= 1 << (bits - 1):
        if is_prime(candidate):
            yield candidate
        candidate -= step


def smallest_prime_from(least: int, degree: int) -> int:
    """The smallest prime >= `least` that is congruent to 1 modulo 2 * degree."""
    step = 2 * degree
    candidate = -(-(least - 1) // step) * step + 1
    while not is_prime(candidate):
        candidate += step
    return candidate
