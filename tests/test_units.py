"""Durations, sizes and rates as strings with units."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.units import (
    format_duration,
    format_rate,
    format_size,
    parse_duration,
    parse_rate,
    parse_size,
    written,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0s", 0.0), ("250ms", 0.25), ("10m", 600.0), ("1h30m", 5400.0), ("1.5h", 5400.0), ("1d1ms", 86400.001)],
)
def test_a_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "10", "m", "10 m", "-1s", "30m1h", "1m1m", "1e3s", "1,5h", "10min", "١s", "1" * 99 + "s", 10, None],
)
def test_what_is_not_a_duration_is_refused_in_plain_words(text: object) -> None:
    with pytest.raises(ValueError, match='a duration with units, such as "10m"'):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0B", 0),
        ("10MB", 10**7),
        ("1.5kB", 1500),
        ("2KB", 2000),
        ("16MiB", 2**24),
        ("1GiB", 2**30),
        ("1GB", 10**9),
    ],
)
def test_decimal_and_binary_sizes_differ(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "10", "1Mb", "1mb", "1 MB", "-1MB", "1TB/s", 10, True])
def test_what_is_not_a_size_is_refused_in_plain_words(text: object) -> None:
    with pytest.raises(ValueError, match="a size with a unit"):
        parse_size(text)


def test_half_a_byte_is_refused() -> None:
    with pytest.raises(ValueError, match="not a whole number of bytes"):
        parse_size("0.5B")


@pytest.mark.parametrize("text", ["1MB", "1MB/m", 3, ""])
def test_a_rate_is_a_size_per_second(text: object) -> None:
    assert parse_rate("1MB/s") == 1_000_000
    with pytest.raises(ValueError, match="a rate"):
        parse_rate(text)


@given(st.floats(min_value=0, max_value=4e7, allow_subnormal=False).filter(lambda x: x == 0 or x > 1e-9))
def test_a_duration_survives_its_canonical_spelling_to_the_last_bit(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.integers(min_value=0, max_value=2**60))
def test_sizes_and_rates_survive_their_canonical_spelling(size: int) -> None:
    assert parse_size(format_size(size)) == size
    assert parse_rate(format_rate(size)) == size


def test_canonical_spellings_are_the_ones_people_write() -> None:
    assert [format_duration(seconds) for seconds in (0.0, 0.25, 30.0, 600.0, 5400.0)] == [
        "0s",
        "250ms",
        "30s",
        "10m",
        "1h30m",
    ]
    assert [format_size(size) for size in (0, 1500, 10**6, 2**20)] == ["0B", "1500B", "1MB", "1MiB"]


def test_a_written_share_is_taken_at_its_word() -> None:
    assert written(0.1) * 10 == 1
    assert 1 - 2 * written(0.45) == written(0.1)
