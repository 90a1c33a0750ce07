"""Larger data, read from the files that their authors publish, in a folder: nothing is downloaded.

    fashion_mnist   28x28 grey pictures of clothes, 10 kinds (Xiao, Rasul, Vollgraf 2017): idx files, as they
                    come (.gz) or unpacked
    cifar10         32x32 colour pictures of 10 kinds (Krizhevsky 2009), the binary version
    cifar100        the same of 100 kinds
    shakespeare     text, in windows of characters with the one that follows (after Karpathy 2015)

CIFAR's other version is made of pickles, which run whatever code is in them, and is not read. Files may lie
in the folder itself or in the one that their archive makes.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from secagg_attacks.data.errors import DataError

__all__ = ["Characters", "Part", "Pictures", "cifar10", "cifar100", "fashion_mnist", "shakespeare"]

Part: TypeAlias = Literal["train", "test"]
_Files = TypeVar("_Files")

_COLOUR: Final = (3, 32, 32)
_MOST: Final = 1 << 30
"""Bytes of one file's pixels: some twenty times the largest of these sets."""
_UNSIGNED_BYTES: Final = 8
_IDX: Final[Mapping[str, str]] = MappingProxyType({"train": "train", "test": "t10k"})
_CIFAR10: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"train": tuple(f"data_batch_{part}.bin" for part in range(1, 6)), "test": ("test_batch.bin",)}
)
_TEXTS: Final = ("shakespeare.txt", "input.txt")


@dataclass(frozen=True, eq=False)
class Pictures:
    """x: float32 (n, channels, height, width) from 0 to 1, a Target's `image`. y: int64 (n,)."""

    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Characters:
    """Windows that do not overlap. codes: int64 (n, length), each a place in `alphabet`. y: int64 (n,), the
    character that follows a window. alphabet: all characters of the text, sorted."""

    codes: npt.NDArray[np.int64]
    y: npt.NDArray[np.int64]
    alphabet: str

    @property
    def one_hot(self) -> npt.NDArray[np.float32]:
        """float32 (n, length, characters): what a Target, whose inputs are floating, takes as tabular."""
        return np.eye(len(self.alphabet), dtype=np.float32)[self.codes]


def fashion_mnist(folder: str | Path, part: Part = "train", count: int | None = None) -> Pictures:
    """(n, 1, 28, 28): the first `count` of 60 000 to train on, or of 10 000 to test; None for all. MNIST has
    the same files.

    Raises DataError `dataset-missing`, `dataset-malformed`, `dataset-part`, `dataset-count`.
    """
    prefix = _of_part(_IDX, part)
    images, labels = _found(
        Path(folder), "", (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"), also=".gz"
    )
    pixels, y = _idx(images, 3), _idx(labels, 1)
    if len(pixels) != len(y):
        raise _malformed(labels, f"{len(y)} labels of {len(pixels)} images")
    return _pictures(pixels[:, None], y, count)


def cifar10(folder: str | Path, part: Part = "train", count: int | None = None) -> Pictures:
    """(n, 3, 32, 32): the first `count` of 50 000 to train on, or of 10 000 to test. Raises as
    fashion_mnist."""
    return _cifar(_found(Path(folder), "cifar-10-batches-bin", _of_part(_CIFAR10, part)), 1, count)


def cifar100(folder: str | Path, part: Part = "train", count: int | None = None) -> Pictures:
    """The same of 100 kinds, the fine labels. Raises as fashion_mnist."""
    name = _of_part({"train": "train.bin", "test": "test.bin"}, part)
    return _cifar(_found(Path(folder), "cifar-100-binary", (name,)), 2, count)


def shakespeare(folder: str | Path, length: int = 80, count: int | None = None) -> Characters:
    """The first `count` windows of a text, shakespeare.txt or input.txt, in UTF-8.

    Raises DataError `dataset-missing`, `dataset-malformed` (no UTF-8, or shorter than a window),
    `dataset-count`.
    """
    if length < 1:
        raise DataError("dataset-count", f"windows of {length} characters", "1 or more")
    path = next((found for name in _TEXTS if (found := Path(folder) / name).is_file()), None)
    if path is None:
        raise _missing(Path(folder), [" or ".join(_TEXTS)])
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise _malformed(path, "no UTF-8") from error
    windows = (len(text) - 1) // length
    if windows < 1:
        raise _malformed(path, f"{len(text)} characters, and a window and what follows are {length + 1}")
    alphabet = "".join(sorted(set(text)))
    place = {character: index for index, character in enumerate(alphabet)}
    codes = np.array([place[character] for character in text[: windows * length + 1]], dtype=np.int64)
    kept = slice(_checked(count, windows))
    return Characters(codes[:-1].reshape(windows, length)[kept], codes[length::length][kept], alphabet)


def _cifar(paths: Sequence[Path], labels: int, count: int | None) -> Pictures:
    """labels: bytes of labels before a picture's pixels; the last is the one that is taken."""
    record = labels + int(np.prod(_COLOUR))
    parts = []
    for path in paths:
        data = path.read_bytes()
        if not data or len(data) % record:
            raise _malformed(path, f"{len(data)} bytes, and a picture with its label is {record}")
        parts.append(np.frombuffer(data, dtype=np.uint8).reshape(-1, record))
    rows = np.concatenate(parts)
    return _pictures(rows[:, labels:].reshape(-1, *_COLOUR), rows[:, labels - 1], count)


def _idx(path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """The array of an idx file of unsigned bytes (yann.lecun.com/exdb/mnist, "the IDX file format")."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            header = stream.read(4 + 4 * dimensions)
            if header[:4] != bytes((0, 0, _UNSIGNED_BYTES, dimensions)) or len(header) < 4 + 4 * dimensions:
                raise _malformed(path, f"no idx file of bytes in {dimensions} dimensions")
            shape = struct.unpack(f">{dimensions}I", header[4:])
            size = int(np.prod(shape, dtype=object))
            data = stream.read(min(size, _MOST) + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise _malformed(path, f"it cannot be unpacked: {error}") from error
    if len(data) != size or not size:
        raise _malformed(path, f"it says {size} bytes and holds {'more' if len(data) > size else len(data)}")
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)


def _pictures(pixels: npt.NDArray[np.uint8], y: npt.NDArray[np.uint8], count: int | None) -> Pictures:
    kept = slice(_checked(count, len(y)))
    return Pictures((pixels[kept] / np.float32(255)).astype(np.float32), y[kept].astype(np.int64))


def _checked(count: int | None, there: int) -> int:
    """How many are taken. Raises DataError `dataset-count`."""
    if count is not None and not 1 <= count <= there:
        raise DataError("dataset-count", f"{count} examples", f"from 1 to the {there} there are, or None")
    return there if count is None else count


def _of_part(files: Mapping[str, _Files], part: str) -> _Files:
    if part not in files:
        raise DataError("dataset-part", f"no part is called {part!r}", '"train" or "test"')
    return files[part]


def _found(folder: Path, archive: str, names: Sequence[str], also: str = "") -> list[Path]:
    """The files of these names, in `folder` or in what their archive makes there, packed or not.

    Raises DataError `dataset-missing`, with every one that is not there.
    """
    places = [folder, folder / archive] if archive else [folder]
    found, missing = [], []
    for name in names:
        suffixes = ("", also) if also else ("",)
        there = [
            path for place in places for suffix in suffixes if (path := place / (name + suffix)).is_file()
        ]
        if there:
            found.append(there[0])
        else:
            missing.append(f"{name}[{also}]" if also else name)
    if missing:
        raise _missing(folder / archive if archive else folder, missing)
    return found


def _missing(folder: Path, names: Sequence[str]) -> DataError:
    return DataError(
        "dataset-missing",
        f"{folder} lacks {', '.join(names)}",
        "put the files there as their authors publish them; nothing is downloaded",
    )


def _malformed(path: Path, what: str) -> DataError:
    return DataError("dataset-malformed", f"{path}: {what}", "the file as its authors publish it, whole")
