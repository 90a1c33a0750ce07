"""Loaders of files from a folder, on tiny files of the same form."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg_attacks.data.errors import DataError
from secagg_attacks.data.folders import cifar10, cifar100, fashion_mnist, shakespeare

Bytes = npt.NDArray[np.uint8]


def drawn(*shape: int, below: int = 256) -> Bytes:
    return np.random.default_rng(0).integers(0, below, size=shape).astype(np.uint8)


def idx(array: Bytes) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def clothes(folder: Path, count: int = 5, prefix: str = "train") -> tuple[Bytes, Bytes]:
    pixels, labels = drawn(count, 28, 28), drawn(count, below=10)
    (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx(pixels))
    (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(labels))
    return pixels, labels


def coloured(path: Path, count: int, *before: int) -> tuple[Bytes, Bytes]:
    """Labels (count, len(before)), each below its bound, in front of the pixels of every picture."""
    pixels = drawn(count, 3, 32, 32)
    labels = np.stack([drawn(count, below=bound) for bound in before], axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(np.concatenate([labels, pixels.reshape(count, -1)], axis=1).tobytes())
    return pixels, labels


def refused(code: str, load: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(DataError) as error:
        load(*arguments)
    assert error.value.code == code
    return error.value.message


def test_clothes_are_read_from_idx_files_with_pixels_from_0_to_1(tmp_path: Path) -> None:
    pixels, labels = clothes(tmp_path)
    clothes(tmp_path, 2, "t10k")

    data = fashion_mnist(tmp_path)

    assert (data.x.shape, data.x.dtype, data.y.dtype) == ((5, 1, 28, 28), np.float32, np.int64)
    assert np.array_equal(np.round(data.x[:, 0] * 255), pixels)
    assert data.y.tolist() == labels.tolist()
    assert len(fashion_mnist(tmp_path, "test").x) == 2


def test_packed_files_are_read_as_they_come(tmp_path: Path) -> None:
    pixels, labels = clothes(tmp_path)
    for path in list(tmp_path.iterdir()):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()

    data = fashion_mnist(tmp_path, count=3)

    assert np.array_equal(np.round(data.x[:, 0] * 255), pixels[:3])
    assert data.y.tolist() == labels[:3].tolist()


@pytest.mark.parametrize("archive", ["", "cifar-10-batches-bin"])
def test_cifar10_is_its_five_batches_in_order(tmp_path: Path, archive: str) -> None:
    parts = [coloured(tmp_path / archive / f"data_batch_{part}.bin", part, 10) for part in range(1, 6)]
    coloured(tmp_path / archive / "test_batch.bin", 4, 10)

    data = cifar10(tmp_path)

    assert np.array_equal(np.round(data.x * 255), np.concatenate([pixels for pixels, _ in parts]))
    assert data.y.tolist() == np.concatenate([labels[:, 0] for _, labels in parts]).tolist()
    assert cifar10(tmp_path, "test").x.shape == (4, 3, 32, 32)


def test_cifar100_takes_the_fine_label_of_the_two(tmp_path: Path) -> None:
    pixels, labels = coloured(tmp_path / "cifar-100-binary" / "train.bin", 6, 20, 100)

    data = cifar100(tmp_path)

    assert np.array_equal(np.round(data.x * 255), pixels)
    assert data.y.tolist() == labels[:, 1].tolist()


@pytest.mark.parametrize("load", [fashion_mnist, cifar10, cifar100, shakespeare])
def test_an_empty_folder_is_told_by_the_names_of_all_that_is_expected(
    tmp_path: Path, load: Callable[..., object]
) -> None:
    expected = {
        "fashion_mnist": ["train-images-idx3-ubyte[.gz]", "train-labels-idx1-ubyte[.gz]"],
        "cifar10": [f"data_batch_{part}.bin" for part in range(1, 6)],
        "cifar100": ["train.bin"],
        "shakespeare": ["shakespeare.txt or input.txt"],
    }

    said = refused("dataset-missing", load, tmp_path)

    assert all(name in said for name in expected[load.__name__])
    assert str(tmp_path) in said


def test_what_is_there_is_not_called_missing(tmp_path: Path) -> None:
    coloured(tmp_path / "data_batch_3.bin", 1, 10)

    assert "data_batch_3.bin" not in refused("dataset-missing", cifar10, tmp_path)


@pytest.mark.parametrize("cut", [1, 20])
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, cut: int) -> None:
    clothes(tmp_path)
    coloured(tmp_path / "train.bin", 2, 20, 100)
    for path in tmp_path.iterdir():
        if "labels" not in path.name:
            path.write_bytes(path.read_bytes()[:-cut])

    assert "holds" in refused("dataset-malformed", fashion_mnist, tmp_path)
    assert "3074" in refused("dataset-malformed", cifar100, tmp_path)


def test_bytes_behind_the_end_are_refused(tmp_path: Path) -> None:
    clothes(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes() + b"\0")

    assert "more" in refused("dataset-malformed", fashion_mnist, tmp_path)


@pytest.mark.parametrize(
    "header", [b"", b"\0\0\x08\x03", b"\0\0\x0d\x03" + bytes(12), b"\0\0\x08\x01" + bytes(12), b"\x80\x04PK"]
)
def test_what_is_no_idx_file_of_bytes_is_refused(tmp_path: Path, header: bytes) -> None:
    clothes(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(header)

    assert "idx" in refused("dataset-malformed", fashion_mnist, tmp_path)


def test_a_header_that_claims_more_than_memory_holds_is_refused(tmp_path: Path) -> None:
    clothes(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + b"\xff" * 12 + bytes(100))

    refused("dataset-malformed", fashion_mnist, tmp_path)


def test_what_cannot_be_unpacked_is_refused(tmp_path: Path) -> None:
    clothes(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    packed = gzip.compress(path.read_bytes())
    path.unlink()
    for damaged in (b"no gzip", packed[: len(packed) // 2], packed[:12] + bytes(len(packed) - 12)):
        (tmp_path / f"{path.name}.gz").write_bytes(damaged)
        refused("dataset-malformed", fashion_mnist, tmp_path)


def test_labels_of_another_number_of_images_are_refused(tmp_path: Path) -> None:
    clothes(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(drawn(4, below=10)))

    assert "4 labels of 5 images" in refused("dataset-malformed", fashion_mnist, tmp_path)


@pytest.mark.parametrize("count", [0, -1, 6])
def test_more_examples_than_there_are_is_refused(tmp_path: Path, count: int) -> None:
    clothes(tmp_path)

    assert str(count) in refused("dataset-count", fashion_mnist, tmp_path, "train", count)


def test_a_part_that_there_is_not_is_refused(tmp_path: Path) -> None:
    for load in (fashion_mnist, cifar10, cifar100):
        refused("dataset-part", load, tmp_path, "validation")


@given(st.text(st.characters(codec="utf-8"), min_size=4, max_size=60), st.integers(1, 3))
def test_windows_and_what_follows_them_spell_the_text(text: str, length: int) -> None:
    with TemporaryDirectory() as folder:
        (Path(folder) / "shakespeare.txt").write_bytes(text.encode())
        data = shakespeare(folder, length)

    spelled = ["".join(data.alphabet[code] for code in window) for window in data.codes]
    assert "".join(spelled) == text[: len(spelled) * length]
    assert [data.alphabet[code] for code in data.y] == [text[(at + 1) * length] for at in range(len(spelled))]
    assert len(spelled) == (len(text) - 1) // length
    assert np.array_equal(data.one_hot.argmax(axis=2), data.codes)


def test_a_text_of_either_name_is_read(tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_text("To be, or not to be", encoding="utf-8")

    data = shakespeare(tmp_path, length=6, count=2)

    assert data.codes.shape == (2, 6)
    assert [data.alphabet[code] for code in data.y] == [" ", "t"]


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"short"])
def test_a_text_that_is_none_or_too_short_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "shakespeare.txt").write_bytes(content)

    refused("dataset-malformed", shakespeare, tmp_path)
