"""The messages of homomorphic summation, and their bytes.

One canonical, strict binary form: a version byte, a stage byte, then fixed-size fields and length-prefixed
ones (`canonical`). A reader refuses any other version or stage, short and left-over bytes, and positions that
are not in order. Positions are those of the roster sorted by id, as 4 bytes little-endian. Ciphertexts and
vectors come last and are not copied.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from secagg.canonical import Reader, field
from secagg.errors import ProtocolError

__all__ = [
    "AdvertiseRequest",
    "Advertisement",
    "ConfirmReply",
    "ConfirmRequest",
    "Entry",
    "FetchReply",
    "FetchRequest",
    "KeyReply",
    "KeyRequest",
    "OpenReply",
    "OpenRequest",
    "Part",
    "UploadReply",
    "UploadRequest",
    "stage_of",
]

VERSION: Final = 1
KINDS: Final = ("advertise", "key", "upload", "confirm", "fetch", "open")

MAX_ID: Final = 256
MAX_CERTIFICATE: Final = 8192
MAX_SIGNATURE: Final = 80
MAX_KEY: Final = 1 << 20
MAX_ROSTER: Final = 1 << 20

_U32 = struct.Struct("<I")

Bytes = bytes | bytearray | memoryview


def _head(kind: str) -> bytes:
    return bytes((VERSION, KINDS.index(kind)))


def _open(data: Bytes, kind: str, name: str) -> Reader:
    reader = Reader(data, name)
    if (version := reader.u8()) != VERSION:
        raise ProtocolError("message-version", f"{name}: version {VERSION} expected, {version} came")
    if (index := reader.u8()) != KINDS.index(kind):
        raise ProtocolError("message-stage", f"{name}: a message of stage {index} in '{kind}'")
    return reader


def stage_of(data: Bytes) -> str:
    """The stage a request says it belongs to; there is a `fetch-` stage for each survivor's position.

    Raises ProtocolError `message-short` or `message-stage`.
    """
    reader = Reader(data, "request")
    reader.u8()
    index = reader.u8()
    if index >= len(KINDS):
        raise ProtocolError("message-stage", f"there is no stage {index}")
    return f"fetch-{reader.u32()}" if KINDS[index] == "fetch" else KINDS[index]


def _count(reader: Reader, name: str) -> int:
    count = reader.u32()
    if count > MAX_ROSTER:
        raise ProtocolError("message-long", f"{name}: {count} entries, at most {MAX_ROSTER}")
    return count


def _positions(reader: Reader, name: str) -> tuple[int, ...]:
    """How many, then each in order; whatever belongs to each is read by the caller between."""
    found = tuple(reader.u32() for _ in range(_count(reader, name)))
    if any(one >= other for one, other in pairwise(found)):
        raise ProtocolError("message-order", f"{name}: positions out of order; each once, in order")
    return found


def _of_positions(positions: tuple[int, ...]) -> bytes:
    return _U32.pack(len(positions)) + b"".join(map(_U32.pack, positions))


@dataclass(frozen=True)
class AdvertiseRequest:
    """The context the server has in mind; a client that computes another stops here."""

    context: bytes

    def to_bytes(self) -> bytes:
        return _head("advertise") + self.context

    @classmethod
    def from_bytes(cls, data: Bytes) -> AdvertiseRequest:
        reader = _open(data, "advertise", "advertise request")
        request = cls(reader.take(32))
        reader.finish()
        return request


@dataclass(frozen=True)
class Advertisement:
    """A client's fresh channel key, its certificate (DER) and its signature over both in this context."""

    channel_pk: bytes
    certificate: bytes
    signature: bytes

    def body(self) -> bytes:
        return b"".join((self.channel_pk, field(self.certificate), field(self.signature)))

    def to_bytes(self) -> bytes:
        return _head("advertise") + self.body()

    @classmethod
    def read(cls, reader: Reader) -> Advertisement:
        return cls(reader.take(32), reader.field(MAX_CERTIFICATE), reader.field(MAX_SIGNATURE))

    @classmethod
    def from_bytes(cls, data: Bytes) -> Advertisement:
        reader = _open(data, "advertise", "advertisement")
        advertisement = cls.read(reader)
        reader.finish()
        return advertisement


@dataclass(frozen=True)
class Entry:
    """One line of the roster."""

    id: str
    advertisement: Advertisement


def _of_roster(roster: tuple[Entry, ...]) -> bytes:
    parts = [_U32.pack(len(roster))]
    for entry in roster:
        parts += (field(entry.id.encode()), entry.advertisement.body())
    return b"".join(parts)


def _roster(reader: Reader, name: str) -> tuple[Entry, ...]:
    roster = []
    for _ in range(_count(reader, name)):
        try:
            id = reader.field(MAX_ID).decode()
        except UnicodeDecodeError as error:
            raise ProtocolError("message-id", f"{name}: an id is not UTF-8") from error
        roster.append(Entry(id, Advertisement.read(reader)))
    return tuple(roster)


@dataclass(frozen=True)
class KeyRequest:
    """To the key maker: the whole roster."""

    roster: tuple[Entry, ...]

    def to_bytes(self) -> bytes:
        return _head("key") + _of_roster(self.roster)

    @classmethod
    def from_bytes(cls, data: Bytes) -> KeyRequest:
        reader = _open(data, "key", "key request")
        request = cls(_roster(reader, "key request"))
        reader.finish()
        return request


@dataclass(frozen=True)
class KeyReply:
    """The public key, its maker's signature, and the secret key, sealed for each other decryptor."""

    public_key: bytes
    signature: bytes
    sealed: tuple[tuple[int, bytes], ...]

    def to_bytes(self) -> bytes:
        return b"".join(
            (
                _head("key"),
                field(self.public_key),
                field(self.signature),
                _of_positions(tuple(position for position, _ in self.sealed)),
                *(field(secret) for _, secret in self.sealed),
            )
        )

    @classmethod
    def from_bytes(cls, data: Bytes) -> KeyReply:
        reader = _open(data, "key", "key reply")
        public_key, signature = reader.field(MAX_KEY), reader.field(MAX_SIGNATURE)
        holders = _positions(reader, "key reply")
        sealed = tuple((position, reader.field(MAX_KEY)) for position in holders)
        reader.finish()
        return cls(public_key, signature, sealed)


@dataclass(frozen=True)
class UploadRequest:
    """The whole roster, the signed public key and, for a decryptor, the secret key sealed for it."""

    roster: tuple[Entry, ...]
    public_key: bytes
    signature: bytes
    sealed: bytes = b""

    def to_bytes(self) -> bytes:
        return b"".join(
            (
                _head("upload"),
                _of_roster(self.roster),
                field(self.public_key),
                field(self.signature),
                field(self.sealed),
            )
        )

    @classmethod
    def from_bytes(cls, data: Bytes) -> UploadRequest:
        reader = _open(data, "upload", "upload request")
        request = cls(
            _roster(reader, "upload request"),
            reader.field(MAX_KEY),
            reader.field(MAX_SIGNATURE),
            reader.field(MAX_KEY),
        )
        reader.finish()
        return request


@dataclass(frozen=True)
class UploadReply:
    """An encrypted vector behind its owner's signature over its digest."""

    signature: bytes
    ciphertext: Bytes

    def head(self) -> bytes:
        """All but the ciphertext, which follows it."""
        return _head("upload") + field(self.signature)

    @classmethod
    def from_bytes(cls, data: Bytes) -> UploadReply:
        reader = _open(data, "upload", "upload")
        return cls(reader.field(MAX_SIGNATURE), reader.rest())


@dataclass(frozen=True)
class Part:
    """What a survivor signed: the SHA-256 of its ciphertext."""

    position: int
    digest: bytes
    signature: bytes


@dataclass(frozen=True)
class ConfirmRequest:
    """Whose ciphertexts are in the sum, with `recompute`: to the decryptors."""

    parts: tuple[Part, ...]

    def to_bytes(self) -> bytes:
        positions = _of_positions(tuple(part.position for part in self.parts))
        signed = (part.digest + field(part.signature) for part in self.parts)
        return b"".join((_head("confirm"), positions, *signed))

    def digest(self) -> bytes:
        """What a confirmation signs: whose ciphertexts, and which."""
        return hashlib.sha256(self.to_bytes()).digest()

    @classmethod
    def from_bytes(cls, data: Bytes) -> ConfirmRequest:
        reader = _open(data, "confirm", "confirm request")
        positions = _positions(reader, "confirm request")
        parts = tuple(Part(position, reader.take(32), reader.field(MAX_SIGNATURE)) for position in positions)
        reader.finish()
        return cls(parts)


@dataclass(frozen=True)
class ConfirmReply:
    """A decryptor's signature over the parts."""

    signature: bytes

    def to_bytes(self) -> bytes:
        return _head("confirm") + field(self.signature)

    @classmethod
    def from_bytes(cls, data: Bytes) -> ConfirmReply:
        reader = _open(data, "confirm", "confirmation")
        reply = cls(reader.field(MAX_SIGNATURE))
        reader.finish()
        return reply


@dataclass(frozen=True)
class FetchRequest:
    """One survivor's ciphertext, for a decryptor to add."""

    position: int
    ciphertext: Bytes

    def to_bytes(self) -> bytes:
        return b"".join((_head("fetch"), _U32.pack(self.position), self.ciphertext))

    @classmethod
    def from_bytes(cls, data: Bytes) -> FetchRequest:
        reader = _open(data, "fetch", "fetch request")
        return cls(reader.u32(), reader.rest())


@dataclass(frozen=True)
class FetchReply:
    """That it was checked and added."""

    position: int

    def to_bytes(self) -> bytes:
        return _head("fetch") + _U32.pack(self.position)

    @classmethod
    def from_bytes(cls, data: Bytes) -> FetchReply:
        reader = _open(data, "fetch", "fetch reply")
        reply = cls(reader.u32())
        reader.finish()
        return reply


@dataclass(frozen=True)
class OpenRequest:
    """To the decryptors: who is in the sum, and the sum; with `recompute` the confirmations in its place."""

    survivors: tuple[int, ...]
    confirmations: tuple[tuple[int, bytes], ...]
    ciphertext: Bytes

    def to_bytes(self) -> bytes:
        return b"".join(
            (
                _head("open"),
                _of_positions(self.survivors),
                _of_positions(tuple(position for position, _ in self.confirmations)),
                *(field(signature) for _, signature in self.confirmations),
                self.ciphertext,
            )
        )

    @classmethod
    def from_bytes(cls, data: Bytes) -> OpenRequest:
        reader = _open(data, "open", "open request")
        survivors = _positions(reader, "open request")
        signers = _positions(reader, "open request")
        confirmations = tuple((position, reader.field(MAX_SIGNATURE)) for position in signers)
        return cls(survivors, confirmations, reader.rest())


@dataclass(frozen=True)
class OpenReply:
    """The exact sum: a packed ring vector."""

    vector: Bytes

    @staticmethod
    def head() -> bytes:
        """What comes before the vector."""
        return _head("open")

    @classmethod
    def from_bytes(cls, data: Bytes) -> OpenReply:
        return cls(_open(data, "open", "opened sum").rest())
