"""The server's side of masked aggregation: it routes, adds, and opens the sum of those who stayed.

The server of Bonawitz et al. 2017 (ePrint 2017/281), figure 4. It learns the sum over the survivors and
nothing else; what it checks here it checks for its own sake: a client that breaks the rules is named and left
out, and the others go on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import numpy as np

from secagg.credentials import Authority
from secagg.encoding.packing import add_packed, packed_size
from secagg.encoding.ring import word
from secagg.errors import ClientFault, ProtocolError, TooFewClients
from secagg.masking.blame import Complaints
from secagg.masking.messages import (
    KEY_SHARE,
    MAX_CERTIFICATE,
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
from secagg.masking.opening import Shares, unmask
from secagg.masking.parameters import Policy, threshold
from secagg.masking.roster import Member, Roster, verify_entry
from secagg.masking.shamir import SHARE_BYTES
from secagg.membership import Admits, signed
from secagg.session import Answers, Sum

__all__ = ["MaskingServer"]

_MISHAPS: Final = frozenset({"member-certificate"})
"""What keeps a client out of an attempt and proves no lie: a certificate may expire in mid-run."""

_ENVELOPE: Final = 1024
"""More than an envelope or a confirmation takes; bounds replies before they are read."""


class MaskingServer:
    """Sums the vectors of `clients` once.

    context: as the clients compute it. length: coordinates L of the ring of `bits` bits. admits: which
    identities may take part.
    """

    def __init__(
        self,
        *,
        context: bytes,
        policy: Policy,
        bits: int,
        length: int,
        clients: Sequence[str],
        authority: Authority,
        admits: Admits,
        now: datetime,
    ) -> None:
        self._context = context
        self._policy = policy
        self._bits = bits
        self._authority = authority
        self._admits = admits
        self._now = now
        self._stages = [stage for stage in STAGES if policy.malicious or stage != "confirm"]
        self._asked: dict[str, bytes] = {
            client: AdvertiseRequest(context).to_bytes() for client in sorted(clients)
        }
        self._answers = Answers(_MISHAPS)
        self._members: dict[str, Member] = {}
        self._keys_seen: set[bytes] = set()
        self._roster: Roster | None = None
        self._envelopes: dict[int, dict[int, Envelope]] = {}
        self._shared: tuple[int, ...] = ()
        self._complaints = Complaints()
        self._total = np.zeros(length, dtype=word(bits))
        self._summed: set[int] = set()
        self._survivors: tuple[int, ...] = ()
        self._confirmations: dict[int, bytes] = {}
        self._shares = Shares()

    @property
    def stage(self) -> str:
        return self._stages[0] if self._stages else ""

    @property
    def opens(self) -> bool:
        return self.stage == "reveal"

    @property
    def members(self) -> tuple[str, ...]:
        if not self._survivors:
            return ()
        return tuple(self._verified().members[position].id for position in self._survivors)

    @property
    def key_holders(self) -> tuple[str, ...]:
        return ()

    @property
    def retryable(self) -> bool:
        """Until the first masked vector could have been sent (semi-honest: the first share revealed).

        A client gives its vector to one sum only, and cannot see whether one that it masked was opened.
        """
        return self.stage in ("advertise", "share") or (self.stage == "mask" and not self._policy.malicious)

    @property
    def faults(self) -> Mapping[str, str]:
        return dict(self._answers.faults)

    @property
    def suspects(self) -> tuple[tuple[str, str], ...]:
        """Pairs (owner, holder) of whom one cheated; the protocol cannot say which."""
        if self._roster is None:
            return ()
        members = self._roster.members
        return tuple((members[owner].id, members[holder].id) for owner, holder in self._complaints.pairs())

    @property
    def reply_limit(self) -> int:
        neighbours = max(len(self._asked), len(self._shared))  # of those who shared, some may have left
        return {
            "advertise": MAX_CERTIFICATE + _ENVELOPE,
            "share": 16 + neighbours * _ENVELOPE,
            "mask": 16 + neighbours * 4 + packed_size(len(self._total), self._bits),
            "confirm": _ENVELOPE,
            "reveal": 16 + neighbours * (SHARE_BYTES + 5),
            "": 0,
        }[self.stage]

    def requests(self) -> dict[str, bytes]:
        return dict(self._asked)

    # -- receiving ------------------------------------------------------------------------------------

    def receive(self, client: str, reply: bytes | bytearray | memoryview) -> None:
        """Takes one client's answer to this stage. The same answer twice is one answer.

        Raises ClientFault, with the client left out of the stage (and named in `faults`).
        """
        self._answers.take(client, reply, asked=self._asked, stage=self.stage, receive=self._receive)

    def _receive(self, client: str, reply: bytes | bytearray | memoryview) -> None:
        {
            "advertise": self._receive_advertisement,
            "share": self._receive_envelopes,
            "mask": self._receive_vector,
            "confirm": self._receive_confirmation,
            "reveal": self._receive_shares,
        }[self.stage](client, reply)

    def _receive_advertisement(self, client: str, reply: bytes | bytearray | memoryview) -> None:
        entry = Entry(client, Advertisement.from_bytes(reply))
        member = verify_entry(entry, self._context, self._authority, self._admits, self._now)
        member.claim_keys(self._keys_seen)  # of two clients with one key, the later one is at fault
        self._members[client] = member

    def _receive_envelopes(self, client: str, reply: bytes | bytearray | memoryview) -> None:
        owner = self._position(client)
        envelopes = ShareReply.from_bytes(reply).envelopes
        if tuple(holder for holder, _ in envelopes) != self._verified().neighbours(owner):
            raise ProtocolError("share-holders", "an envelope for each neighbour and no one else")
        self._envelopes[owner] = dict(envelopes)

    def _receive_vector(self, client: str, reply: bytes | bytearray | memoryview) -> None:
        holder = self._position(client)
        message = MaskReply.from_bytes(reply)
        shown = self._owners_shown_to(holder)
        if not set(message.failed) <= shown:
            raise ProtocolError("complaint-stranger", "a complaint about an envelope that was never sent")
        add_packed(message.vector, self._bits, self._total)
        self._summed.add(holder)
        for owner in message.failed:
            self._complaints.add(owner, holder)

    def _receive_confirmation(self, client: str, reply: bytes | bytearray | memoryview) -> None:
        signature = ConfirmReply.from_bytes(reply).signature
        position = self._position(client)
        member = self._verified().members[position]
        message = signed("confirm", client, self._verified().context, self._survivors_bitmap())
        if not member.identity.verify(signature, message):
            raise ProtocolError("confirm-signature", "the confirmation is not signed by its sender")
        self._confirmations[position] = signature

    def _receive_shares(self, client: str, reply: bytes | bytearray | memoryview) -> None:
        holder = self._position(client)
        survivors = frozenset(self._survivors)
        expected = {
            owner: SEED_SHARE if owner in survivors else KEY_SHARE
            for owner in self._owners_shown_to(holder)
            if not self._complaints.between(owner, holder)
        }
        shares = RevealReply.from_bytes(reply).shares
        if {owner: kind for owner, kind, _ in shares} != expected:
            raise ProtocolError(
                "share-set", "one share for each neighbour whose envelope opened, of its kind"
            )
        roster = self._verified()
        for owner, kind, share in shares:
            self._shares.check(roster, self._envelopes[owner][holder], owner, holder, kind, share)
        for owner, _, share in shares:
            self._shares.add(owner, holder, share)

    # -- closing a stage ------------------------------------------------------------------------------

    def advance(self) -> None:
        """Closes the stage with whoever answered, and prepares the next one's requests.

        Raises TooFewClients, or ProtocolError `shares-lost`, `seed-forged` or `key-forged`.
        """
        closed = self.stage
        {
            "advertise": self._close_advertise,
            "share": self._close_share,
            "mask": self._close_mask,
            "confirm": self._close_confirm,
            "reveal": self._close_reveal,
        }[closed]()
        self._answers.next_stage()
        del self._stages[0]

    def _require(self, needed: int, got: int) -> None:
        if got < needed:
            raise TooFewClients(self.stage, needed, got)

    def _close_advertise(self) -> None:
        members = [self._members[client] for client in sorted(self._members)]
        self._require(self._policy.min_survivors, len(members))
        limits = threshold(self._policy, len(members))
        self._roster = Roster.of(members, limits, self._context)
        entries = tuple(Entry(member.id, member.advertisement) for member in members)
        request = ShareRequest(limits.k, limits.t, entries).to_bytes()
        self._asked = {member.id: request for member in members}

    def _close_share(self) -> None:
        self._shared = tuple(sorted(self._envelopes))
        self._require(self._verified().threshold.needed, len(self._shared))
        self._asked = {
            self._verified().members[holder].id: MaskRequest(
                tuple(
                    (owner, self._envelopes[owner][holder]) for owner in sorted(self._owners_shown_to(holder))
                )
            ).to_bytes()
            for holder in self._shared
        }

    def _close_mask(self) -> None:
        roster = self._verified()
        self._survivors = tuple(sorted(self._summed))
        self._require(roster.threshold.needed, len(self._survivors))
        self._answers.faults |= self._complaints.proven(roster, self._envelopes, self._policy.c)
        self._complaints.require_openable(roster, self._shared, self._survivors)
        survivors = self._survivors_bitmap()
        request = (
            ConfirmRequest(survivors).to_bytes()
            if self._policy.malicious
            else RevealRequest(survivors, ()).to_bytes()
        )
        self._asked = {roster.members[position].id: request for position in self._survivors}

    def _close_confirm(self) -> None:
        roster = self._verified()
        self._require(max(roster.threshold.quorum, roster.threshold.t + 1), len(self._confirmations))
        quorum = sorted(self._confirmations.items())[: roster.threshold.quorum]
        request = RevealRequest(self._survivors_bitmap(), tuple(quorum)).to_bytes()
        self._asked = {roster.members[position].id: request for position in sorted(self._confirmations)}

    def _close_reveal(self) -> None:
        roster = self._verified()
        dropped = tuple(owner for owner in self._shared if owner not in self._summed)
        try:
            unmask(roster, self._shares, self._survivors, dropped, self._total)
        except ClientFault as fault:
            self._answers.faults[fault.client] = fault.code
            raise
        finally:
            self._shares.erase()
        if self._bits < 8 * self._total.itemsize:
            self._total &= self._total.dtype.type((1 << self._bits) - 1)
        self._asked = {}

    def sum(self) -> Sum:
        """The sum modulo 2^b and the survivors in it. Raises ProtocolError `sum-not-open`."""
        if self._stages:
            raise ProtocolError("sum-not-open", f"the stage '{self.stage}' is not closed yet")
        return Sum(self._total, self.members)

    # -- who is who -----------------------------------------------------------------------------------

    def _verified(self) -> Roster:
        if self._roster is None:
            raise ProtocolError("stage-order", "no roster is closed yet")
        return self._roster

    def _position(self, client: str) -> int:
        return self._verified().position(client)

    def _owners_shown_to(self, holder: int) -> set[int]:
        """The neighbours in U2, whose envelopes `holder` was sent."""
        return set(self._verified().neighbours(holder)) & set(self._shared)

    def _survivors_bitmap(self) -> bytes:
        return bitmap(self._survivors, len(self._verified()))
