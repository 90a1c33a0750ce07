"""Membership: what a client shows of itself to the others, verified.

Every client verifies every member itself, so that a server cannot invent a member or exchange a key. What a
protocol binds of its members, and how, is its own: see `secagg.masking.roster`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import pairwise

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from secagg import canonical
from secagg.credentials import Authority, Identity
from secagg.errors import CredentialsError, FloorError, ProtocolError
from secagg.keys import is_canonical, is_low_order

__all__ = ["Admits", "claim_keys", "require_sorted", "signed", "verify_member"]

Admits = Callable[[Identity], bool]
"""Whether a verified identity may be a member: a client's floor, a server's list."""


def signed(purpose: str, signer: str, context: bytes, *content: canonical.Field) -> bytes:
    """The bytes a signature covers: purpose, signer, context and content; no two purposes share any."""
    return canonical.encode(canonical.VERSION_LABEL, f"signature {purpose}", signer, context, *content)


def verify_member(
    id: str,
    certificate: bytes,
    signature: bytes,
    *,
    keys: Sequence[bytes],
    also_signed: Sequence[bytes] = (),
    context: bytes,
    authority: Authority,
    admits: Admits,
    now: datetime,
) -> Identity:
    """Who `id` is: its certificate (DER), role and id, its keys, and its signature over them.

    keys: its X25519 public keys, 32 bytes each. The signature is that of `advertise` in `context`, over the
    keys and then `also_signed`.

    Raises ProtocolError `member-certificate`, `member-id`, `member-signature`, `key-low-order`,
    `key-encoding`, or FloorError `floor-member`.
    """
    try:
        identity = authority.identify(certificate, role="client", now=now)
    except CredentialsError as error:
        raise ProtocolError("member-certificate", f"{id!r}: {error.message}") from error
    if identity.name != id:
        raise ProtocolError("member-id", f"{id!r} shows the certificate of '{identity.name}'")
    if not admits(identity):
        raise FloorError(
            "floor-member",
            f"{id!r} ({identity.fingerprint[:16]}…) is not a member this client accepts",
            "add its certificate's fingerprint to `members` in the floor, or leave the run",
        )
    for key in keys:
        if is_low_order(key):
            raise ProtocolError("key-low-order", f"{id!r}: a public key of small order")
        if not is_canonical(key):
            raise ProtocolError("key-encoding", f"{id!r}: a public key in a second form")
    if not identity.verify(signature, signed("advertise", id, context, *keys, *also_signed)):
        raise ProtocolError("member-signature", f"{id!r}: the signature over its keys is wrong")
    return identity


def claim_keys(identity: Identity, keys: Sequence[bytes], seen: set[bytes]) -> None:
    """Adds a member's public keys, its certificate's among them, to those seen.

    Raises ProtocolError `key-repeated`, and then adds none.
    """
    certified = identity.public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    own = {*keys, certified}
    if len(own) <= len(keys) or own & seen:
        raise ProtocolError("key-repeated", f"'{identity.name}' shows a key twice, or one that another shows")
    seen |= own


def require_sorted(ids: Sequence[str]) -> None:
    """Each id comes once, in order. Raises ProtocolError `member-repeated`."""
    if any(one >= other for one, other in pairwise(ids)):
        raise ProtocolError("member-repeated", "the roster's ids are not distinct and sorted")
