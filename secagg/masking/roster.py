"""The roster: who takes part in an attempt, verified whole, and what follows from it.

Every client verifies every entry itself, so that a server cannot invent a member, exchange a key, or show
different rosters to different clients: all keys after `advertise` are derived under a context that binds the
whole roster. The server runs the same checks on each entry as it comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from secagg import canonical
from secagg.credentials import Authority, Identity
from secagg.masking.graph import neighbours
from secagg.masking.messages import Advertisement, Entry
from secagg.masking.parameters import Threshold
from secagg.membership import Admits, claim_keys, require_sorted, verify_member

__all__ = ["Member", "Roster", "verify_entry"]


@dataclass(frozen=True)
class Member:
    """One verified entry."""

    id: str
    advertisement: Advertisement
    identity: Identity

    def claim_keys(self, seen: set[bytes]) -> None:
        """Adds its three public keys to those seen. Raises ProtocolError `key-repeated`."""
        claim_keys(self.identity, (self.advertisement.channel_pk, self.advertisement.mask_pk), seen)

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
    identity = verify_member(
        entry.id,
        advertisement.certificate,
        advertisement.signature,
        keys=(advertisement.channel_pk, advertisement.mask_pk),
        also_signed=(advertisement.commitment,),
        context=context,
        authority=authority,
        admits=admits,
        now=now,
    )
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
        require_sorted([member.id for member in members])
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
