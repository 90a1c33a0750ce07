"""How far a sum of ciphertexts can be from its message: what a scheme's parameters are chosen by.

The ring is Z[X]/(X^N + 1). A key is s with uniform ternary coefficients; a public-key encryption multiplies
the key by a ternary u, adds small errors e, and divides by the special prime p, which leaves roundings r with
|r| <= 1/2. So a fresh ciphertext decrypts to message + r0 + r1 * s + (e0 - e*u + e1*s) / p (SEAL 4.1,
`encrypt_zero_internal`; Kim, Polyakov, Zucca 2021, ePrint 2021/204, for the same analysis).

The last term is bounded outright, and so is what rounding does to the message itself, which may be chosen.
r1 is the rounding of a sample of ring learning with errors modulo p whose secret is u: to anyone who does
not know u, the holder of s included, it looks uniform, and so does r0 (not both at once: what is below needs
each alone). So each coefficient of either behaves as independent and uniform in [-1/2, 1/2], with variance
proxy 1/12; s has variance proxy 2/3 (both have a moment generating function below the Gaussian's of that
variance). u and e are fresh in every ciphertext, so those under one key add up as independent ones.

Each tail fails with probability at most 2 exp(-NEGLIGIBLE) (`encoding.margin`). A coordinate meets at most
two, and a key one more: below 2^-40 for a vector of up to 2^40 coordinates, if ring learning with errors is
hard, which is what the encryption itself rests on.
"""

from __future__ import annotations

import math
from typing import Final

from secagg.encoding.margin import NEGLIGIBLE

__all__ = ["floating_point_error", "sum_of_coefficients", "sum_of_slots"]

_LARGEST_ERROR: Final = 21
"""SEAL's errors are centred binomial over 42 bits, or Gaussian cut off at 19.2."""

_SCALING: Final = 0.5 + 2.0**-9
"""SEAL rounds q * message / t to within 1/2 + 1/(2t) (`multiply_add_plain_with_scaling_variant`); t > 2^8."""

_UNIT_ROUNDOFF: Final = 2.0**-53


def _before_division(degree: int, special: int) -> float:
    """A coefficient of (e0 - e*u + e1*s) / p, at most; u and s are ternary."""
    return _LARGEST_ERROR * (2 * degree + 1) / special


def sum_of_coefficients(clients: int, degree: int, special: int) -> float:
    """Any coefficient of the error in a sum of `clients` BFV ciphertexts.

    special: the special prime, or less. Given s, a coefficient of the sum of all r1 * s has variance proxy
    clients * |s|^2 / 12; |s|^2 counts the coefficients that are not zero, 2N / 3 on average, and Hoeffding's
    bound says how many more. r0 is at most 1/2 a client.
    """
    outright = clients * (0.5 + _SCALING + _before_division(degree, special))
    square_of_key = 2 * degree / 3 + math.sqrt(degree * NEGLIGIBLE / 2)
    return outright + math.sqrt(2 * clients * square_of_key / 12 * NEGLIGIBLE)


def sum_of_slots(clients: int, degree: int, special: int) -> float:
    """The real or imaginary part of any slot of the error in a sum of `clients` CKKS ciphertexts, unscaled.

    special: the special prime, or less. A slot is the polynomial at a root of unity z. Given s,
    Re(r1(z) s(z)) has variance proxy clients * |s(z)|^2 * N / 24, and s(z), seen as a vector of two, has
    variance proxy N / 3 in every direction; so the moment generating function is at most 1 / (1 - (y S)^2)
    with S = N sqrt(clients / 72): a tail heavier than Gaussian, because some slots of a key are large, and so
    they are for every ciphertext. A polynomial with coefficients of at most x is at most x * N / sqrt(2) in
    either part of a slot.
    """
    largest_sum = degree / math.sqrt(2)
    encoding = clients * largest_sum / 2
    before = clients * largest_sum * _before_division(degree, special)
    r0 = math.sqrt(2 * clients * degree / 24 * NEGLIGIBLE)
    return encoding + before + r0 + _heavy_tail(NEGLIGIBLE) * degree * math.sqrt(clients / 72)


def _heavy_tail(negligible: float) -> float:
    """x with min over y < 1 of exp(-y x) / (1 - y^2) <= exp(-negligible)."""
    x = negligible
    while True:
        y = (math.sqrt(1 + x * x) - 1) / x
        if y * x + math.log(1 - y * y) >= negligible:
            return x
        x += 0.125


def floating_point_error(clients: int, degree: int, largest: float) -> float:
    """What float64 adds to a part of a slot, in encoding and decoding, where the sum is below `largest`.

    A radix-2 transform has a relative error in L2 of at most log2(N) (m + 4u (sqrt(2) + m)) and little more
    (Higham 2002, theorem 24.2): u is the unit roundoff, and m, below 2u, the error of SEAL's roots of unity.
    Scaling is no worse than one more pass. Each client's part may be larger than the sum's share of it, noise
    included: by sqrt(clients) in all.
    """
    relative = 8 * (math.log2(degree) + 1) * _UNIT_ROUNDOFF
    return relative * math.sqrt(degree) * math.sqrt(2) * largest * (math.sqrt(clients) + 1)
