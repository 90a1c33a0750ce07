"""What a round of homomorphic summation costs: bytes from the messages themselves, CPU from measured figures.

The bytes are those of the protocol's own messages with fields of their usual length (`exchange`), and come
within a few per cent of a real round. The CPU seconds are rough: nine constants, fitted to sessions of 5 to
100 clients and 1e3 to 1e6 parameters on one core of a 2-core AMD EPYC server, SEAL 4.1 through TenSEAL.
Neither counts TLS and HTTP/2, nor the seconds that loading TenSEAL takes once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from secagg.cli.exchange import CERTIFICATE, NAME, SIGNATURE, Exchange
from secagg.encoding.packing import packed_size
from secagg.homomorphic.cohort import DECRYPTORS
from secagg.homomorphic.messages import (
    Advertisement,
    AdvertiseRequest,
    ConfirmReply,
    ConfirmRequest,
    Entry,
    FetchReply,
    FetchRequest,
    KeyReply,
    KeyRequest,
    OpenReply,
    OpenRequest,
    Part,
    UploadReply,
    UploadRequest,
)
from secagg.homomorphic.scheme import Kind, Scheme

__all__ = ["CiphertextCpu", "Role", "Table", "cpu", "table", "traffic"]

Role = Literal["uploader", "decryptor", "key_maker"]

_SEALING: Final = 12 + 16
"""A nonce and a tag around a sealed key."""

_PER_MEMBER: Final = 0.15e-3
_PER_CLIENT: Final = 0.5e-3
_KEYS: Final = 4e-3
_ENCODE: Final = 5e-9
_ENCRYPT: Final[Mapping[Kind, float]] = {"bfv": 140e-9, "ckks": 185e-9}
_DECRYPT: Final[Mapping[Kind, float]] = {"bfv": 80e-9, "ckks": 45e-9}
_ADD: Final = 13e-9
"""Seconds: at a client, each member's entry; at the server, each client's messages; making, sealing or trying
a key; encoding a coordinate; encrypting, decrypting, and checking and adding a word of a ciphertext."""


@dataclass(frozen=True)
class Table:
    """Who decrypts, of a full cohort of `clients`: so many decryptors, of whom a quorum confirms."""

    clients: int
    decryptors: int
    quorum: int
    recompute: bool


@dataclass(frozen=True)
class CiphertextCpu:
    """CPU seconds of one round, without training: of one client, by its role, and of the server."""

    uploader: float
    decryptor: float
    key_maker: float
    server: float


def table(clients: int, recompute: bool) -> Table:
    """As `secagg.homomorphic.cohort.Cohort` draws and counts them."""
    decryptors = min(DECRYPTORS, clients)
    return Table(clients, decryptors, decryptors // 2 + 1 if recompute else 0, recompute)


def traffic(scheme: Scheme, who: Table) -> Mapping[Role, Mapping[str, Exchange]]:
    """Role -> stage -> bytes, for a client whose cohort stays whole.

    `fetch` is one exchange for each survivor, all of them together.
    """
    signature, public_key = bytes(SIGNATURE), bytes(scheme.public_key_size)
    secret = bytes(_SEALING + _secret_key_size(scheme))
    advertisement = Advertisement(bytes(32), bytes(CERTIFICATE), signature)
    entry = Entry("n" * NAME, advertisement)

    def uploading(sealed: bytes) -> Exchange:
        asked = _size(lambda n: UploadRequest((entry,) * n, public_key, signature, sealed), who.clients)
        return Exchange(asked, len(UploadReply(signature, b"").head()) + scheme.size)

    advertising = Exchange(len(AdvertiseRequest(bytes(32)).to_bytes()), len(advertisement.to_bytes()))
    making = Exchange(
        _size(lambda n: KeyRequest((entry,) * n), who.clients),
        _size(lambda n: KeyReply(public_key, signature, ((0, secret),) * n), who.decryptors - 1),
    )
    confirmations = tuple((position, signature) for position in range(who.decryptors if who.recompute else 0))
    opening = Exchange(
        _size(lambda n: OpenRequest((0,) * n, confirmations, b""), who.clients)
        + (0 if who.recompute else scheme.size),
        len(OpenReply.head()) + packed_size(scheme.length, scheme.bits),
    )
    adding = {
        "confirm": Exchange(
            _size(lambda n: ConfirmRequest((Part(0, bytes(32), signature),) * n), who.clients),
            len(ConfirmReply(signature).to_bytes()),
        ),
        "fetch": Exchange(
            who.clients * (len(FetchRequest(0, b"").to_bytes()) + scheme.size),
            who.clients * len(FetchReply(0).to_bytes()),
        ),
    }
    opened = {**(adding if who.recompute else {}), "open": opening}
    return {
        "uploader": {"advertise": advertising, "upload": uploading(b"")},
        "decryptor": {"advertise": advertising, "upload": uploading(secret), **opened},
        "key_maker": {"advertise": advertising, "key": making, "upload": uploading(b""), **opened},
    }


class _Message(Protocol):
    def to_bytes(self) -> bytes: ...


def _size(message: Callable[[int], _Message], items: int) -> int:
    """Bytes of a message with so many items, each of which adds as many as the first."""
    none, one = (len(message(number).to_bytes()) for number in (0, 1))
    return none + items * (one - none)


def _secret_key_size(scheme: Scheme) -> int:
    return sum(packed_size(scheme.degree, prime.bit_length()) for prime in (*scheme.primes, scheme.special))


def cpu(scheme: Scheme, who: Table) -> CiphertextCpu:
    """Of a round in which nobody vanishes."""
    words = scheme.blocks * 2 * scheme.degree * len(scheme.primes)
    verifying = who.clients * _PER_MEMBER
    uploader = verifying + scheme.length * _ENCODE + words * _ENCRYPT[scheme.kind]
    opening = _KEYS + words * _DECRYPT[scheme.kind]
    if who.recompute:
        opening += who.clients * (_PER_MEMBER / 2 + words * _ADD)
    server = who.clients * (_PER_CLIENT + words * _ADD)
    return CiphertextCpu(uploader, uploader + opening, uploader + opening + verifying, server)
