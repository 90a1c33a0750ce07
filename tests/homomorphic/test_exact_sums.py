"""What a decryptor gives is the sum of the integers, to the bit; what no cohort adds up to is refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.errors import EncodingError
from secagg.homomorphic.engine import SecretKey
from secagg.homomorphic.scheme import Kind, Scheme, scheme_for
from secagg.homomorphic.words import Words, unpack_words, zero_words
from tests.homomorphic.ciphertexts import added, key_pair, largest_part, noise_budget, ring, signed, times

WIDTHS: list[tuple[Kind, int]] = [
    *(("bfv", bits) for bits in (8, 12, 20, 25, 29, 30, 45, 59)),
    *(("ckks", bits) for bits in (8, 16, 20, 27, 34)),
]
KINDS: list[tuple[Kind, int]] = [("bfv", 25), ("ckks", 20)]
"""A hundred clients, 17 and 12 fractional bits."""

DISTINCT = 25
"""Ciphertexts in a sum of a hundred whose errors are independent; the rest are the same ones again."""


def exact_sum(vectors: Sequence[Sequence[int]]) -> list[int]:
    return [sum(column) for column in zip(*vectors, strict=True)]


def block_of(scheme: Scheme, shape: str, random: np.random.Generator) -> list[int]:
    edge = largest_part(scheme)
    match shape:
        case "all at the top":
            return [edge] * scheme.block
        case "all at the bottom":
            return [-edge] * scheme.block
        case "both ends":
            values: list[int] = (edge * random.choice([-1, 1], size=scheme.block)).tolist()
            return values
    spread: list[int] = random.integers(-edge, edge + 1, size=scheme.block).tolist()
    return spread


@given(
    st.sampled_from(WIDTHS),
    st.sampled_from([1, 2, 3, 100]),
    st.sampled_from(["all at the top", "all at the bottom", "both ends", "anything"]),
    st.integers(0, 2**32),
)
@settings(max_examples=40)
def test_a_full_cohort_adds_up_exactly(width: tuple[Kind, int], clients: int, shape: str, seed: int) -> None:
    scheme = scheme_for(width[0], clients, width[1], 100_000)
    key, public = key_pair(scheme)
    random = np.random.default_rng(seed)
    vectors = [block_of(scheme, shape, random) for _ in range(min(clients, DISTINCT))]
    parts = [public.encrypt(ring(vector, scheme.bits)) for vector in vectors]
    whole = [at % len(parts) for at in range(clients)]
    opened = key.decrypt(added((parts[at] for at in whole), scheme))
    assert signed(opened, scheme.bits) == exact_sum([vectors[at] for at in whole])


@pytest.mark.parametrize(("kind", "bits"), KINDS)
def test_a_hundred_fresh_ciphertexts_at_the_edges_add_up_exactly(kind: Kind, bits: int) -> None:
    scheme = scheme_for(kind, 100, bits, 100_000)
    key, public = SecretKey.fresh(scheme)
    random = np.random.default_rng(1)
    vectors = [block_of(scheme, "both ends", random) for _ in range(100)]
    total = added((public.encrypt(ring(vector, bits)) for vector in vectors), scheme)
    assert signed(key.decrypt(total), bits) == exact_sum(vectors)


@pytest.mark.parametrize("clients", [1, 2, 100])
@pytest.mark.parametrize("sign", [1, -1])
def test_slots_in_step_with_one_coefficient_still_fit(clients: int, sign: int) -> None:
    """All slots' largest parts add up in one coefficient, N/4: SEAL encodes no more than it has room for.

    A slot is at a root whose (N/4)-th power is an eighth root of unity: sqrt(2) larger than its parts.
    """
    scheme = scheme_for("ckks", clients, 20, 100_000)
    key, public = key_pair(scheme)
    edge, degree = largest_part(scheme), scheme.degree
    powers = [pow(3, slot, 2 * degree) for slot in range(scheme.slots)]
    turns = np.exp(1j * np.pi / 4 * np.array(powers))
    slots = sign * edge * (np.sign(turns.real) + 1j * np.sign(turns.imag))
    values = np.rint(slots.view(np.float64)).astype(np.int64)
    assert np.isclose(np.mean((slots * turns.conj()).real), sign * edge * np.sqrt(2))
    part = public.encrypt(ring(values, 20))
    whole = added([part] * min(clients, 2), scheme)
    assert signed(key.decrypt(whole), 20) == (min(clients, 2) * values).tolist()


@pytest.mark.parametrize(("kind", "bits"), KINDS)
@pytest.mark.parametrize("over", [-1, 0, 1, 13])
def test_vectors_of_any_length_come_back(kind: Kind, bits: int, over: int) -> None:
    """One coordinate, and one block or two, less or more: what is behind the last coordinate is zeros."""
    block = scheme_for(kind, 3, bits, 100_000).block
    for length in {max(1, over), block + over, 2 * block + over}:
        scheme = scheme_for(kind, 3, bits, length)
        key, public = key_pair(scheme)
        edge = largest_part(scheme)
        vectors = [np.random.default_rng(at).integers(-edge, edge + 1, size=length) for at in range(3)]
        count, width = scheme.blocks * 2 * scheme.degree, 2 * scheme.degree
        total = zero_words(scheme.primes, count)
        for vector in vectors:
            packed = public.encrypt_vector(ring(vector, bits))
            assert len(packed) == scheme.size
            words = unpack_words(packed, scheme.primes, count)
            total = [
                (one + other) % np.uint64(prime)
                for one, other, prime in zip(total, words, scheme.primes, strict=True)
            ]
        opened: list[int] = []
        for at in range(scheme.blocks):
            opened += signed(key.decrypt([prime[at * width : (at + 1) * width] for prime in total]), bits)
        assert opened[:length] == exact_sum([vector.tolist() for vector in vectors])
        assert not any(opened[length:])


def far_too_many(scheme: Scheme, part: Words) -> Words:
    return times(part, 2**17, scheme)


def times_a_constant(scheme: Scheme, part: Words) -> Words:
    return times(part, scheme.primes[0] // 3, scheme)


def at_random(scheme: Scheme, part: Words) -> Words:
    random = np.random.default_rng(1)
    return [
        random.integers(0, prime, size=len(vector), dtype=np.uint64)
        for vector, prime in zip(part, scheme.primes, strict=True)
    ]


def under_another_key(scheme: Scheme, part: Words) -> Words:
    return SecretKey.fresh(scheme)[1].encrypt(ring([1], scheme.bits))


def zero_but_for_a_word(scheme: Scheme, part: Words) -> Words:
    return [
        np.eye(1, len(vector), dtype=np.uint64)[0] * np.uint64(prime // 2)
        for vector, prime in zip(part, scheme.primes, strict=True)
    ]


def polynomials_exchanged(scheme: Scheme, part: Words) -> Words:
    return [np.roll(vector, scheme.degree) for vector in part]


def one_part_of_two(scheme: Scheme, part: Words) -> Words:
    """c0 alone: what is left of a ciphertext whose c1 is zero."""
    return [np.where(np.arange(len(vector)) < scheme.degree, vector, 0).astype(np.uint64) for vector in part]


SPOILT = (
    far_too_many,
    times_a_constant,
    at_random,
    under_another_key,
    zero_but_for_a_word,
    polynomials_exchanged,
    one_part_of_two,
)


@pytest.mark.parametrize(("kind", "bits"), KINDS)
@pytest.mark.parametrize("spoil", SPOILT)
def test_what_is_no_sum_of_a_cohort_is_refused(
    kind: Kind, bits: int, spoil: Callable[[Scheme, Words], Words]
) -> None:
    scheme = scheme_for(kind, 100, bits, 100_000)
    key, public = key_pair(scheme)
    random = np.random.default_rng(2)
    part = public.encrypt(ring(block_of(scheme, "anything", random), bits))
    with pytest.raises(EncodingError) as refused:
        key.decrypt(spoil(scheme, part))
    codes = {"bfv": {"noise-budget"}, "ckks": {"sum-inexact", "sum-out-of-range"}}
    assert refused.value.code in codes[kind]


@pytest.mark.parametrize("polynomial", [0, 1])
@pytest.mark.parametrize("at", [0, 1, 2047, -1])
@pytest.mark.parametrize(("kind", "bits"), KINDS)
def test_one_word_that_is_far_off_is_refused(kind: Kind, bits: int, at: int, polynomial: int) -> None:
    """Anywhere in either polynomial. A word of BFV is a coefficient, at its worst when off by q/(2t)."""
    scheme = scheme_for(kind, 100, bits, 100_000)
    key, public = key_pair(scheme)
    part = [vector.copy() for vector in public.encrypt(ring([1, 2, 3], bits))]
    off = math.prod(scheme.primes) // (2 * max(1, scheme.plain_modulus))
    place = polynomial * scheme.degree + at % scheme.degree
    for vector, prime in zip(part, scheme.primes, strict=True):
        vector[place] = (int(vector[place]) + off) % prime
    with pytest.raises(EncodingError) as refused:
        key.decrypt(part)
    assert refused.value.code in {"noise-budget", "sum-inexact", "sum-out-of-range"}


def test_a_sum_of_twice_the_cohort_at_the_edge_is_refused() -> None:
    """In CKKS. In BFV such a sum wraps, as it does under masks: no codec makes it."""
    scheme = scheme_for("ckks", 2, 20, 100_000)
    key, public = key_pair(scheme)
    part = public.encrypt(ring([largest_part(scheme)] * 100, 20))
    with pytest.raises(EncodingError) as refused:
        key.decrypt(added([part] * 4, scheme))
    assert refused.value.code in {"sum-inexact", "sum-out-of-range"}


def test_the_noise_budget_runs_out_before_a_sum_goes_wrong() -> None:
    """BFV: doubling until it is refused. Up to then every sum of zeros is zeros."""
    scheme = scheme_for("bfv", 100, 25, 100_000)
    key, public = key_pair(scheme)
    total, doubled = public.encrypt(ring([], 25)), 0
    while noise_budget(key, total, scheme) >= 2:
        assert not key.decrypt(total).any()
        total, doubled = added([total, total], scheme), doubled + 1
    assert doubled >= 5
    with pytest.raises(EncodingError, match="noise-budget"):
        key.decrypt(total)
