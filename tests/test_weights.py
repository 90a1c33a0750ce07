"""Named arrays and the one vector they make: what is aggregated, in which order, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.errors import UpdateError
from secagg.weights import BLOCK, Array, Layout, digest, from_bytes, is_aggregated, load, save, to_bytes
from tests.arrays import arrays, laid_out, models

MODEL = {"a": np.zeros((2, 3), "f4"), "b": np.zeros(4, "f8")}


def vector(layout: Layout, given: dict[str, Array], base: dict[str, Array] | None = None) -> list[float]:
    out = np.full(layout.size, np.nan)
    for _, where, values in layout.blocks(given, base):
        out[where] = values
    return out.tolist()


@given(models())
def test_the_vector_holds_every_array_sorted_by_name_and_row_by_row(model: dict[str, Array]) -> None:
    layout = Layout.of(model)
    expected = [float(value) for name in sorted(model) for value in model[name].flatten()]
    assert vector(layout, model) == expected
    assert layout.size == len(expected)
    assert layout == Layout.of(dict(reversed(model.items())))
    layout.check(model)


@given(models())
def test_a_base_is_subtracted_in_double_precision(model: dict[str, Array]) -> None:
    layout = Layout.of(model)
    assert vector(layout, model, model) == [0.0] * layout.size
    ones = {name: np.ones_like(array) for name, array in model.items()}
    assert vector(layout, model, ones) == [value - 1.0 for value in vector(layout, model)]


def test_a_large_array_comes_in_blocks_that_cover_it_once() -> None:
    model = {"w": np.arange(2 * BLOCK + 7, dtype=np.float32)}
    layout = Layout.of(model)
    places = [where for _, where, _ in layout.blocks(model)]
    assert [(where.start, where.stop) for where in places] == [
        (0, BLOCK),
        (BLOCK, 2 * BLOCK),
        (2 * BLOCK, 2 * BLOCK + 7),
    ]
    assert vector(layout, model) == model["w"].tolist()


def test_blocks_are_new_arrays() -> None:
    model = {"w": np.ones(5)}
    for _, _, values in Layout.of(model).blocks(model):
        values *= 7
    assert model["w"].tolist() == [1.0] * 5


def test_integer_and_local_arrays_stay_at_home() -> None:
    model = {
        "head.weight": np.ones(3, "f4"),
        "head.bias": np.ones(2, "f4"),
        "body": np.ones(4, "f2"),
        "steps": np.ones(1, "i8"),
        "mask": np.ones(1, "?"),
    }
    assert Layout.of(model, ["head.*"]).names == {"body"}
    assert Layout.of(model, ["*.bias", "body"]).names == {"head.weight"}
    assert Layout.of(model).names == {"head.weight", "head.bias", "body"}
    assert is_aggregated("Head.bias", model["head.bias"], ["head.*"])  # patterns know upper case
    assert not is_aggregated("steps", model["steps"], [])


def test_a_masked_array_counts_with_the_values_it_holds() -> None:
    masked = np.ma.MaskedArray([1.0, 2.0, 3.0], mask=[False, True, False])
    assert vector(Layout.of({"w": np.zeros(3)}), {"w": masked}) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("model", "local", "code"),
    [
        ({}, (), "weights-empty"),
        ({"n": np.zeros(3, "i4")}, (), "weights-empty"),
        ({"w": np.zeros(3)}, ("w",), "weights-empty"),
        ({"w": np.zeros((3, 0))}, (), "weights-empty"),
        ({"w": [1.0, 2.0]}, (), "weights-not-arrays"),
        ({"w": np.float64(1.0)}, (), "weights-not-arrays"),
    ],
)
def test_a_model_with_nothing_to_aggregate_is_refused(
    model: dict[str, Any], local: tuple[str, ...], code: str
) -> None:
    with pytest.raises(UpdateError) as refused:
        Layout.of(model, local)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"a": None}, "update-missing"),
        ({"c": np.zeros(2)}, "update-extra"),
        ({"a": np.zeros((3, 2), "f4")}, "update-shape"),
        ({"a": np.zeros(6, "f4")}, "update-shape"),
        ({"a": np.zeros((2, 3), "i4")}, "update-dtype"),
        ({"a": np.zeros((2, 3), "c8")}, "update-dtype"),
        ({"a": np.zeros((2, 3), object)}, "update-dtype"),
        ({"a": [[0.0] * 3] * 2}, "update-not-arrays"),
        ({"extra": 3}, "update-not-arrays"),
        ({"b": np.array([0, np.nan, 0, 0])}, "update-not-finite"),
        ({"b": np.array([0, 0, 0, np.inf])}, "update-not-finite"),
        ({"a": np.full((2, 3), -np.inf, "f4")}, "update-not-finite"),
    ],
)
def test_an_update_that_is_not_the_models_is_refused(change: dict[str, Any], code: str) -> None:
    update = {name: array for name, array in {**MODEL, **change}.items() if array is not None}
    with pytest.raises(UpdateError) as refused:
        Layout.of(MODEL).check(update)
    assert refused.value.code == code


def test_what_stays_at_home_is_not_checked() -> None:
    update = {**MODEL, "n": np.zeros(9, "i8"), "my.own": np.full(2, np.nan)}
    Layout.of(MODEL).check(update, ["my.*"])


def test_another_floating_dtype_is_accepted() -> None:
    Layout.of(MODEL).check({"a": np.zeros((2, 3), "f8"), "b": np.zeros(4, "f2")})


# -- digests and documents ----------------------------------------------------------------------------


@given(models(), st.sampled_from(["C", "F", "strided", "reversed"]))
def test_the_digest_is_of_the_values_and_not_of_the_memory(model: dict[str, Array], order: str) -> None:
    other = {
        name: laid_out(array.astype(array.dtype.newbyteorder()), order)
        for name, array in reversed(model.items())
    }
    assert digest(model) == digest(other)


def test_the_digest_is_of_every_name_dtype_shape_and_byte() -> None:
    one = np.array([[1.0, 2.0]], "f4")
    variants = [
        {"w": one},
        {"v": one},
        {"w": one.astype("f8")},
        {"w": one.view("i4")},
        {"w": one.reshape(2, 1)},
        {"w": one.reshape(2)},
        {"w": np.array([[1.0, np.nextafter(np.float32(2), np.float32(3))]], "f4")},
        {"w": one, "x": np.zeros(0)},
        {"w": one, "steps": np.zeros(1, "i8")},
        {"w": one, "steps": np.ones(1, "i8")},
        {},
    ]
    assert len({digest(model) for model in variants}) == len(variants)
    assert digest({"w": np.array(0.0)}) != digest({"w": np.array(-0.0)})


@given(st.dictionaries(st.sampled_from(["a", "b", "ü.1"]), arrays(), max_size=3))
def test_a_document_gives_back_the_model(model: dict[str, Array]) -> None:
    got = from_bytes(to_bytes(model))
    assert digest(got) == digest(model)
    assert {name: array.shape for name, array in got.items()} == {
        name: array.shape for name, array in model.items()
    }
    assert digest(from_bytes(bytearray(to_bytes(model)))) == digest(model)


def test_a_file_gives_back_the_model(tmp_path: Path) -> None:
    model = {**MODEL, "n": np.arange(3), "scalar": np.array(2.5, "f2"), "none": np.zeros((0, 2))}
    save(tmp_path / "m.safetensors", model)
    assert digest(load(tmp_path / "m.safetensors")) == digest(model)
    assert (tmp_path / "m.safetensors").read_bytes() == to_bytes(model)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "missing")


@settings(max_examples=200)
@given(
    st.binary(max_size=60)
    | st.binary(max_size=40).map(lambda header: bytes([len(header), *bytes(7)]) + header)
)
def test_bytes_that_are_no_document_are_refused(data: bytes) -> None:
    try:
        assert from_bytes(data) == {}
    except UpdateError as error:
        assert error.code == "weights-malformed"


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "F32", "nonsense"])
@pytest.mark.parametrize("shape", ["[1]", "[2,2]", "[]", "[-1]", "[99999999999]"])
def test_a_header_that_does_not_describe_its_bytes_is_refused(dtype: str, shape: str) -> None:
    header = f'{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,3]}}}}'.encode()
    with pytest.raises(UpdateError) as refused:
        from_bytes(len(header).to_bytes(8, "little") + header + bytes(3))
    assert refused.value.code == "weights-malformed"


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "F8_E5M2"])
def test_a_dtype_that_numpy_does_not_have_is_refused(dtype: str) -> None:
    size = 2 if dtype == "BF16" else 1
    header = f'{{"w":{{"dtype":"{dtype}","shape":[1],"data_offsets":[0,{size}]}}}}'.encode()
    with pytest.raises(UpdateError) as refused:
        from_bytes(len(header).to_bytes(8, "little") + header + bytes(size))
    assert refused.value.code == "weights-malformed"


def test_a_document_damaged_in_any_byte_is_refused_as_such_or_read() -> None:
    whole = to_bytes({"w": np.arange(4, dtype="f4")})
    for at in range(len(whole)):
        for change in (1, 0x20, 0x80, 0xFF):
            data = bytearray(whole)
            data[at] ^= change
            try:
                from_bytes(data)
            except UpdateError as error:
                assert error.code == "weights-malformed"


def test_the_arrays_of_a_document_always_come_in_the_same_order() -> None:
    """The library's own order differs from one reading to the next, and a train function may count on one."""
    document = to_bytes({name: np.full(2, index) for index, name in enumerate("edcba")})
    assert {tuple(from_bytes(document)) for _ in range(50)} == {tuple("abcde")}
