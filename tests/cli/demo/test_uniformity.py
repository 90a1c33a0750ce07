"""The chi-squared statement under the histograms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.cli.demo.uniformity import Uniformity, counts, tail_probability, uniformity


@given(bits=st.integers(8, 64), seed=st.integers(0, 1000))
def test_the_bins_are_equal_parts_of_the_ring_from_the_most_negative_up(bits: int, seed: int) -> None:
    dtype = np.uint32 if bits <= 32 else np.uint64
    lows = [(i << (bits - 6)) % (1 << bits) for i in range(-32, 32)]
    highs = [(low + (1 << (bits - 6)) - 1) for low in lows]
    np.testing.assert_array_equal(counts(np.array(lows + highs, dtype=dtype), bits), 2)
    some = np.random.default_rng(seed).integers(0, 1 << bits, 100, dtype=np.uint64).astype(dtype)
    assert counts(some, bits).sum() == 100


def test_bits_above_the_ring_do_not_count() -> None:
    assert counts(np.array([5 + (7 << 20)], dtype=np.uint32), 20)[32] == 1


@pytest.mark.parametrize(
    ("statistic", "p_value"),
    [(40.0, 0.98944), (63.0, 0.47632), (82.529, 0.05), (92.010, 0.01), (103.442, 0.001)],
)
def test_the_tail_probability_is_that_of_the_tables(statistic: float, p_value: float) -> None:
    assert tail_probability(statistic, 63) == pytest.approx(p_value, rel=0.03)


def test_the_statistic_is_pearsons() -> None:
    sizes = np.full(64, 100)
    sizes[[3, 60]] = 90, 110
    found = uniformity(np.repeat(np.arange(64, dtype=np.uint32) << 20, sizes), 26)
    assert (found.statistic, found.degrees) == (pytest.approx(2.0), 63)


def test_uniform_vectors_are_doubted_as_often_as_they_should_be() -> None:
    rng = np.random.default_rng(0)
    found = [uniformity(rng.integers(0, 1 << 26, 2500, dtype=np.uint32), 26).p_value for _ in range(2000)]
    for level in (0.01, 0.1, 0.5, 0.9):
        assert np.mean(np.array(found) < level) == pytest.approx(level, abs=4 * (level / 2000) ** 0.5)


def test_a_narrow_vector_is_not_uniform() -> None:
    found = uniformity(np.arange(2500, dtype=np.uint32), 26)
    assert not found.plausible and "p < 1e-99" in str(found)


def test_it_reads_as_a_sentence() -> None:
    assert str(Uniformity(70.3, 63, 0.2461)) == "χ² = 70 on 63 degrees of freedom, p = 0.25"
