"""The numbers of a cohort: exact ceilings, and thresholds that keep both secrets of a client apart."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from secagg.errors import ProtocolError
from secagg.masking.parameters import Policy, Threshold, threshold

shares = st.integers(0, 999).map(lambda thousandths: thousandths / 1000)


@st.composite
def cohorts(draw: st.DrawFn, adversary: str) -> tuple[Policy, int]:
    most = draw(st.integers(3, 300))
    n = draw(st.integers(3, most))
    return Policy(most, 3, draw(shares), draw(shares), adversary), n


def feasible(policy: Policy, n: int) -> Threshold | None:
    try:
        return threshold(policy, n)
    except ProtocolError as error:
        assert error.code == "cohort-infeasible"
        return None


@given(cohorts("malicious"))
def test_a_malicious_server_can_never_open_both_secrets_of_a_client(cohort: tuple[Policy, int]) -> None:
    """Honest neighbours give one share each and the c colluders two: fewer than 2t in all."""
    policy, n = cohort
    limits = feasible(policy, n)
    assume(limits is not None)
    assert limits is not None
    assert limits.k == n - 1
    assert 2 * limits.t > limits.k + policy.c
    assert 2 * (limits.t - 1) <= limits.k + policy.c  # and no more than that is asked for
    honest = limits.k - policy.c
    assert honest + 2 * policy.c < 2 * limits.t


@given(cohorts("malicious"))
def test_two_quorums_always_share_an_honest_client(cohort: tuple[Policy, int]) -> None:
    policy, n = cohort
    limits = feasible(policy, n)
    assume(limits is not None)
    assert limits is not None
    assert Fraction(limits.quorum) > Fraction(n + policy.c, 2)
    assert 2 * limits.quorum - n > policy.c  # at least so many are in both, and not all of them collude


@given(st.sampled_from(["malicious", "semi-honest"]).flatmap(cohorts))
def test_no_coalition_holds_a_threshold_and_a_full_cohort_always_can(cohort: tuple[Policy, int]) -> None:
    policy, n = cohort
    limits = feasible(policy, n)
    if limits is None:
        assert n < policy.c + 2
        return
    assert policy.c < limits.t <= limits.k
    assert max(limits.t + 1, limits.quorum, policy.min_survivors) == limits.needed <= n
    assert 0 <= limits.tolerated == n - limits.needed


@given(cohorts("semi-honest"))
def test_nobody_confirms_to_a_semi_honest_server(cohort: tuple[Policy, int]) -> None:
    limits = feasible(*cohort)
    assert limits is None or limits.quorum == 0


@given(st.integers(4, 200), shares, shares)
def test_a_semi_honest_plan_tolerates_the_dropouts_it_expects_where_colluders_allow(
    n: int, colluders: float, dropouts: float
) -> None:
    policy = Policy(n, 3, colluders, dropouts, "semi-honest")
    expected = policy.expected_dropouts(n)
    assume(policy.c + 1 <= n - 1 - expected and n - expected >= 3)
    assert threshold(policy, n).tolerated >= expected


@pytest.mark.parametrize(
    ("colluders", "most", "c"),
    [
        (0.1, 10, 1),  # and not 2, though 0.1 is a little more than a tenth
        (0.1, 11, 2),
        (0.1, 1000, 100),
        (0.1, 8, 1),
        (0.07, 100, 7),
        (0.29, 100, 29),
        (0.3, 10, 3),
        (0.0, 1000, 0),
        (0, 5, 0),
        (1e-9, 5, 1),
        (0.45, 100, 45),
        (0.999, 3, 3),
    ],
)
def test_colluders_are_an_exact_ceiling(colluders: float, most: int, c: int) -> None:
    assert Policy(most, 3, colluders).c == c


@pytest.mark.parametrize(
    ("dropouts", "n", "expected"), [(0.1, 10, 1), (0.29, 100, 29), (0.2, 9, 1), (0.0, 9, 0), (0.3, 3, 0)]
)
def test_expected_dropouts_are_an_exact_floor(dropouts: float, n: int, expected: int) -> None:
    assert Policy(100, 3, dropouts=dropouts).expected_dropouts(n) == expected


@pytest.mark.parametrize(
    ("n", "t", "quorum", "needed"),
    [(3, 2, 3, 3), (4, 3, 3, 4), (5, 3, 4, 4), (6, 4, 4, 5), (7, 4, 5, 5), (10, 6, 6, 7)],
)
def test_small_cohorts_with_one_colluder_have_the_published_numbers(
    n: int, t: int, quorum: int, needed: int
) -> None:
    """Three and four clients tolerate no dropout; five one, with four survivors and four confirmations."""
    limits = threshold(Policy(max_clients=10, min_survivors=3, colluders=0.1), n)
    assert limits == Threshold(n=n, k=n - 1, t=t, quorum=quorum, needed=needed)


@pytest.mark.parametrize(
    ("policy", "n", "code"),
    [
        (Policy(10, 4), 3, "cohort-too-small"),
        (Policy(10, 4), 0, "cohort-too-small"),
        (Policy(10, 4), 11, "cohort-too-large"),
        (Policy(10, 3, colluders=0.3), 4, "cohort-infeasible"),
        (Policy(10, 3, colluders=0.9), 10, "cohort-infeasible"),
        (Policy(10, 3, colluders=0.9, adversary="semi-honest"), 10, "cohort-infeasible"),
    ],
)
def test_a_cohort_that_cannot_be_is_refused(policy: Policy, n: int, code: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        threshold(policy, n)
    assert refused.value.code == code


@pytest.mark.parametrize("adversary", ["malicious", "semi-honest"])
def test_the_refusal_names_the_smallest_cohort_that_is_feasible(adversary: str) -> None:
    policy = Policy(50, 3, colluders=0.3, adversary=adversary)
    with pytest.raises(ProtocolError, match="at least 17 clients"):
        threshold(policy, 16)
    assert threshold(policy, 17).tolerated == 0


def test_the_last_client_a_plan_admits_fits_and_one_more_is_refused() -> None:
    policy = Policy(max_clients=40, min_survivors=3)
    threshold(policy, 40)
    with pytest.raises(ProtocolError, match="cohort-too-large"):
        threshold(policy, 41)


def test_every_part_of_a_policy_is_in_its_bytes() -> None:
    policy = Policy(10, 4)
    variants = [
        policy,
        replace(policy, max_clients=11),
        replace(policy, min_survivors=3),
        replace(policy, colluders=0.11),
        replace(policy, dropouts=0.1),
        replace(policy, adversary="semi-honest"),
        replace(policy, sigma=41),
        replace(policy, eta=21),
    ]
    encodings = {one.encode(bits, length) for one in variants for bits in (25, 26) for length in (7, 8)}
    assert len(encodings) == 4 * len(variants)


def test_a_share_of_zero_has_the_same_bytes_however_it_is_written() -> None:
    assert Policy(10, 4, 0, 0).encode(25, 7) == Policy(10, 4, 0.0, 0.0).encode(25, 7)
