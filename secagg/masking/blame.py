"""Complaints about envelopes that did not open: who is named, and whether the sum can still be opened.

A holder that cannot open an owner's envelope says so when it sends its masked vector, and then holds no share
of that owner. Either of the two may be lying. Proven is only what a signature or a count proves: an envelope
whose own signature is wrong names its owner, and so do more than c complaints (two at least), because one of
them is then an honest client's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from secagg.errors import ProtocolError
from secagg.masking.messages import Envelope
from secagg.masking.roster import Roster
from secagg.membership import signed

__all__ = ["Complaints"]


class Complaints:
    """Who complained about whose envelope, by roster position."""

    def __init__(self) -> None:
        self._holders: dict[int, set[int]] = {}

    def add(self, owner: int, holder: int) -> None:
        self._holders.setdefault(owner, set()).add(holder)

    def between(self, owner: int, holder: int) -> bool:
        return holder in self._holders.get(owner, ())

    def pairs(self) -> list[tuple[int, int]]:
        """(owner, holder), of whom one cheated."""
        return [(owner, holder) for owner in sorted(self._holders) for holder in sorted(self._holders[owner])]

    def proven(
        self, roster: Roster, envelopes: Mapping[int, Mapping[int, Envelope]], colluders: int
    ) -> dict[str, str]:
        """Owner -> code, where the complaints prove something."""
        found = {}
        for owner, holders in self._holders.items():
            member = roster.members[owner]
            if any(
                not member.identity.verify(
                    envelopes[owner][holder].signature,
                    signed(
                        "shares",
                        member.id,
                        roster.context,
                        roster.members[holder].id,
                        envelopes[owner][holder].seed_digest,
                        envelopes[owner][holder].key_digest,
                    ),
                )
                for holder in holders
            ):
                found[member.id] = "share-signature"
            elif len(holders) > max(colluders, 1):
                found[member.id] = "share-unopenable"
        return found

    def require_openable(self, roster: Roster, shared: Sequence[int], survivors: Sequence[int]) -> None:
        """Raises ProtocolError `shares-lost` while a retry is still possible, rather than after it."""
        staying = set(survivors)
        for owner in shared:
            holders = staying & set(roster.neighbours(owner)) - self._holders.get(owner, set())
            if len(holders) < roster.threshold.t:
                raise ProtocolError(
                    "shares-lost",
                    f"{len(holders)} survivors hold shares of '{roster.members[owner].id}', "
                    f"and {roster.threshold.t} are needed",
                )
