"""What a round of masked aggregation costs: bytes from the messages themselves, CPU from measured figures.

The bytes are those of the protocol's own messages with fields of their usual length, and come within a few
per cent of a real round. The CPU seconds are rough: a model with six constants, fitted to
`benchmarks/masking.py` for 3 to 200 clients and 1e3 to 1e7 parameters, on one core of a 2-core AMD EPYC
server; a machine without vector AES is several times slower at the masks. Neither counts TLS and HTTP/2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from secagg.cli.exchange import CERTIFICATE, NAME, SIGNATURE, Exchange
from secagg.encoding.packing import packed_size
from secagg.masking.messages import (
    SEED_SHARE,
    STAGES,
    Advertisement,
    AdvertiseRequest,
    ConfirmReply,
    ConfirmRequest,
    Entry,
    Envelope,
    MaskReply,
    MaskRequest,
    RevealReply,
    RevealRequest,
    ShareReply,
    ShareRequest,
    bitmap,
)
from secagg.masking.parameters import Threshold
from secagg.masking.shamir import SHARE_BYTES

__all__ = ["Cpu", "cpu", "traffic"]

_CIPHERTEXT: Final = 12 + 2 * SHARE_BYTES + 16
"""A nonce and two sealed shares."""

_PER_NEIGHBOUR: Final = 0.5e-3
_PER_CLIENT: Final = 0.4e-3
_PER_PAIR: Final = 23e-6
_ENCODE_AND_PACK: Final = 60e-9
_UNPACK_AND_ADD: Final = 10e-9
_KEYSTREAM: Final = 0.15e-9
"""Seconds: at a client, keys and shares for each neighbour; at the server, for each client and each pair; a
coordinate's way into a packed vector and out of it; a byte of a mask."""


@dataclass(frozen=True)
class Cpu:
    """CPU seconds of one round, without training: of one client, and of the server."""

    client: float
    server: float


def traffic(limits: Threshold, length: int, bits: int) -> Mapping[str, Exchange]:
    """Stage -> bytes, for a client whose cohort stays whole. length, bits: of the ring vector."""
    n, k = limits.n, limits.k
    advertisement = Advertisement(bytes(32), bytes(32), bytes(32), bytes(CERTIFICATE), bytes(SIGNATURE))
    envelope = Envelope(bytes(_CIPHERTEXT), bytes(32), bytes(32), bytes(SIGNATURE))
    envelopes = tuple((position, envelope) for position in range(k))
    roster = tuple(Entry("n" * NAME, advertisement) for _ in range(n))
    survivors = bitmap(range(n), n)
    confirmations = tuple((position, bytes(SIGNATURE)) for position in range(limits.quorum))
    shares = tuple((position, SEED_SHARE, bytes(SHARE_BYTES)) for position in range(k))
    vector = len(MaskReply((), b"").head()) + packed_size(length, bits)
    stages = {
        "advertise": Exchange(len(AdvertiseRequest(bytes(32)).to_bytes()), len(advertisement.to_bytes())),
        "share": Exchange(
            len(ShareRequest(k, limits.t, roster).to_bytes()), len(ShareReply(envelopes).to_bytes())
        ),
        "mask": Exchange(len(MaskRequest(envelopes).to_bytes()), vector),
        "confirm": Exchange(
            len(ConfirmRequest(survivors).to_bytes()), len(ConfirmReply(bytes(SIGNATURE)).to_bytes())
        ),
        "reveal": Exchange(
            len(RevealRequest(survivors, confirmations).to_bytes()), len(RevealReply(shares).to_bytes())
        ),
    }
    return {stage: stages[stage] for stage in STAGES if stage != "confirm" or limits.quorum}


def cpu(limits: Threshold, length: int, bits: int, vanished: int) -> Cpu:
    """Of a round in which `vanished` clients are gone before they send their vector."""
    mask = length * (4 if bits <= 32 else 8) * _KEYSTREAM
    stayed = limits.n - vanished
    client = limits.k * _PER_NEIGHBOUR + length * _ENCODE_AND_PACK + (limits.k + 1) * mask
    server = (
        limits.n * _PER_CLIENT
        + limits.n * limits.k * _PER_PAIR
        + stayed * length * _UNPACK_AND_ADD
        + (stayed + vanished * min(stayed, limits.k)) * mask
    )
    return Cpu(client, server)
