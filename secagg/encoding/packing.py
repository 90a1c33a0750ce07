"""Ring vectors as bytes, at exactly b bits a coordinate.

Coordinate i takes bits [i * b, (i + 1) * b) of a little-endian bit string; the last byte is padded with
zero bits, and bytes with any other padding are refused. 64 coordinates make b whole words of 64 bits, so a
block is packed in 64 strided passes over whole columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from secagg.encoding.ring import word
from secagg.errors import EncodingError
from secagg.prg import Ring

__all__ = ["BLOCK", "add_packed", "pack", "pack_into", "packed_size", "unpack", "unpacked_blocks"]

_LANES: Final = 64
BLOCK: Final = 1 << 15
"""Coordinates packed at a time; a multiple of 64, so that every block starts on a whole byte."""

_U64 = np.dtype("<u8")


def packed_size(length: int, bits: int) -> int:
    """Bytes of `length` coordinates of `bits` bits."""
    return (length * bits + 7) // 8


def _pack_lanes(lanes: npt.NDArray[np.uint64], bits: int) -> npt.NDArray[np.uint64]:
    """(64, m) coordinates, lane-major, to (bits, m) words."""
    words = np.zeros((bits, lanes.shape[1]), dtype=_U64)
    for lane in range(_LANES):
        index, shift = divmod(lane * bits, 64)
        words[index] |= lanes[lane] << np.uint64(shift)
        if shift + bits > 64:
            words[index + 1] |= lanes[lane] >> np.uint64(64 - shift)
    return words


def _unpack_lanes(words: npt.NDArray[np.uint64], bits: int) -> npt.NDArray[np.uint64]:
    """(bits, m) words to (64, m) coordinates, lane-major."""
    lanes = np.empty((_LANES, words.shape[1]), dtype=_U64)
    mask = np.uint64((1 << bits) - 1)
    for lane in range(_LANES):
        index, shift = divmod(lane * bits, 64)
        np.right_shift(words[index], np.uint64(shift), out=lanes[lane])
        if shift + bits > 64:
            lanes[lane] |= words[index + 1] << np.uint64(64 - shift)
    lanes &= mask
    return lanes


def pack_into(block: Ring, bits: int, out: memoryview) -> None:
    """Packs one block (at most `BLOCK` coordinates) into `out`, which has exactly its packed size."""
    count = len(block)
    groups = -(-count // _LANES)
    values = np.zeros(groups * _LANES, dtype=_U64)
    values[:count] = block
    if bits < 64:
        values &= np.uint64((1 << bits) - 1)
    words = _pack_lanes(np.ascontiguousarray(values.reshape(groups, _LANES).T), bits)
    out[:] = np.ascontiguousarray(words.T).reshape(-1).view(np.uint8)[: len(out)].data


def pack(vector: Ring, bits: int) -> bytearray:
    """The packed bytes of a whole ring vector; bits above b are dropped."""
    out = bytearray(packed_size(len(vector), bits))
    view = memoryview(out)
    for start in range(0, len(vector), BLOCK):
        stop = min(start + BLOCK, len(vector))
        pack_into(vector[start:stop], bits, view[start * bits // 8 : packed_size(stop, bits)])
    return out


def _check(data: memoryview, length: int, bits: int) -> None:
    size = packed_size(length, bits)
    if len(data) != size:
        raise EncodingError(
            "vector-length", f"{length} coordinates of {bits} bits are {size} bytes, and {len(data)} came"
        )
    spare = size * 8 - length * bits
    if spare and data[-1] >> (8 - spare):
        raise EncodingError("vector-outside-ring", "the padding behind the last coordinate is not zero")


def _unpack_block(data: memoryview, count: int, bits: int) -> npt.NDArray[np.uint64]:
    groups = -(-count // _LANES)
    raw = np.zeros(groups * bits * 8, dtype=np.uint8)
    raw[: len(data)] = np.frombuffer(data, dtype=np.uint8)
    words = np.ascontiguousarray(raw.view(_U64).reshape(groups, bits).T)
    return np.ascontiguousarray(_unpack_lanes(words, bits).T).reshape(-1)[:count]


def unpacked_blocks(
    data: bytes | bytearray | memoryview, length: int, bits: int
) -> Iterator[tuple[int, npt.NDArray[np.uint64]]]:
    """(start, coordinates from there on), block after block, of `length` coordinates; all is checked first.

    Raises EncodingError `vector-length` or `vector-outside-ring`.
    """
    view = memoryview(data)
    _check(view, length, bits)
    for start in range(0, length, BLOCK):
        stop = min(start + BLOCK, length)
        yield start, _unpack_block(view[start * bits // 8 : packed_size(stop, bits)], stop - start, bits)


def add_packed(data: bytes | bytearray | memoryview, bits: int, accumulator: Ring) -> None:
    """Adds a packed vector into `accumulator`; checks all of it before it adds any of it.

    Raises EncodingError `vector-length` or `vector-outside-ring`.
    """
    for start, block in unpacked_blocks(data, len(accumulator), bits):
        accumulator[start : start + len(block)] += block.astype(accumulator.dtype)


def unpack(data: bytes | bytearray | memoryview, length: int, bits: int) -> Ring:
    """The ring vector of `length` coordinates. Raises EncodingError as `add_packed` does."""
    vector = np.zeros(length, dtype=word(bits))
    add_packed(data, bits, vector)
    return vector
