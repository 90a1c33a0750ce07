"""No sum can wrap: every coordinate keeps its bound, and the ring is sized for a whole cohort at it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.encoding.codec import Settings
from secagg.encoding.ring import centred, word
from secagg.errors import EncodingError
from tests.encoding.contributions import codec, encode, mean_of, whole

clips = st.floats(2**-10, 2**10)
precisions = st.floats(2**-30, 2**-2)


@given(
    clips,
    precisions,
    st.integers(1, 2**12),
    st.booleans(),
    st.integers(1, 1000),
    st.sampled_from([1.0, -1.0]),
)
def test_a_whole_cohort_at_the_bound_adds_up_exactly_and_wraps_with_one_bit_less(
    clip: float, precision: float, clients: int, by_examples: bool, max_examples: int, sign: float
) -> None:
    """One coordinate far beyond its norm, the largest example weight, every client the same."""
    model = {"w": np.array([sign * 1e30])}
    coder = codec(
        model,
        max_clients=clients,
        clip_norm=clip,
        precision=precision,
        by_examples=by_examples,
        max_examples=max_examples,
    )
    settings = coder.settings
    encoded = encode(coder, model, num_examples=10**9)
    values = np.array(whole(coder, encoded), dtype=object)
    assert abs(values[0]) in (math.floor(settings.scale * clip), math.ceil(settings.scale * clip))
    assert max(map(abs, values)) <= settings.largest
    total = encoded.vector * word(coder.bits).type(clients)  # n additions, modulo the word
    assert centred(total, coder.bits).tolist() == (values * clients).tolist()

    extreme = np.full(coder.length, int(sign) * settings.largest, dtype=np.int64).astype(word(coder.bits))
    total = extreme * word(coder.bits).type(clients)
    exact = int(sign) * settings.largest * clients
    assert centred(total, coder.bits).tolist() == [exact] * coder.length
    if coder.bits > 8 and not (sign < 0 and settings.largest * clients == 2 ** (coder.bits - 2)):
        assert centred(total, coder.bits - 1)[0] != exact


@given(st.integers(1, 2**20), st.integers(0, 20), st.booleans())
def test_an_exact_bound_is_reached_to_the_bit(numerator: int, places: int, by_examples: bool) -> None:
    """Norms that are whole steps round to q_max itself, with either sign."""
    clip = numerator * 2.0**-places
    model = {"w": np.array([1e30])}
    coder = codec(model, clip_norm=clip, precision=2.0**-places, by_examples=by_examples, max_examples=7)
    for sign in (1, -1):
        values = whole(coder, encode(coder, {"w": sign * model["w"]}, num_examples=7))
        assert values[0] == sign * numerator


@pytest.mark.parametrize("by_examples", [False, True])
def test_the_last_cohort_that_fits_is_accepted_and_one_more_is_refused(by_examples: bool) -> None:
    settings: dict[str, Any] = {
        "clip_norm": 4.0,
        "precision": 2.0**-45,
        "by_examples": by_examples,
        "max_examples": 2**20,
    }
    last = (2**63 - 1) // 2**47
    assert Settings(max_clients=last, **settings).bits == 64
    with pytest.raises(EncodingError) as refused:
        _ = Settings(max_clients=last + 1, **settings).bits
    assert refused.value.code == "ring-overflow"
    model = {"w": np.array([-1e9])}
    coder = codec(model, **{**settings, "max_clients": last})
    encoded = encode(coder, model, num_examples=2**20)
    total = encoded.vector * np.uint64(last)
    assert centred(total, 64)[0] == -last * 2**47
    assert mean_of(coder.decode(total))["w"].tolist() == pytest.approx([-4.0])


@pytest.mark.parametrize(
    "settings",
    [
        {"clip_norm": 1.0, "precision": 2.0**-53},
        {"clip_norm": 2.0**20, "precision": 2.0**-33},
        {"clip_norm": 1.0, "precision": 1e-320},
        {"clip_norm": 1e300, "precision": 1e-300},
        {"clip_norm": 1.0, "groups": (("head*", 2.0**40),)},
    ],
)
def test_steps_too_fine_for_double_precision_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(EncodingError) as refused:
        _ = Settings(max_clients=2, **settings).bits
    assert refused.value.code == "precision-too-fine"
    assert Settings(max_clients=2, clip_norm=1.0, precision=2.0**-52).largest == 2**52


@given(st.floats(1e-300, 1e3))
def test_the_scale_is_the_smallest_power_of_two_with_steps_within_the_precision(precision: float) -> None:
    scale = Settings(max_clients=2, precision=precision).scale
    assert scale.bit_count() == 1
    assert 1 / scale <= precision
    assert scale == 1 or 2 / scale > precision


@given(
    st.floats(2**-8, 2**8),
    st.lists(st.floats(2**-8, 2**8), max_size=3),
    st.integers(1, 10**6),
    st.booleans(),
    st.floats(2**-20, 1.0),
)
def test_no_coordinate_is_ever_beyond_the_largest(
    clip: float, groups: list[float], max_examples: int, by_examples: bool, precision: float
) -> None:
    model = {f"{i}": np.array([3e10, -2e10]) for i in range(4)}
    coder = codec(
        model,
        clip_norm=clip,
        groups=tuple((f"{i}", norm) for i, norm in enumerate(groups)),
        max_examples=max_examples,
        by_examples=by_examples,
        precision=precision,
        ranges=(("loss", -3.0, 9.0),),
    )
    encoded = encode(coder, model, num_examples=max_examples, metrics={"loss": 1e9})
    assert max(map(abs, whole(coder, encoded))) <= coder.settings.largest
    assert coder.settings.max_clients * coder.settings.largest < 2 ** (coder.bits - 1)


def test_the_bound_holds_where_double_precision_itself_rounds_beyond_it() -> None:
    """Near 2^52 one unit in the last place is half a step, and x * (norm / x) may lie above the norm."""
    norm, scale = 3.0, 2.0**50
    coder = codec({"w": np.zeros(1)}, clip_norm=norm, precision=1 / scale)
    values = np.random.default_rng(0).uniform(3, 100, size=500)
    assert (values * (norm / values) > norm).any()
    rounded = [whole(coder, encode(coder, {"w": values[i : i + 1]}, seed=i))[0] for i in range(len(values))]
    assert max(rounded) == coder.settings.largest == 3 * 2**50
