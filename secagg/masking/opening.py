"""Opening the sum: from revealed shares to secrets, from secrets to masks, from masks to the sum.

Every share is checked against the digest its owner signed, and every rebuilt secret against what its owner
advertised, so that whoever cheated is named. Rebuilt secrets are erased as soon as their masks are gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from secagg.errors import ClientFault, ProtocolError, TooFewClients
from secagg.keys import Agreement, KeyPair, Secret
from secagg.masking import keys
from secagg.masking.messages import SEED_SHARE, Envelope
from secagg.masking.roster import Roster
from secagg.masking.shamir import join
from secagg.prg import Ring, Streams

__all__ = ["Shares", "unmask"]

_STREAMS_AT_ONCE: Final = 1024


class Shares:
    """Revealed shares: owner -> (point -> share). Which secret they belong to is the owner's fate."""

    def __init__(self) -> None:
        self._of: dict[int, dict[int, bytes]] = {}

    def check(
        self, roster: Roster, envelope: Envelope, owner: int, holder: int, kind: int, share: bytes
    ) -> None:
        """Raises ProtocolError `share-forged` when the share is not the one its owner signed."""
        name, expected = (
            ("seed", envelope.seed_digest) if kind == SEED_SHARE else ("key", envelope.key_digest)
        )
        members = roster.members
        if keys.share_digest(name, members[owner].id, members[holder].id, share, roster.context) != expected:
            raise ProtocolError(
                "share-forged", f"not the share that '{members[owner].id}' gave it, and it did not complain"
            )

    def add(self, owner: int, holder: int, share: bytes) -> None:
        self._of.setdefault(owner, {})[holder + 1] = share

    def secret(self, roster: Roster, owner: int) -> Secret:
        """Rebuilds the one secret of `owner`. Raises TooFewClients, or ProtocolError from `join`."""
        t = roster.threshold.t
        held = self._of.get(owner, {})
        if len(held) < t:
            raise TooFewClients("reveal", t, len(held))
        points = sorted(held)[:t]
        return Secret(join({point: held[point] for point in points}, t))

    def erase(self) -> None:
        self._of.clear()


def unmask(
    roster: Roster, shares: Shares, survivors: Sequence[int], dropped: Sequence[int], total: Ring
) -> None:
    """Takes every mask off `total` in place: survivors' own, and theirs with those who dropped.

    Raises TooFewClients, or ClientFault `seed-forged` or `key-forged` naming the owner of shares that match
    their digests and rebuild the wrong secret.
    """
    plus: list[bytes] = []
    minus = [_self_mask(roster, shares, owner) for owner in survivors]
    staying = frozenset(survivors)
    for owner in dropped:
        neighbours = [other for other in roster.neighbours(owner) if other in staying]
        for other, key in _pairwise_masks(roster, shares, owner, neighbours):
            # `other` added this mask if it comes first in the roster, and subtracted it otherwise.
            (minus if other < owner else plus).append(key)
    while plus or minus:
        Streams(plus[:_STREAMS_AT_ONCE], minus[:_STREAMS_AT_ONCE], total.dtype).add_to(total)
        del plus[:_STREAMS_AT_ONCE], minus[:_STREAMS_AT_ONCE]


def _rebuilt(roster: Roster, shares: Shares, owner: int, code: str) -> Secret:
    name = roster.members[owner].id
    try:
        return shares.secret(roster, owner)
    except TooFewClients:
        raise
    except ProtocolError as error:
        raise ClientFault(code, f"the shares of '{name}' rebuild no secret", name) from error


def _self_mask(roster: Roster, shares: Shares, owner: int) -> bytes:
    member = roster.members[owner]
    seed = _rebuilt(roster, shares, owner, "seed-forged")
    try:
        committed = keys.commitment(roster.base, member.id, seed.reveal())
        if committed != member.advertisement.commitment:
            raise ClientFault(
                "seed-forged",
                f"the shares of '{member.id}' rebuild another seed than it committed to",
                member.id,
            )
        return keys.self_mask_key(seed.reveal(), member.id, roster.context)
    finally:
        seed.erase()


def _pairwise_masks(
    roster: Roster, shares: Shares, owner: int, neighbours: Sequence[int]
) -> list[tuple[int, bytes]]:
    member = roster.members[owner]
    private = _rebuilt(roster, shares, owner, "key-forged")
    try:
        if KeyPair(private).public != member.advertisement.mask_pk:
            raise ClientFault(
                "key-forged", f"the shares of '{member.id}' rebuild another key than it advertised", member.id
            )
        agreement = Agreement(private)
        own = (member.id, member.advertisement.mask_pk)
        masks = []
        for other in neighbours:
            peer = roster.members[other]
            shared = agreement.shared(peer.advertisement.mask_pk)
            peer_key = (peer.id, peer.advertisement.mask_pk)
            masks.append((other, keys.mask_key(shared, own, peer_key, roster.context)))
        return masks
    finally:
        private.erase()
