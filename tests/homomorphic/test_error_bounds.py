"""Errors that are measured lie within the bounds, and the bounds are not far off."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.encoding.margin import NEGLIGIBLE
from secagg.homomorphic.engine import SecretKey, _engine
from secagg.homomorphic.error_bounds import (
    _heavy_tail,
    floating_point_error,
    sum_of_coefficients,
    sum_of_slots,
)
from secagg.homomorphic.scheme import Scheme, scheme_for
from secagg.homomorphic.slots import to_slots
from tests.homomorphic.ciphertexts import added, key_pair, largest_part, noise_budget, raw_slots, ring

CLIENTS = 100


def parts(slots: npt.NDArray[np.complex128]) -> npt.NDArray[np.float64]:
    return slots.view(np.float64)


def secret_slots(key: SecretKey, scheme: Scheme) -> npt.NDArray[np.complex128]:
    """s at the root of each slot: the ciphertext (0, 1) decrypts to s."""
    nothing, one = np.zeros(scheme.degree, np.uint64), np.ones(scheme.degree, np.uint64)
    return raw_slots(key, [np.concatenate([nothing, one])], scheme) * scheme.scale


# -- what the bounds stand on -----------------------------------------------------------------------------


@given(st.floats(-40, 40))
def test_roundings_and_keys_have_the_variance_proxies_that_are_said(t: float) -> None:
    rounding = math.sinh(t / 2) / (t / 2) if t else 1.0
    assert math.log(rounding) <= t * t / 24 + 1e-12
    key = math.log1p(2 * math.cosh(t)) - math.log(3)
    assert key <= t * t / 3 + 1e-12


@pytest.mark.parametrize("odd", [1, 3, 777, 2047, 2049, 4095])
def test_the_powers_of_a_root_share_their_length_between_both_parts(odd: int) -> None:
    """So r(z) s(z) has N/2 in either part, and a coefficient of x at most x * N / sqrt(2)."""
    degree = 2048
    powers = np.exp(1j * np.pi * odd * np.arange(degree) / degree)
    assert np.sum(powers.real**2) == pytest.approx(degree / 2)
    assert np.sum(powers.imag**2) == pytest.approx(degree / 2)
    assert np.sum(powers.real * powers.imag) == pytest.approx(0, abs=1e-8)
    assert max(np.abs(powers.real).sum(), np.abs(powers.imag).sum()) <= degree / math.sqrt(2)


def test_the_heavy_tail_is_negligible_where_it_is_said_and_not_before() -> None:
    def exponent(x: float) -> float:
        """-log of the least exp(-y x) / (1 - y^2), searched."""
        y = np.linspace(0, 1, 2_000_001)[1:-1]
        return float(np.max(y * x + np.log1p(-y * y)))

    x = _heavy_tail(NEGLIGIBLE)
    assert exponent(x) >= NEGLIGIBLE
    assert exponent(x - 0.125) < NEGLIGIBLE
    assert x > 5 * math.sqrt(2 * NEGLIGIBLE)  # what a Gaussian's would be, in its standard deviations


# -- CKKS -------------------------------------------------------------------------------------------------


def test_the_error_of_a_hundred_fresh_ciphertexts_is_within_the_bound() -> None:
    """Measured: 8 to 11 times less than the bound, a third of which is for roundings in encoding."""
    scheme = scheme_for("ckks", CLIENTS, 20, 100_000)
    key, public = SecretKey.fresh(scheme)
    edge, random = largest_part(scheme), np.random.default_rng(1)
    vectors = random.integers(-edge, edge + 1, size=(CLIENTS, scheme.block))
    total = added((public.encrypt(ring(vector, 20)) for vector in vectors), scheme)
    error = parts(raw_slots(key, total, scheme)) - vectors.sum(axis=0)
    bound = sum_of_slots(CLIENTS, scheme.degree, scheme.special) / scheme.scale
    assert bound < 0.25
    assert bound / 50 < np.abs(error).max() < bound / 4


def test_errors_are_large_where_the_key_is_large_for_every_ciphertext() -> None:
    """Why no Gaussian rule is used: over all slots the tail is Laplace's, and the worst slots are known ones.

    |s(z)|^2 is spread like an exponential variable: the largest of 2048 is about 7.6 times the mean.
    """
    scheme = scheme_for("ckks", CLIENTS, 20, 100_000)
    key, public = key_pair(scheme)
    zeros = ring([], 20)
    errors = np.array([raw_slots(key, public.encrypt(zeros), scheme) for _ in range(60)]) * scheme.scale
    size = np.abs(secret_slots(key, scheme)) ** 2
    assert size.mean() == pytest.approx(2 * scheme.degree / 3, rel=0.1)
    assert size.max() > 4 * size.mean()

    spread = np.mean(np.abs(errors) ** 2, axis=0)
    largest = np.argsort(size)[-20:]
    assert spread[largest].mean() > 3 * spread.mean()  # a standard deviation 1.7 times the usual, or more
    predicted = (size + 1) * scheme.degree / 12  # r1(z) s(z), and r0(z)
    assert spread[largest].mean() == pytest.approx(predicted[largest].mean(), rel=0.2)
    assert np.corrcoef(spread, size)[0, 1] > 0.9

    pooled = parts(errors.reshape(-1))
    kurtosis = np.mean(pooled**4) / np.mean(pooled**2) ** 2
    assert 4.5 < kurtosis < 8  # a Gaussian's is 3, Laplace's 6
    at_once = parts((errors / np.sqrt(predicted)).reshape(-1).astype(np.complex128))
    assert np.mean(at_once**4) / np.mean(at_once**2) ** 2 == pytest.approx(3, abs=0.3)


@pytest.mark.parametrize("bits", [20, 30, 34])
def test_encoding_and_decoding_round_no_more_than_is_said(bits: int) -> None:
    """The widest ring, where float64 has the least to spare; without encryption, which adds its own error."""
    scheme = scheme_for("ckks", CLIENTS, bits, 100_000)
    engine = _engine(scheme)
    edge = (1 << (bits - 2)) - 1  # half of the range: SEAL encodes no single vector that is larger
    coefficients = scheme.degree / math.sqrt(2) / 2 / scheme.scale
    bound = floating_point_error(1, scheme.degree, edge) + coefficients
    for seed in range(5):
        values = edge * np.random.default_rng(seed).choice([-1, 1], size=scheme.block)
        plaintext = engine.encoded(ring(values, bits))
        decoded = np.array(engine.encoder.decode_complex(plaintext), dtype=np.complex128)
        error = np.abs(parts(decoded - to_slots(ring(values, bits), scheme))).max()
        assert 0 < error < bound / 4


# -- BFV --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("clients", "bits"), [(100, 25), (100, 59), (2, 8), (1, 25)])
def test_the_noise_of_a_full_cohort_is_within_the_bound(clients: int, bits: int) -> None:
    """SEAL's budget is q's bits less those of t * error, less one; the bound is to leave two.

    Measured: one or two bits more, as the noise is within a half to a fifth of the bound.
    """
    scheme = scheme_for("bfv", clients, bits, 100_000)
    key, public = SecretKey.fresh(scheme)
    edge, random = largest_part(scheme), np.random.default_rng(3)
    blocks = random.integers(-edge, edge + 1, size=(clients, scheme.block))
    total = added((public.encrypt(ring(block, bits)) for block in blocks), scheme)
    budget = noise_budget(key, total, scheme)
    assert budget >= 2
    q_bits = math.prod(scheme.primes).bit_length()
    least = 2 ** (q_bits - budget - 2) / scheme.plain_modulus  # t * error has exactly as many bits
    bound = sum_of_coefficients(clients, scheme.degree, scheme.special)
    assert bound / 32 < least < bound / 2


# -- how they move ----------------------------------------------------------------------------------------


@given(st.integers(1, 10**6), st.sampled_from([2048, 4096, 8192]), st.integers(20, 59))
def test_more_clients_and_a_smaller_special_prime_only_add_error(
    clients: int, degree: int, special_bits: int
) -> None:
    for bound in (sum_of_coefficients, sum_of_slots):
        here = bound(clients, degree, 1 << special_bits)
        assert here < bound(clients + 1, degree, 1 << special_bits)
        assert here <= bound(clients, degree, 1 << (special_bits - 1))
        assert here < bound(clients, 2 * degree, 1 << special_bits)
