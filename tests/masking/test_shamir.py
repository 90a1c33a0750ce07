"""Any t shares rebuild the secret; t - 1 say nothing at all; what is not a share is caught."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import ProtocolError
from secagg.masking.keys import commitment, share_digest
from secagg.masking.shamir import PRIME, SHARE_BYTES, join, split
from secagg.prg import Random
from tests.cohort import seeded
from tests.vectors import reference

secrets = st.binary(min_size=32, max_size=32)


@st.composite
def sharings(draw: st.DrawFn) -> tuple[int, list[int]]:
    """A threshold, and distinct points."""
    points = draw(st.lists(st.integers(1, 2**20), min_size=1, max_size=9, unique=True))
    return draw(st.integers(1, len(points))), points


def is_probable_prime(candidate: int) -> bool:
    """Miller and Rabin, to the first forty primes as bases: wrong with probability below 4^-40."""
    bases = [p for p in range(2, 174) if all(p % q for q in range(2, p))]
    odd, twos = candidate - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    return all(
        pow(base, odd, candidate) == 1
        or any(pow(base, odd << i, candidate) == candidate - 1 for i in range(twos))
        for base in bases
    )


def one_by_one(draws: Iterator[bytes]) -> Random:
    """A source that gives these, one each time it is asked."""
    return lambda _: next(draws)


def test_the_field_is_a_field_and_holds_every_secret() -> None:
    assert is_probable_prime(PRIME)
    assert PRIME == 2**256 + 297
    assert not any(is_probable_prime(2**256 + gap) for gap in range(1, 297, 2))  # the first above 2^256


@given(secrets, sharings(), st.integers(0, 2**32), st.data())
def test_any_threshold_of_shares_rebuilds_the_secret(
    secret: bytes, sharing: tuple[int, list[int]], seed: int, choice: st.DataObject
) -> None:
    threshold, points = sharing
    shares = split(secret, threshold, points, seeded(seed))
    assert shares.keys() == set(points)
    assert all(len(share) == SHARE_BYTES for share in shares.values())
    chosen = choice.draw(st.permutations(points))[:threshold]
    assert join({x: shares[x] for x in chosen}, threshold) == secret


def test_every_threshold_of_every_five_shares_rebuilds_the_secret() -> None:
    secret = bytes(range(32))
    for threshold in range(1, 6):
        shares = split(secret, threshold, range(1, 6), seeded(threshold))
        for chosen in combinations(shares, threshold):
            assert join({x: shares[x] for x in chosen}, threshold) == secret


@pytest.mark.parametrize(
    ("prime", "threshold", "points"), [(11, 2, [1, 2, 10]), (7, 3, [1, 2, 3, 6]), (5, 4, [1, 2, 3, 4])]
)
def test_one_share_less_than_the_threshold_says_nothing(
    prime: int, threshold: int, points: list[int]
) -> None:
    """Exhaustively: over all coefficients, any t - 1 shares take each value equally often, whatever the
    secret is; so every secret is equally likely given them."""
    for held in combinations(points, threshold - 1):
        views: dict[int, Counter[tuple[int, ...]]] = {}
        for secret in range(prime):
            seen: Counter[tuple[int, ...]] = Counter()
            for coefficients in product(range(prime), repeat=threshold - 1):
                drawn = map(int.to_bytes, coefficients)
                shares = split(bytes([secret]), threshold, points, one_by_one(drawn), prime)
                seen[tuple(int.from_bytes(shares[x], "little") for x in held)] += 1
            views[secret] = seen
        assert len(views[0]) == prime ** (threshold - 1)
        assert set(views[0].values()) == {1}
        assert all(views[secret] == views[0] for secret in views)


@pytest.mark.parametrize("threshold", [1, 2, 3])
def test_the_small_field_also_rebuilds(threshold: int) -> None:
    for secret, seed in product(range(11), range(5)):
        shares = split(bytes([secret]), threshold, [1, 4, 10], seeded(seed), prime=11)
        for chosen in combinations(shares, threshold):
            assert join({x: shares[x] for x in chosen}, threshold, prime=11)[0] == secret


@given(secrets, sharings(), st.integers(0, 2**32))
def test_shares_are_values_of_one_polynomial_through_the_secret(
    secret: bytes, sharing: tuple[int, list[int]], seed: int
) -> None:
    threshold, points = sharing
    shares = split(secret, threshold, points, seeded(seed))
    drawn, coefficients = seeded(seed), [int.from_bytes(secret, "little")]
    higher: list[int] = []
    while len(higher) < threshold - 1:
        value = int.from_bytes(drawn(33), "little") % 2**257
        higher += [value] if value < reference.PRIME else []
    coefficients += reversed(higher)
    assert shares == {x: reference.le(reference.polynomial(coefficients, x), 33) for x in points}


@given(secrets, st.integers(0, 2**32), st.integers(2, 6), st.integers(1, PRIME - 1), st.data())
def test_a_wrong_share_never_rebuilds_the_secret_and_its_digest_and_commitment_say_so(
    secret: bytes, seed: int, threshold: int, error: int, choice: st.DataObject
) -> None:
    """The sharing itself cannot tell; the owner's signed digest names the holder, and its commitment the
    owner."""
    context = bytes(32)
    shares = split(secret, threshold, range(1, threshold + 2), seeded(seed))
    chosen = {x: shares[x] for x in list(shares)[:threshold]}
    x = choice.draw(st.sampled_from(sorted(chosen)))
    wrong = ((int.from_bytes(chosen[x], "little") + error) % PRIME).to_bytes(SHARE_BYTES, "little")
    digests = [share_digest("seed", "owner", "holder", share, context) for share in (chosen[x], wrong)]
    assert digests[0] != digests[1]
    try:
        rebuilt = join({**chosen, x: wrong}, threshold)
    except ProtocolError as refused:
        assert refused.code == "secret-range"
    else:
        assert rebuilt != secret
        assert commitment(context, "owner", rebuilt) != commitment(context, "owner", secret)


def test_shares_at_exchanged_points_rebuild_something_else() -> None:
    secret = bytes(range(32))
    shares = split(secret, 2, [1, 2, 3], seeded(1))
    try:
        assert join({1: shares[2], 2: shares[1]}, 2) != secret
    except ProtocolError as refused:
        assert refused.code == "secret-range"


def test_a_share_at_zero_is_refused_since_it_would_be_the_secret() -> None:
    shares = split(bytes(range(32)), 2, [1, 2], seeded(1))
    for points in ((0,), (0, 1)):
        with pytest.raises(ProtocolError) as refused:
            join(dict.fromkeys(points, shares[1]), len(points))
        assert refused.value.code == "share-point"


def test_a_share_used_twice_is_no_second_share() -> None:
    """A point counts once, and a second point for the same share rebuilds something else."""
    shares = split(bytes(range(32)), 2, [1, 2], seeded(1))
    with pytest.raises(ProtocolError) as refused:
        join({1: shares[1]}, 2)
    assert refused.value.code == "share-count"
    with pytest.raises(ProtocolError) as refused:
        join({1: shares[1], 1 + PRIME: shares[1]}, 2)
    assert refused.value.code == "share-point"


@pytest.mark.parametrize(
    ("points", "threshold", "code"),
    [
        ([0, 1, 2], 2, "share-point"),
        ([1, 2, 2], 2, "share-point"),
        ([-1, 1, 2], 2, "share-point"),
        ([1, PRIME], 2, "share-point"),
        ([1, 2], 3, "share-threshold"),
        ([1, 2], 0, "share-threshold"),
        ([], 0, "share-threshold"),
    ],
)
def test_a_sharing_that_would_give_the_secret_away_or_lose_it_is_refused(
    points: list[int], threshold: int, code: str
) -> None:
    with pytest.raises(ProtocolError) as refused:
        split(bytes(32), threshold, points)
    assert refused.value.code == code


@given(st.dictionaries(st.integers(-1, 5), st.binary(max_size=34), max_size=4), st.integers(0, 4))
def test_anything_is_a_secret_or_a_protocol_error(shares: dict[int, bytes], threshold: int) -> None:
    try:
        assert len(join(shares, threshold)) == 32
    except ProtocolError as error:
        assert error.code in {
            "share-count", "share-point", "share-length", "share-range", "secret-range",
        }  # fmt: skip


def test_production_shares_differ_each_time() -> None:
    one, other = (split(bytes(32), 2, [1, 2]) for _ in range(2))
    assert one != other
