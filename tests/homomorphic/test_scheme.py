"""Parameter sets: secure, accepted by SEAL, exact by their own bounds, and none smaller."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import tenseal.sealapi as seal

from secagg.errors import EncodingError
from secagg.homomorphic.error_bounds import floating_point_error, sum_of_coefficients, sum_of_slots
from secagg.homomorphic.primes import is_prime, primes_below, smallest_prime_from
from secagg.homomorphic.scheme import MAX_MODULUS_BITS, Kind, Scheme, scheme_for

COHORTS = (1, 2, 10, 100, 10_000)
GRID = [("bfv", n, bits) for n in COHORTS for bits in (8, 9, 12, 16, 20, 25, 29, 30, 40, 50, 59)] + [
    ("ckks", n, bits) for n in COHORTS for bits in (8, 12, 16, 20, 25, 28, 30)
]
MILLION = 1_000_000


@pytest.fixture(params=GRID, ids=lambda case: "-".join(map(str, case)))
def scheme(request: pytest.FixtureRequest) -> Scheme:
    return scheme_for(*request.param, MILLION)


def special_beside(degree: int, total: int) -> int:
    """A bound from below on the special prime that `total` bits of other primes leave room for."""
    return 1 << (min(60, MAX_MODULUS_BITS[degree] - total) - 1)


def needed(scheme: Scheme, degree: int, plain_modulus: int, special: int) -> Fraction:
    """What the product of the ciphertext's primes must be above."""
    n = scheme.max_clients
    if scheme.kind == "bfv":
        # SEAL's budget of 2 bits: t * error is below an eighth of q.
        return 8 * plain_modulus * Fraction(sum_of_coefficients(n, degree, special))
    largest = 2 ** (scheme.bits - 1)
    left = Fraction(1, 4) - Fraction(floating_point_error(n, degree, largest))
    reach: Fraction = Fraction(max(2, 4 / n) * math.sqrt(2)) * (largest + 1)
    return reach * Fraction(sum_of_slots(n, degree, special)) / left


def largest_product(degree: int, total: int) -> int:
    """The product of the largest distinct primes with `total` bits together; 0 where there are none."""
    count = -(-total // 60)
    sizes = [total // count + (at < total % count) for at in range(count)]
    product = 1
    for size in set(sizes):
        primes = primes_below(size, degree)
        for _ in range(sizes.count(size)):
            product *= next(primes, 0)
    return product


def test_all_primes_together_keep_128_bits_of_security(scheme: Scheme) -> None:
    bound = {2048: 54, 4096: 109, 8192: 218}[scheme.degree]
    assert scheme.modulus_bits <= bound
    assert scheme.modulus_bits == (math.prod(scheme.primes) * scheme.special).bit_length()


def test_seal_takes_the_parameters_at_128_bits(scheme: Scheme) -> None:
    scheme_type = seal.SCHEME_TYPE.BFV if scheme.kind == "bfv" else seal.SCHEME_TYPE.CKKS
    parameters = seal.EncryptionParameters(scheme_type)
    parameters.set_poly_modulus_degree(scheme.degree)
    parameters.set_coeff_modulus([seal.Modulus(prime) for prime in (*scheme.primes, scheme.special)])
    if scheme.kind == "bfv":
        parameters.set_plain_modulus(scheme.plain_modulus)
    context = seal.SEALContext(parameters, True, seal.SEC_LEVEL_TYPE.TC128)
    assert context.parameters_set(), context.parameters_error_message()


def test_moduli_are_distinct_primes_with_a_transform(scheme: Scheme) -> None:
    moduli = [*scheme.primes, scheme.special, *([scheme.plain_modulus] if scheme.kind == "bfv" else [])]
    assert len(set(moduli)) == len(moduli)
    assert all(is_prime(prime) and prime % (2 * scheme.degree) == 1 for prime in moduli)
    assert all(prime.bit_length() <= 60 for prime in moduli)
    assert scheme.special.bit_length() >= 20


def test_every_sum_has_its_place(scheme: Scheme) -> None:
    """BFV: t tells all signed sums of digits apart. CKKS: a coefficient is within half the modulus."""
    half = 1 << (scheme.bits - 1)
    if scheme.kind == "bfv":
        extreme = sum(half << (scheme.bits * digit) for digit in range(scheme.per_slot))
        assert scheme.plain_modulus > 2 * extreme
        assert scheme.plain_modulus == smallest_prime_from(2 * extreme + 1, scheme.degree)
        assert scheme.scale == 0
    else:
        (prime,) = scheme.primes
        # sqrt(2) * (half + 1) * scale < prime / 2, and for the only client of a cohort prime / 4.
        share = 4 if scheme.max_clients == 1 else 2
        assert 2 * (share * (half + 1) * scheme.scale) ** 2 < prime**2
        assert (scheme.plain_modulus, scheme.per_slot) == (0, 2)


def test_the_promised_inequality_holds_in_exact_numbers(scheme: Scheme) -> None:
    product = math.prod(scheme.primes)
    least = needed(scheme, scheme.degree, scheme.plain_modulus, scheme.special)
    assert product > least
    if scheme.kind == "ckks":
        error = Fraction(sum_of_slots(scheme.max_clients, scheme.degree, scheme.special)) / scheme.scale
        rounding = floating_point_error(scheme.max_clients, scheme.degree, 2 ** (scheme.bits - 1))
        assert error + Fraction(rounding) < Fraction(1, 4)


def test_one_bit_less_breaks_the_inequality(scheme: Scheme) -> None:
    total = sum(prime.bit_length() for prime in scheme.primes) - 1
    special = special_beside(scheme.degree, total)
    # The scheme rounds its bound up to whole coefficients, which is less than a 64th of any bound here.
    assert largest_product(scheme.degree, total) <= needed(
        scheme, scheme.degree, scheme.plain_modulus, special
    ) * (1 + Fraction(1, 64))


def test_no_other_degree_or_packing_is_smaller(scheme: Scheme) -> None:
    for degree, room in MAX_MODULUS_BITS.items():
        packings = range(1, 59 // scheme.bits + 1) if scheme.kind == "bfv" else [2]
        for per_slot in packings:
            slots = degree if scheme.kind == "bfv" else degree // 2
            extreme = sum(1 << (scheme.bits * (digit + 1) - 1) for digit in range(per_slot))
            plain = smallest_prime_from(2 * extreme + 1, degree) if scheme.kind == "bfv" else 0
            enough = [
                total
                for total in range(20, room - 19)
                if needed(scheme, degree, plain, special_beside(degree, total)) < 1 << total
            ]
            if plain.bit_length() > 60 or not enough:
                continue
            blocks = -(-MILLION // (slots * per_slot))
            assert blocks * 2 * degree * min(enough) // 8 >= scheme.size


def test_sizes_are_what_is_packed(scheme: Scheme) -> None:
    bits = sum(prime.bit_length() for prime in scheme.primes)
    assert scheme.block_size == 2 * scheme.degree * bits // 8
    assert scheme.blocks == math.ceil(MILLION / scheme.block)
    assert scheme.size == scheme.blocks * scheme.block_size
    assert scheme.public_key_size == 2 * scheme.degree * (bits + scheme.special.bit_length()) // 8


def test_bytes_per_parameter_for_a_hundred_clients() -> None:
    """17 fractional bits in BFV and 12 in CKKS, values in [-1, 1]: rings of 25 and 20 bits."""
    assert (2 * 100 * 2**17).bit_length() == 25
    assert (2 * 100 * 2**12).bit_length() == 20
    bfv = scheme_for("bfv", 100, 25, MILLION)
    assert bfv.block_size / bfv.block == 8.0
    assert bfv.size / MILLION < 8.1 < 12.2
    ckks = scheme_for("ckks", 100, 20, MILLION)
    assert ckks.block_size / ckks.block == 10.5
    assert ckks.size / MILLION < 10.6 < 24.2


def test_short_vectors_take_the_smaller_ciphertext() -> None:
    """A block of a few values costs as much as a full one."""
    few, many = scheme_for("bfv", 10, 8, 100), scheme_for("bfv", 10, 8, MILLION)
    assert few.blocks == 1
    assert few.size < many.block_size


@pytest.mark.parametrize(
    ("kind", "clients", "bits"),
    [
        ("bfv", 2, 60),
        ("bfv", 100, 64),
        ("ckks", 2, 40),
        ("ckks", 100, 64),
        ("ckks", 10**9, 20),
        ("bfv", 10**60, 59),
    ],
)
def test_what_no_parameters_can_do_is_refused(kind: Kind, clients: int, bits: int) -> None:
    with pytest.raises(EncodingError) as refused:
        scheme_for(kind, clients, bits, 1000)
    assert refused.value.code == "scheme-infeasible"
    assert f"{clients} vectors of {bits}-bit" in refused.value.message
    assert "fewer clients" in refused.value.hint


def feasible(kind: Kind, clients: int, bits: int) -> bool:
    try:
        scheme_for(kind, clients, bits, 1000)
    except EncodingError as error:
        assert error.code == "scheme-infeasible"
        return False
    return True


@pytest.mark.parametrize(
    ("kind", "clients", "widest"), [("bfv", 100, 59), ("ckks", 100, 34), ("ckks", 2, 36)]
)
def test_the_widest_ring_that_fits_is_taken_and_one_bit_more_is_refused(
    kind: Kind, clients: int, widest: int
) -> None:
    assert [bits for bits in range(8, 65) if feasible(kind, clients, bits)] == list(range(8, widest + 1))


@pytest.mark.parametrize(("bits", "most"), [(30, 49_192), (20, 130_615_291)])
def test_the_largest_cohort_that_ckks_fits_is_taken_and_one_more_is_refused(bits: int, most: int) -> None:
    low, high = 1, 1 << 40
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if feasible("ckks", middle, bits) else (low, middle)
    assert low == most
    assert not feasible("ckks", most + 1, bits)


def test_canonical_bytes_tell_every_field(scheme: Scheme) -> None:
    other = scheme_for(scheme.kind, scheme.max_clients, scheme.bits, MILLION - 1)
    assert other.encode() != scheme.encode()
    assert scheme_for(scheme.kind, scheme.max_clients, scheme.bits, MILLION).encode() == scheme.encode()
