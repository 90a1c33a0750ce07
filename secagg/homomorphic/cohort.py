"""The cohort: who takes part in an attempt, verified whole, and who of them decrypts.

The decryptors are drawn from the digests of the roster, which every client verifies for itself; the first of
them makes the key pair. All signatures after `advertise` are made in a context that binds the whole roster
and the decryptors, and those after `key` in one that binds the public key too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Final

from secagg import canonical
from secagg.credentials import Authority, Identity
from secagg.errors import ProtocolError
from secagg.homomorphic.messages import Entry
from secagg.homomorphic.scheme import Scheme
from secagg.membership import Admits, claim_keys, require_sorted, signed, verify_member

__all__ = ["DECRYPTORS", "Cohort", "Member", "Terms", "require_size", "verify_entry"]

DECRYPTORS: Final = 3
"""How many of a cohort hold the secret key: each can open what the server shows it, and one must stay."""


@dataclass(frozen=True)
class Terms:
    """What both sides hold an attempt to; the same for every round of a run."""

    scheme: Scheme
    min_survivors: int
    recompute: bool


def require_size(n: int, terms: Terms) -> None:
    """Raises ProtocolError `cohort-too-small` or `cohort-too-large`."""
    if n < terms.min_survivors:
        raise ProtocolError(
            "cohort-too-small",
            f"{n} clients, and the plan opens no sum over fewer than {terms.min_survivors}",
        )
    if n > terms.scheme.max_clients:
        raise ProtocolError(
            "cohort-too-large", f"{n} clients, and the plan admits {terms.scheme.max_clients}"
        )


@dataclass(frozen=True)
class Member:
    """One verified entry."""

    entry: Entry
    identity: Identity

    @property
    def id(self) -> str:
        return self.entry.id

    @property
    def channel_pk(self) -> bytes:
        return self.entry.advertisement.channel_pk

    def claim_keys(self, seen: set[bytes]) -> None:
        """Adds its two public keys to those seen. Raises ProtocolError `key-repeated`."""
        claim_keys(self.identity, (self.channel_pk,), seen)

    def digest(self) -> bytes:
        return canonical.digest(
            "roster entry", self.id, self.channel_pk, self.entry.advertisement.certificate
        )


def verify_entry(entry: Entry, context: bytes, authority: Authority, admits: Admits, now: datetime) -> Member:
    """One entry on its own. Raises ProtocolError and FloorError as `membership.verify_member` does."""
    advertisement = entry.advertisement
    identity = verify_member(
        entry.id,
        advertisement.certificate,
        advertisement.signature,
        keys=(advertisement.channel_pk,),
        context=context,
        authority=authority,
        admits=admits,
        now=now,
    )
    return Member(entry, identity)


@dataclass(frozen=True)
class Cohort:
    """All members, sorted by id; a member's position is its index.

    decryptors: positions, the key maker's first. context: the one that binds all of it.
    """

    members: tuple[Member, ...]
    decryptors: tuple[int, ...]
    context: bytes

    @classmethod
    def of(cls, members: Sequence[Member], terms: Terms, context: bytes) -> Cohort:
        """Raises ProtocolError `cohort-too-small`, `cohort-too-large`, `member-repeated`, `key-repeated`."""
        n = len(members)
        require_size(n, terms)
        require_sorted([member.id for member in members])
        seen: set[bytes] = set()
        for member in members:
            member.claim_keys(seen)
        root = canonical.digest("roster", context, *(member.digest() for member in members))
        order = sorted(range(n), key=lambda position: canonical.digest("decryptor", root, position))
        decryptors = tuple(order[:DECRYPTORS])
        bound = canonical.digest("roster context", context, root, n, *decryptors)
        return cls(tuple(members), decryptors, bound)

    def __len__(self) -> int:
        return len(self.members)

    @property
    def key_maker(self) -> Member:
        return self.members[self.decryptors[0]]

    @property
    def quorum(self) -> int:
        """How many decryptors confirm the same survivors: two quorums share one, and each confirms once."""
        return len(self.decryptors) // 2 + 1

    def position(self, id: str) -> int:
        return self._positions[id]

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {member.id: position for position, member in enumerate(self.members)}

    def under(self, public_key: bytes) -> bytes:
        """The context of everything that is said under this public key."""
        return canonical.digest("homomorphic key", self.context, public_key)

    def verify(self, position: int, signature: bytes, purpose: str, context: bytes, content: bytes) -> bool:
        """Whether the member at `position` signed `content` for this purpose in this context."""
        member = self.members[position]
        return member.identity.verify(signature, signed(purpose, member.id, context, content))
