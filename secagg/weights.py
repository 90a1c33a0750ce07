"""Named arrays and the one vector they make.

Weights are a dict of named NumPy arrays. Those of floating type whose names match no `local` pattern are
aggregated; the rest (counters such as `num_batches_tracked`, layers a client keeps) never leave a client.
`Layout` fixes which arrays those are and in which order they lie in the vector: sorted by name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from secagg import canonical
from secagg.errors import UpdateError

__all__ = [
    "Array",
    "Layout",
    "Part",
    "Weights",
    "check_model",
    "digest",
    "from_bytes",
    "is_aggregated",
    "load",
    "save",
    "to_bytes",
]

Array = npt.NDArray[Any]
Weights = dict[str, Array]
"""Array name -> array, C order, any shape."""

_FLOATS: Final = ("float16", "float32", "float64")
BLOCK: Final = 1 << 15
"""Coordinates worked on at a time, as float64: 256 KiB."""


def is_aggregated(name: str, array: Array, local: Sequence[str]) -> bool:
    """Whether an array is averaged: floating, and no `local` pattern matches its name."""
    return array.dtype.name in _FLOATS and not any(fnmatchcase(name, pattern) for pattern in local)


@dataclass(frozen=True)
class Part:
    """One aggregated array: where it lies in the vector."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    start: int
    stop: int


@dataclass(frozen=True)
class Layout:
    """Which arrays are aggregated, and where each lies in the vector (sorted by name)."""

    parts: tuple[Part, ...]

    @classmethod
    def of(cls, weights: Mapping[str, Array], local: Sequence[str] = ()) -> Layout:
        """Raises UpdateError `weights-empty` when nothing is left to aggregate, `weights-not-arrays`."""
        parts = []
        start = 0
        for name in sorted(weights):
            array = weights[name]
            if not isinstance(array, np.ndarray):
                raise UpdateError(
                    "weights-not-arrays",
                    f"weights are a dict of NumPy arrays, and '{name}' is a {type(array).__name__}",
                )
            if is_aggregated(name, array, local):
                parts.append(Part(name, array.shape, array.dtype.name, start, start + array.size))
                start += array.size
        if start == 0:
            raise UpdateError(
                "weights-empty",
                "no floating array is left to aggregate",
                "name at least one float16, float32 or float64 array that no 'local' pattern matches",
            )
        return cls(tuple(parts))

    @property
    def size(self) -> int:
        """Coordinates in all."""
        return self.parts[-1].stop

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset(part.name for part in self.parts)

    def check(self, arrays: Mapping[str, Array], local: Sequence[str] = ()) -> None:
        """Refuses arrays that are not exactly this layout's; integer and local ones are passed over.

        Raises UpdateError `update-not-arrays`, `update-missing`, `update-extra`, `update-shape`,
        `update-dtype` or `update-not-finite`.
        """
        for name, array in arrays.items():
            # (NumPy makes a scalar of an operation on arrays without dimensions; it counts as the array.)
            if not isinstance(array, np.ndarray | np.generic):
                raise UpdateError(
                    "update-not-arrays",
                    f"an update is a dict of NumPy arrays, and '{name}' is a {type(array).__name__}",
                )
            if name not in self.names and is_aggregated(name, array, local):
                raise UpdateError(
                    "update-extra",
                    f"'{name}' is not an array of the global model",
                    "list it in [training] local if it stays with the client",
                )
        for part in self.parts:
            if part.name not in arrays:
                raise UpdateError("update-missing", f"the array '{part.name}' is missing")
            array = arrays[part.name]
            if array.dtype.name not in _FLOATS:
                raise UpdateError(
                    "update-dtype", f"'{part.name}' is {array.dtype}, and the global model's is {part.dtype}"
                )
            if array.shape != part.shape:
                raise UpdateError(
                    "update-shape",
                    f"'{part.name}' has shape {array.shape}, and the global model's is {part.shape}",
                )
        for part, _, block in self.blocks(arrays):
            if not np.isfinite(block).all():
                raise UpdateError(
                    "update-not-finite",
                    f"'{part.name}' holds a NaN or an infinity",
                    "a smaller learning rate, or gradient clipping in training",
                )

    def blocks(
        self, arrays: Mapping[str, Array], base: Mapping[str, Array] | None = None
    ) -> Iterator[tuple[Part, slice, npt.NDArray[np.float64]]]:
        """`arrays` (less `base`) as float64, block by block: (part, place in the vector, values).

        The values may be changed; each block is a new array.
        """
        for part in self.parts:
            flat = np.asarray(arrays[part.name]).reshape(-1)  # a matrix or a masked array, as a plain one
            under = None if base is None else np.asarray(base[part.name]).reshape(-1)
            for at in range(0, len(flat), BLOCK):
                values = flat[at : at + BLOCK].astype(np.float64)
                if under is not None:
                    values -= under[at : at + BLOCK]
                yield part, slice(part.start + at, part.start + at + len(values)), values


def check_model(weights: Mapping[str, Array], local: Sequence[str] = ()) -> None:
    """Refuses a model no run can begin with.

    Raises UpdateError `weights-not-arrays`, `weights-empty` or `weights-not-finite`.
    """
    for part, _, block in Layout.of(weights, local).blocks(weights):
        if not np.isfinite(block).all():
            raise UpdateError("weights-not-finite", f"'{part.name}' of the model holds a NaN or an infinity")


def digest(weights: Mapping[str, Array]) -> bytes:
    """SHA-256 over the names, dtypes, shapes and little-endian bytes of all arrays; 32 bytes."""
    hasher = hashlib.sha256(canonical.encode(canonical.VERSION_LABEL, "weights", len(weights)))
    for name in sorted(weights):
        array = weights[name]
        hasher.update(canonical.encode(name, array.dtype.name, len(array.shape), *array.shape))
        little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
        hasher.update(little.reshape(-1).view(np.uint8).data)
    return hasher.digest()


def from_bytes(document: bytes | bytearray | memoryview) -> Weights:
    """The arrays of a safetensors document, by name; the library's own order is random.

    Raises UpdateError `weights-malformed`.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return dict(sorted(load(bytes(document)).items()))
    except (SafetensorError, KeyError, ValueError, OverflowError, MemoryError) as error:
        raise UpdateError("weights-malformed", "the model is not a safetensors document") from error


def load(path: str | Path) -> Weights:
    """The arrays of a safetensors file. Raises UpdateError `weights-malformed`, or OSError."""
    return from_bytes(Path(path).read_bytes())


def save(path: str | Path, weights: Mapping[str, Array]) -> None:
    """Writes a safetensors file. The arrays are laid out in C order, little-endian, as the format wants."""
    from safetensors.numpy import save_file

    save_file({name: _plain(array) for name, array in weights.items()}, path)


def to_bytes(weights: Mapping[str, Array]) -> bytes:
    """A safetensors document."""
    from safetensors.numpy import save

    return save({name: _plain(array) for name, array in weights.items()})


def _plain(array: Array) -> Array:
    """The library writes an array's memory as it lies; what lies otherwise is copied first."""
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(array.shape)
