"""The sum is exact, whoever vanishes and whenever, as long as enough stay."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.errors import ClientFault, ProtocolError, TooFewClients
from secagg.masking.messages import STAGES
from secagg.masking.parameters import Policy, threshold
from tests.cohort import Cohort


@pytest.mark.parametrize("adversary", ["malicious", "semi-honest"])
@pytest.mark.parametrize("bits", [8, 26, 32, 33, 64])
def test_the_opened_sum_is_the_plain_sum_in_the_ring(bits: int, adversary: str) -> None:
    cohort = Cohort(5, bits=bits, policy=Policy(8, 3, adversary=adversary))
    cohort.run()
    opened = cohort.server.sum()
    assert opened.survivors == tuple(cohort.ids)
    assert np.array_equal(opened.vector, cohort.expected(cohort.ids))


@pytest.mark.parametrize(
    ("adversary", "stage"),
    [("malicious", stage) for stage in STAGES]
    + [("semi-honest", stage) for stage in STAGES if stage != "confirm"],
)
def test_every_single_dropout_at_every_stage_leaves_the_sum_of_the_others(adversary: str, stage: str) -> None:
    for gone in range(6):
        cohort = Cohort(6, policy=Policy(6, 3, adversary=adversary))
        name = cohort.ids[gone]
        cohort.run_to(stage)
        while cohort.server.stage:
            cohort.step(silent=(name,))
        opened = cohort.server.sum()
        stays = [other for other in cohort.ids if other != name]
        in_sum = cohort.ids if stage in ("confirm", "reveal") else stays
        assert opened.survivors == tuple(in_sum)
        assert np.array_equal(opened.vector, cohort.expected(in_sum))


@given(
    n=st.integers(4, 9),
    colluders=st.sampled_from([0.0, 0.1, 0.3]),
    malicious=st.booleans(),
    fates=st.lists(st.sampled_from([*STAGES, "stays"]), min_size=9, max_size=9),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_any_pattern_of_dropouts_opens_the_exact_sum_or_nothing(
    n: int, colluders: float, malicious: bool, fates: list[str], seed: int
) -> None:
    """Each client vanishes at a stage of its own, alone or together with others."""
    policy = Policy(n, 3, colluders, adversary="malicious" if malicious else "semi-honest")
    cohort = Cohort(n, length=17, policy=policy, seed=seed)
    gone: set[str] = set()
    in_sum: set[str] = set()
    try:
        while stage := cohort.server.stage:
            gone |= {name for name, fate in zip(cohort.ids, fates, strict=False) if fate == stage}
            answered = set(cohort.step(silent=gone))
            if stage == "mask":
                in_sum = answered
    except ProtocolError as error:
        assert error.code in ("too-few-clients", "cohort-too-small", "cohort-infeasible", "shares-lost")
        with pytest.raises(ProtocolError, match="sum-not-open"):
            cohort.server.sum()
        return
    opened = cohort.server.sum()
    assert set(opened.survivors) == in_sum
    assert np.array_equal(opened.vector, cohort.expected(in_sum))


@pytest.mark.parametrize(("n", "tolerated"), [(3, 0), (4, 0), (5, 1), (6, 1), (10, 3)])
def test_the_stated_number_of_dropouts_is_tolerated_and_one_more_opens_nothing(
    n: int, tolerated: int
) -> None:
    policy = Policy(max_clients=10, min_survivors=3)
    assert threshold(policy, n).tolerated == tolerated
    for stage in ("mask", "reveal"):
        for extra in (0, 1):
            cohort = Cohort(n, policy=policy)
            cohort.run_to(stage)
            silent = cohort.ids[: tolerated + extra]
            if extra:
                with pytest.raises(TooFewClients):
                    while cohort.server.stage:
                        cohort.step(silent)
            else:
                while cohort.server.stage:
                    cohort.step(silent)
                cohort.server.sum()


def test_a_masked_vector_that_comes_after_its_sender_was_counted_out_is_refused() -> None:
    cohort = Cohort(5)
    cohort.run_to("mask")
    late = cohort.ids[2]
    replies = cohort.ask()
    for name, reply in replies.items():
        if name != late:
            cohort.server.receive(name, reply)
    cohort.server.advance()
    with pytest.raises(ClientFault, match="reply-unexpected"):
        cohort.server.receive(late, replies[late])
    while cohort.server.stage:
        cohort.step(silent=(late,))
    others = [name for name in cohort.ids if name != late]
    assert np.array_equal(cohort.server.sum().vector, cohort.expected(others))


def test_two_clients_that_vanish_at_different_stages_are_both_recovered() -> None:
    for first, second in combinations(range(7), 2):
        cohort = Cohort(7, policy=Policy(7, 3))
        cohort.run_to("mask")
        cohort.step(silent=(cohort.ids[first],))
        while cohort.server.stage:
            cohort.step(silent=(cohort.ids[first], cohort.ids[second]))
        others = [name for name in cohort.ids if name != cohort.ids[first]]
        assert np.array_equal(cohort.server.sum().vector, cohort.expected(others))
