"""The messages of masked aggregation, and their bytes.

One canonical, strict binary form: a version byte, a stage byte, then fixed-size fields and length-prefixed
ones (`canonical`). A reader refuses any other version or stage, short and left-over bytes, unsorted or
repeated positions. Positions are those of the roster sorted by id, as 4 bytes little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from secagg.canonical import Reader, field
from secagg.errors import ProtocolError
from secagg.masking.shamir import SHARE_BYTES

__all__ = [
    "KEY_SHARE",
    "SEED_SHARE",
    "STAGES",
    "AdvertiseRequest",
    "Advertisement",
    "ConfirmReply",
    "ConfirmRequest",
    "Entry",
    "Envelope",
    "MaskReply",
    "MaskRequest",
    "RevealReply",
    "RevealRequest",
    "ShareReply",
    "ShareRequest",
    "bitmap",
    "positions",
    "stage_of",
]

VERSION: Final = 1
STAGES: Final = ("advertise", "share", "mask", "confirm", "reveal")
SEED_SHARE: Final = 0
KEY_SHARE: Final = 1

MAX_ID: Final = 256
MAX_CERTIFICATE: Final = 8192
MAX_SIGNATURE: Final = 80
MAX_CIPHERTEXT: Final = 256
MAX_ROSTER: Final = 1 << 20

_U32 = struct.Struct("<I")


def _u32(value: int) -> bytes:
    return _U32.pack(value)


def _head(stage: str) -> bytes:
    return bytes((VERSION, STAGES.index(stage)))


def _open(data: bytes | bytearray | memoryview, stage: str, name: str) -> Reader:
    reader = Reader(data, name)
    if (version := reader.u8()) != VERSION:
        raise ProtocolError("message-version", f"{name}: version {VERSION} expected, {version} came")
    if (index := reader.u8()) != STAGES.index(stage):
        raise ProtocolError("message-stage", f"{name}: a message of stage {index} in '{stage}'")
    return reader


def stage_of(data: bytes) -> str:
    """The stage a message says it belongs to. Raises ProtocolError `message-short` or `message-stage`."""
    reader = Reader(data, "request")
    reader.u8()
    index = reader.u8()
    if index >= len(STAGES):
        raise ProtocolError("message-stage", f"there is no stage {index}")
    return STAGES[index]


def _count(reader: Reader, name: str) -> int:
    count = reader.u32()
    if count > MAX_ROSTER:
        raise ProtocolError("message-long", f"{name}: {count} entries, at most {MAX_ROSTER}")
    return count


def _next_position(reader: Reader, last: int, name: str) -> int:
    position = reader.u32()
    if position <= last:
        raise ProtocolError("message-order", f"{name}: position {position} after {last}; each once, in order")
    return position


def bitmap(members: Iterable[int], n: int) -> bytes:
    """A set of positions below n as ceil(n / 8) bytes, bit i of byte i // 8 the least significant first."""
    out = bytearray((n + 7) // 8)
    for position in members:
        out[position // 8] |= 1 << (position % 8)
    return bytes(out)


def positions(bits: bytes, n: int) -> tuple[int, ...]:
    """The set behind a bitmap. Raises ProtocolError `bitmap-size` or `bitmap-range`."""
    if len(bits) != (n + 7) // 8:
        raise ProtocolError("bitmap-size", f"a set over {n} clients is {(n + 7) // 8} bytes, not {len(bits)}")
    members = tuple(i for i in range(8 * len(bits)) if bits[i // 8] >> (i % 8) & 1)
    if members and members[-1] >= n:
        raise ProtocolError("bitmap-range", f"position {members[-1]} in a roster of {n}")
    return members


@dataclass(frozen=True)
class AdvertiseRequest:
    """The context the server has in mind; a client that computes another stops here."""

    context: bytes

    def to_bytes(self) -> bytes:
        return _head("advertise") + self.context

    @classmethod
    def from_bytes(cls, data: bytes) -> AdvertiseRequest:
        reader = _open(data, "advertise", "advertise request")
        request = cls(reader.take(32))
        reader.finish()
        return request


@dataclass(frozen=True)
class Advertisement:
    """A client's fresh keys, its commitment, its certificate (DER) and its signature over them."""

    channel_pk: bytes
    mask_pk: bytes
    commitment: bytes
    certificate: bytes
    signature: bytes

    def body(self) -> bytes:
        return b"".join(
            (self.channel_pk, self.mask_pk, self.commitment, field(self.certificate), field(self.signature))
        )

    def to_bytes(self) -> bytes:
        return _head("advertise") + self.body()

    @classmethod
    def read(cls, reader: Reader) -> Advertisement:
        return cls(
            reader.take(32),
            reader.take(32),
            reader.take(32),
            reader.field(MAX_CERTIFICATE),
            reader.field(MAX_SIGNATURE),
        )

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview) -> Advertisement:
        reader = _open(data, "advertise", "advertisement")
        advertisement = cls.read(reader)
        reader.finish()
        return advertisement


@dataclass(frozen=True)
class Entry:
    """One line of the roster."""

    id: str
    advertisement: Advertisement


@dataclass(frozen=True)
class ShareRequest:
    """The whole roster, and the k and t the server computed."""

    k: int
    t: int
    roster: tuple[Entry, ...]

    def to_bytes(self) -> bytes:
        parts = [_head("share"), _u32(self.k), _u32(self.t), _u32(len(self.roster))]
        for entry in self.roster:
            parts += (field(entry.id.encode()), entry.advertisement.body())
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> ShareRequest:
        reader = _open(data, "share", "share request")
        k, t, count = reader.u32(), reader.u32(), _count(reader, "share request")
        roster = []
        for _ in range(count):
            try:
                name = reader.field(MAX_ID).decode()
            except UnicodeDecodeError as error:
                raise ProtocolError("message-id", "share request: an id is not UTF-8") from error
            roster.append(Entry(name, Advertisement.read(reader)))
        reader.finish()
        return cls(k, t, tuple(roster))


@dataclass(frozen=True)
class Envelope:
    """Two sealed shares for one neighbour, the digests of both, and the owner's signature over those."""

    ciphertext: bytes
    seed_digest: bytes
    key_digest: bytes
    signature: bytes

    def body(self) -> bytes:
        return b"".join((field(self.ciphertext), self.seed_digest, self.key_digest, field(self.signature)))

    @classmethod
    def read(cls, reader: Reader) -> Envelope:
        return cls(
            reader.field(MAX_CIPHERTEXT), reader.take(32), reader.take(32), reader.field(MAX_SIGNATURE)
        )


def _envelopes_to_bytes(stage: str, envelopes: Sequence[tuple[int, Envelope]]) -> bytes:
    parts = [_head(stage), _u32(len(envelopes))]
    for position, envelope in envelopes:
        parts += (_u32(position), envelope.body())
    return b"".join(parts)


def _read_envelopes(
    data: bytes | bytearray | memoryview, stage: str, name: str
) -> tuple[tuple[int, Envelope], ...]:
    reader = _open(data, stage, name)
    envelopes: list[tuple[int, Envelope]] = []
    last = -1
    for _ in range(_count(reader, name)):
        last = _next_position(reader, last, name)
        envelopes.append((last, Envelope.read(reader)))
    reader.finish()
    return tuple(envelopes)


@dataclass(frozen=True)
class ShareReply:
    """An envelope for each neighbour, by its position."""

    envelopes: tuple[tuple[int, Envelope], ...]

    def to_bytes(self) -> bytes:
        return _envelopes_to_bytes("share", self.envelopes)

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview) -> ShareReply:
        return cls(_read_envelopes(data, "share", "share reply"))


@dataclass(frozen=True)
class MaskRequest:
    """The envelopes a client was sent, by their owner's position: who is in U2."""

    envelopes: tuple[tuple[int, Envelope], ...]

    def to_bytes(self) -> bytes:
        return _envelopes_to_bytes("mask", self.envelopes)

    @classmethod
    def from_bytes(cls, data: bytes) -> MaskRequest:
        return cls(_read_envelopes(data, "mask", "mask request"))


@dataclass(frozen=True)
class MaskReply:
    """Whose envelopes failed, and the masked vector, packed at b bits a coordinate."""

    failed: tuple[int, ...]
    vector: bytes | bytearray | memoryview

    def head(self) -> bytes:
        """All but the vector, which follows."""
        return b"".join((_head("mask"), _u32(len(self.failed)), *map(_u32, self.failed)))

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview) -> MaskReply:
        """The vector is a view of `data`, not a copy."""
        reader = _open(data, "mask", "masked vector")
        failed: list[int] = []
        last = -1
        for _ in range(_count(reader, "masked vector")):
            last = _next_position(reader, last, "masked vector")
            failed.append(last)
        return cls(tuple(failed), reader.rest())


@dataclass(frozen=True)
class ConfirmRequest:
    """The survivors U3, as a bitmap."""

    survivors: bytes

    def to_bytes(self) -> bytes:
        return _head("confirm") + field(self.survivors)

    @classmethod
    def from_bytes(cls, data: bytes) -> ConfirmRequest:
        reader = _open(data, "confirm", "confirm request")
        request = cls(reader.field(MAX_ROSTER))
        reader.finish()
        return request


@dataclass(frozen=True)
class ConfirmReply:
    """A signature over U3."""

    signature: bytes

    def to_bytes(self) -> bytes:
        return _head("confirm") + field(self.signature)

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview) -> ConfirmReply:
        reader = _open(data, "confirm", "confirmation")
        reply = cls(reader.field(MAX_SIGNATURE))
        reader.finish()
        return reply


@dataclass(frozen=True)
class RevealRequest:
    """U3 again, and a quorum of signatures over it (none in a semi-honest plan)."""

    survivors: bytes
    confirmations: tuple[tuple[int, bytes], ...]

    def to_bytes(self) -> bytes:
        parts = [_head("reveal"), field(self.survivors), _u32(len(self.confirmations))]
        for position, signature in self.confirmations:
            parts += (_u32(position), field(signature))
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> RevealRequest:
        reader = _open(data, "reveal", "reveal request")
        survivors = reader.field(MAX_ROSTER)
        confirmations: list[tuple[int, bytes]] = []
        last = -1
        for _ in range(_count(reader, "reveal request")):
            last = _next_position(reader, last, "reveal request")
            confirmations.append((last, reader.field(MAX_SIGNATURE)))
        reader.finish()
        return cls(survivors, tuple(confirmations))


@dataclass(frozen=True, repr=False)
class RevealReply:
    """For each neighbour at most one share: (position, SEED_SHARE or KEY_SHARE, share)."""

    shares: tuple[tuple[int, int, bytes], ...]

    def to_bytes(self) -> bytes:
        parts = [_head("reveal"), _u32(len(self.shares))]
        for position, kind, share in self.shares:
            parts += (_u32(position), bytes((kind,)), share)
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview) -> RevealReply:
        reader = _open(data, "reveal", "revealed shares")
        shares: list[tuple[int, int, bytes]] = []
        last = -1
        for _ in range(_count(reader, "revealed shares")):
            last = _next_position(reader, last, "revealed shares")
            kind = reader.u8()
            if kind not in (SEED_SHARE, KEY_SHARE):
                raise ProtocolError("message-share-kind", f"revealed shares: there is no kind {kind}")
            shares.append((last, kind, reader.take(SHARE_BYTES)))
        reader.finish()
        return cls(tuple(shares))
