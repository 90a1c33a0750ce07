"""The roster: who takes part in an attempt, verified whole, and what follows from it.

Every client verifies every entry itself, so that a server cannot invent a member, exchange a key, or show
different rosters to different clients: all keys after `advertise` are derived under a context that binds the
whole roster. The server runs the same checks on each entry as it comes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import pairwise

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from secagg import canonical
from secagg.credentials import Authority, Identity
from secagg.errors import CredentialsError, FloorError, ProtocolError
from secagg.masking.graph import neighbours
from secagg.masking.keys import is_canonical, is_low_order
from secagg.masking.messages import Advertisement, Entry
from secagg.masking.parameters import Threshold

__all__ = ["Admits", "Member", "Roster", "signed", "verify_entry"]

Admits = Callable[[Identity], bool]
"""Whether a verified identity may be a member: a client's floor, a server's list."""


def signed(purpose: str, signer: str, context: bytes, *content: canonical.Field) -> bytes:
    """The bytes a signature covers: purpose, signer, context and content; no two purposes share any."""
    return canonical.encode(canonical.VERSION_LABEL, f"signature {purpose}", signer, context, *content)


@dataclass(frozen=True)
class Member:
    """One verified entry."""

    id: str
    advertisement: Advertisement
    identity: Identity

    def claim_keys(self, seen: set[bytes]) -> None:
        """Adds its three public keys to those seen. Raises ProtocolError `key-repeated`."""
        certified = self.identity.public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        own = {self.advertisement.channel_pk, self.advertisement.mask_pk, certified}
        if len(own) < 3 or own & seen:
            raise ProtocolError("key-repeated", f"'{self.id}' shows a key twice, or one that another shows")
        seen |= own

    def digest(self) -> bytes:
        ad = self.advertisement
        return canonical.digest(
            "roster entry", self.id, ad.channel_pk, ad.mask_pk, ad.commitment, ad.certificate
        )


def verify_entry(entry: Entry, context: bytes, authority: Authority, admits: Admits, now: datetime) -> Member:
    """One entry on its own: certificate, role, id, signature, keys.

    Raises ProtocolError `member-certificate`, `member-id`, `member-signature`, `key-low-order`,
    `key-encoding`, or FloorError `floor-member`.
    """
    advertisement = entry.advertisement
    try:
        identity = authority.identify(advertisement.certificate, role="client", now=now)
    except CredentialsError as error:
        raise ProtocolError("member-certificate", f"{entry.id!r}: {error.message}") from error
    if identity.name != entry.id:
        raise ProtocolError("member-id", f"{entry.id!r} shows the certificate of '{identity.name}'")
    if not admits(identity):
        raise FloorError(
            "floor-member",
            f"{entry.id!r} ({identity.fingerprint[:16]}…) is not a member this client accepts",
            "add its certificate's fingerprint to `members` in the floor, or leave the run",
        )
    for key in (advertisement.channel_pk, advertisement.mask_pk):
        if is_low_order(key):
            raise ProtocolError("key-low-order", f"{entry.id!r}: a public key of small order")
        if not is_canonical(key):
            raise ProtocolError("key-encoding", f"{entry.id!r}: a public key in a second form")
    message = signed(
        "advertise",
        entry.id,
        context,
        advertisement.channel_pk,
        advertisement.mask_pk,
        advertisement.commitment,
    )
    if not identity.verify(advertisement.signature, message):
        raise ProtocolError("member-signature", f"{entry.id!r}: the signature over its keys is wrong")
    return Member(entry.id, advertisement, identity)


@dataclass(frozen=True)
class Roster:
    """All members, sorted by id; a member's position is its index.

    base: the attempt's context. context: the one that binds the roster and its threshold as well ("ctx2").
    """

    members: tuple[Member, ...]
    threshold: Threshold
    base: bytes
    context: bytes
    seed: bytes

    @classmethod
    def of(cls, members: Sequence[Member], threshold: Threshold, context: bytes) -> Roster:
        """Raises ProtocolError `member-repeated` or `key-repeated`; ids must be sorted already."""
        ids = [member.id for member in members]
        if any(one >= other for one, other in pairwise(ids)):
            raise ProtocolError("member-repeated", "the roster's ids are not distinct and sorted")
        seen: set[bytes] = set()
        for member in members:
            member.claim_keys(seen)
        digests = [member.digest() for member in members]
        root = canonical.digest("roster", context, *digests)
        bound = canonical.digest("roster context", context, root, threshold.n, threshold.k, threshold.t)
        seed = canonical.digest("graph", context, *sorted(digests))
        return cls(tuple(members), threshold, context, bound, seed)

    def __len__(self) -> int:
        return len(self.members)

    def position(self, id: str) -> int:
        return self._positions[id]

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {member.id: position for position, member in enumerate(self.members)}

    def neighbours(self, position: int) -> tuple[int, ...]:
        return neighbours(len(self.members), self.threshold.k, position, self.seed)
