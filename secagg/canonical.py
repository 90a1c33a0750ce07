"""One canonical byte form for whatever is hashed, signed or parsed.

Every field is length-prefixed, so that no two different tuples of fields share an encoding, and every
digest starts with a label that carries the protocol's version, so that no two uses share a digest.
`Reader` is the strict other half: it names what is missing, and what is left over.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final

from secagg.errors import ProtocolError

__all__ = ["VERSION_LABEL", "Field", "Reader", "digest", "encode", "field"]

VERSION_LABEL: Final = b"secagg/v1"

Field = bytes | bytearray | memoryview | str | int | float
"""int: 0 to 2^64 - 1. float: IEEE 754 binary64."""

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_F64 = struct.Struct("<d")


def _bytes_of(value: Field) -> bytes | bytearray | memoryview:
    if type(value) is bytes:
        return value
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, int):
        return _U64.pack(value)
    if isinstance(value, float):
        return _F64.pack(value)
    if isinstance(value, memoryview):
        return value.tobytes()  # the length of a view of words is not that of its bytes
    return value


def encode(*fields: Field) -> bytes:
    """Each field behind its length (8 bytes, little-endian)."""
    parts: list[bytes | bytearray | memoryview] = []
    for value in fields:
        content = _bytes_of(value)
        parts += (_U64.pack(len(content)), content)
    return b"".join(parts)


def digest(label: str, *fields: Field) -> bytes:
    """SHA-256 over the version, `label` and the fields; 32 bytes."""
    return hashlib.sha256(encode(VERSION_LABEL, label, *fields)).digest()


def field(content: bytes | bytearray | memoryview) -> bytes:
    """A variable-length field of a message: 4 bytes of length, then the content."""
    return _U32.pack(len(content)) + content


class Reader:
    """Takes a message apart, front to back; ends with `finish()`, which refuses left-over bytes.

    Raises ProtocolError `message-short` or `message-long`.
    """

    def __init__(self, data: bytes | bytearray | memoryview, name: str) -> None:
        self._data = memoryview(data)
        self._at = 0
        self._name = name

    def view(self, length: int) -> memoryview:
        """The next `length` bytes, not copied."""
        end = self._at + length
        if end > len(self._data):
            raise ProtocolError(
                "message-short", f"{self._name}: {end} bytes expected, {len(self._data)} came"
            )
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def take(self, length: int) -> bytes:
        return bytes(self.view(length))

    def u8(self) -> int:
        return self.view(1)[0]

    def u32(self) -> int:
        return int(_U32.unpack(self.view(4))[0])

    def field(self, limit: int) -> bytes:
        """A variable-length field of at most `limit` bytes."""
        length = self.u32()
        if length > limit:
            raise ProtocolError("message-long", f"{self._name}: a field of {length} bytes, at most {limit}")
        return self.take(length)

    def rest(self) -> memoryview:
        """All that is left, not copied."""
        return self.view(len(self._data) - self._at)

    def finish(self) -> None:
        if self._at != len(self._data):
            raise ProtocolError("message-long", f"{self._name}: {len(self._data) - self._at} bytes left over")
