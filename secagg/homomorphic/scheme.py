"""The smallest ciphertext whose sums are exact: what a plan's ring and cohort make of BFV and of CKKS.

Both carry the ring's signed integers and give back their exact sum. BFV (Brakerski 2012, ePrint 2012/078;
Fan, Vercauteren 2012, ePrint 2012/144) does so by construction while its noise budget lasts. CKKS (Cheon,
Kim, Kim, Song 2017, ePrint 2016/421) gives an approximation, and the scale is chosen so that rounding it is
right: at most a quarter of an integer is error, except with probability 2^-40 a vector.

A parameter set is taken only within the bounds of the Homomorphic Encryption Standard (2018, table 1) for
128-bit security with a ternary key; SEAL checks them once more. What is chosen depends on nothing but the
plan and the model's size, so every side computes it for itself, with no library for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from typing import Final, Literal

from secagg import canonical
from secagg.encoding.packing import packed_size
from secagg.errors import EncodingError
from secagg.homomorphic.error_bounds import floating_point_error, sum_of_coefficients, sum_of_slots
from secagg.homomorphic.primes import primes_below, smallest_prime_from

__all__ = ["LEAST_BUDGET", "MAX_MODULUS_BITS", "Kind", "Scheme", "scheme_for"]

Kind = Literal["bfv", "ckks"]

MAX_MODULUS_BITS: Final = {2048: 54, 4096: 109, 8192: 218}
"""Degree -> the bits of all primes together, special prime included, that leave 128 bits of security."""

_LARGEST_PRIME: Final = 60
_LEAST_SPECIAL: Final = 20
_LARGEST_PLAIN: Final = 60
LEAST_BUDGET: Final = 2
"""Bits of BFV's noise budget that every sum of a full cohort keeps; a decryptor refuses less."""


@dataclass(frozen=True)
class Scheme:
    """One parameter set, for sums of up to `max_clients` ring vectors of `length` coordinates of `bits` bits.

    degree: N. primes: the ciphertext's moduli; special: the one more that only encryption uses.
    plain_modulus: BFV's t, else 0. scale: CKKS's, else 0. per_slot: ring integers in one slot (CKKS: the two
    parts of a complex slot count as two).
    """

    kind: Kind
    max_clients: int
    bits: int
    length: int
    degree: int
    primes: tuple[int, ...]
    special: int
    plain_modulus: int
    scale: int
    per_slot: int

    @property
    def slots(self) -> int:
        """Slots of one ciphertext."""
        return self.degree if self.kind == "bfv" else self.degree // 2

    @property
    def block(self) -> int:
        """Ring coordinates that one ciphertext carries."""
        return self.slots * self.per_slot

    @property
    def blocks(self) -> int:
        """Ciphertexts of one vector."""
        return -(-self.length // self.block)

    @cached_property
    def block_size(self) -> int:
        """Bytes of one ciphertext: two polynomials modulo each prime, each packed at the prime's own bits."""
        return sum(packed_size(2 * self.degree, prime.bit_length()) for prime in self.primes)

    @property
    def size(self) -> int:
        """Bytes of a whole encrypted vector."""
        return self.blocks * self.block_size

    @property
    def public_key_size(self) -> int:
        """Bytes of a public key: a ciphertext of zero modulo every prime, the special one included."""
        return sum(packed_size(2 * self.degree, prime.bit_length()) for prime in (*self.primes, self.special))

    @property
    def modulus_bits(self) -> int:
        """Bits of the product of all primes, which the security bound is about."""
        return (math.prod(self.primes) * self.special).bit_length()

    def encode(self) -> bytes:
        """Canonical bytes, bound into an attempt's context."""
        return canonical.encode(
            self.kind,
            self.max_clients,
            self.bits,
            self.length,
            self.degree,
            len(self.primes),
            *self.primes,
            self.special,
            self.plain_modulus,
            self.scale,
            self.per_slot,
        )


@lru_cache(maxsize=64)
def scheme_for(kind: Kind, max_clients: int, bits: int, length: int) -> Scheme:
    """The parameter set with the fewest bytes for vectors of `length`; of equals, the smallest degree.

    Raises EncodingError `scheme-infeasible`, with the bound that no parameter set keeps.
    """
    candidates = list(_candidates(kind, max_clients, bits, length))
    if not candidates:
        raise EncodingError(
            "scheme-infeasible",
            f"no {kind.upper()} parameters add {max_clients} vectors of {bits}-bit integers exactly with "
            f"128-bit security, which allows moduli of {_LIMITS}",
            _WAY_OUT[kind],
        )
    return min(candidates, key=lambda scheme: (scheme.size, scheme.degree))


_LIMITS: Final = ", ".join(f"{most} bits at degree {degree}" for degree, most in MAX_MODULUS_BITS.items())

_WAY_OUT: Final = {
    "bfv": "a coarser precision, a smaller clip_norm or fewer clients; or masks, which have no such bound",
    "ckks": 'a coarser precision (CKKS computes in float64), fewer clients, or kind = "bfv"',
}


def _candidates(kind: Kind, clients: int, bits: int, length: int) -> Iterator[Scheme]:
    for degree in MAX_MODULUS_BITS:
        if kind == "bfv":
            most = (_LARGEST_PLAIN - 1) // bits
            found = [_bfv(clients, bits, length, degree, per_slot) for per_slot in range(1, most + 1)]
        else:
            found = [_ckks(clients, bits, length, degree)]
        yield from (scheme for scheme in found if scheme is not None)


def _bfv(clients: int, bits: int, length: int, degree: int, per_slot: int) -> Scheme | None:
    # Digits of at most 2^(b-1) in absolute value, in base 2^b, and as many signed values.
    least = 2 * (1 << (bits - 1)) * ((1 << bits * per_slot) - 1) // ((1 << bits) - 1) + 1
    plain_modulus = smallest_prime_from(least, degree)
    if plain_modulus.bit_length() > _LARGEST_PLAIN:
        return None

    def needed(special: int) -> int:
        return plain_modulus * math.ceil(sum_of_coefficients(clients, degree, special)) << (LEAST_BUDGET + 1)

    found = _moduli(degree, needed, plain_modulus)
    if found is None:
        return None
    return Scheme("bfv", clients, bits, length, degree, *found, plain_modulus, 0, per_slot)


def _ckks(clients: int, bits: int, length: int, degree: int) -> Scheme | None:
    largest = 2.0 ** (bits - 1)
    left = 0.25 - floating_point_error(clients, degree, largest)
    if left < 0.125:
        return None
    # A coefficient is at most the largest slot, a complex one sqrt(2) times its larger part: below half the
    # modulus. SEAL wants what it encodes below a quarter: so it is, but for the only client of a cohort.
    reach = max(2, 4 / clients) * math.sqrt(2) * (largest + 1)

    def needed(special: int) -> int:
        return math.ceil(reach * math.ceil(sum_of_slots(clients, degree, special) / left))

    found = _moduli(degree, needed)
    if found is None or len(found[0]) > 1:  # SEAL's decoding cancels digits of coefficients of two words
        return None
    primes, special = found
    return Scheme("ckks", clients, bits, length, degree, primes, special, 0, int(primes[0] / reach), 2)


def _moduli(degree: int, needed: Callable[[int], int], avoid: int = 0) -> tuple[tuple[int, ...], int] | None:
    """The fewest bits of primes with a product above what is needed, and a special prime; None: not securely.

    needed: of the special prime, or less. The special prime takes the room that the others leave.
    """
    room = MAX_MODULUS_BITS[degree]
    for total in range(_LEAST_SPECIAL, room - _LEAST_SPECIAL + 1):
        special_size = min(_LARGEST_PRIME, room - total)
        product = needed(1 << (special_size - 1))
        if product.bit_length() > total:
            continue
        count = -(-total // _LARGEST_PRIME)
        sizes = [total // count + (at < total % count) for at in range(count)]
        chosen: list[int] = []
        for size in (*sizes, special_size):
            taken = {avoid, *chosen}
            chosen += islice((prime for prime in primes_below(size, degree) if prime not in taken), 1)
        if len(chosen) == count + 1 and math.prod(chosen[:-1]) > product:
            return tuple(chosen[:-1]), chosen[-1]
    return None
