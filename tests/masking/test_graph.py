"""The graph is regular, connected, the same for everyone, and its permutation is fair."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import ProtocolError
from secagg.masking.graph import neighbours, permutation
from secagg.prg import expand
from tests.chi_square import looks_uniform
from tests.vectors import reference

seeds = st.binary(min_size=32, max_size=32)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, int]:
    """(n, k): an even degree, or a complete graph."""
    n = draw(st.integers(2, 60))
    return n, draw(st.sampled_from([n - 1, *range(2, n, 2)]))


@given(seeds, st.integers(0, 200))
def test_a_permutation_holds_every_position_once(seed: bytes, n: int) -> None:
    assert sorted(permutation(seed, n)) == list(range(n))


@given(seeds, st.integers(1, 80))
def test_the_permutation_is_the_one_of_the_second_implementation(seed: bytes, n: int) -> None:
    assert permutation(seed, n) == reference.permutation(seed, n)


def test_all_permutations_of_four_are_equally_likely() -> None:
    raw = expand(bytes(32), 8 * 2400, "<u4").tobytes()
    drawn = Counter(tuple(permutation(raw[at : at + 32], 4)) for at in range(0, len(raw), 32))
    assert len(drawn) == 24
    places = {order: place for place, order in enumerate(sorted(drawn))}
    assert looks_uniform([places[order] for order, count in drawn.items() for _ in range(count)], 24)


@given(seeds, graphs())
def test_everyone_has_k_neighbours_and_is_theirs(seed: bytes, graph: tuple[int, int]) -> None:
    n, k = graph
    edges = {one: neighbours(n, k, one, seed) for one in range(n)}
    for one, others in edges.items():
        assert len(others) == len(set(others)) == k
        assert list(others) == sorted(others)
        assert one not in others
        assert all(one in edges[other] for other in others)


@given(seeds, graphs())
def test_the_graph_stays_connected_when_fewer_than_k_vanish(seed: bytes, graph: tuple[int, int]) -> None:
    """A Harary graph of degree k is k-connected; here the k - 1 next to one client go."""
    n, k = graph
    edges = {one: set(neighbours(n, k, one, seed)) for one in range(n)}
    gone = set(sorted(edges[0])[: k - 1])
    left = set(range(n)) - gone
    reached, frontier = {0}, {0}
    while frontier:
        frontier = set().union(*(edges[one] for one in frontier)) & left - reached
        reached |= frontier
    assert reached == left


@given(seeds, graphs())
def test_the_edges_are_those_of_the_second_implementation(seed: bytes, graph: tuple[int, int]) -> None:
    n, k = graph
    if k == n - 1:
        expected = {(a, b) for a in range(n) for b in range(n) if a != b}
    else:
        expected = reference.ring_edges(reference.permutation(seed, n), k)
    assert {(one, other) for one in range(n) for other in neighbours(n, k, one, seed)} == expected


def test_another_seed_is_another_graph() -> None:
    graphs = {tuple(neighbours(40, 6, one, bytes([byte]) * 32) for one in range(40)) for byte in range(20)}
    assert len(graphs) == 20


@pytest.mark.parametrize(("n", "k"), [(5, 0), (5, 3), (5, 5), (5, 6), (6, -2), (6, 3), (1, 2)])
def test_a_degree_that_no_such_graph_has_is_refused(n: int, k: int) -> None:
    with pytest.raises(ProtocolError) as refused:
        neighbours(n, k, 0, bytes(32))
    assert refused.value.code == "graph-degree"
