"""One client's side of masked aggregation: five answers, each after every check.

Bonawitz et al. 2017 (ePrint 2017/281), figure 4, with signed keys, a roster verified whole, shares whose
digests are signed, and survivors confirmed by a quorum. A request that fails any check ends the session: the
secrets are erased, nothing is revealed, and the error says why.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from traceback import clear_frames

from secagg.credentials import Credentials
from secagg.encoding.packing import pack_into, packed_size
from secagg.errors import FloorError, ProtocolError, SecaggError, ServerFault
from secagg.keys import Agreement, KeyPair, Secret, channel_key, seal, unseal
from secagg.masking import keys
from secagg.masking.messages import (
    KEY_SHARE,
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
    positions,
    stage_of,
)
from secagg.masking.parameters import Policy, threshold
from secagg.masking.roster import Roster, verify_entry
from secagg.masking.shamir import SHARE_BYTES, split
from secagg.membership import Admits, signed
from secagg.prg import Random, Ring, Streams
from secagg.session import SessionCache

__all__ = ["MaskingClient"]


@dataclass(frozen=True, repr=False)
class _HeldShares:
    """What a neighbour entrusted to this client."""

    seed: bytes
    key: bytes


class MaskingClient:
    """Masks one ring vector once.

    context: 32 bytes, what this client itself computed of the run, the round, the attempt, the policy and the
    task. vector: L words of the ring of `bits` bits; it is read, never changed. admits: this client's word
    on each other member. random: for keys, seeds, shares and nonces.
    """

    def __init__(
        self,
        *,
        context: bytes,
        policy: Policy,
        bits: int,
        vector: Ring,
        credentials: Credentials,
        admits: Admits,
        now: datetime,
        random: Random = os.urandom,
    ) -> None:
        self._id = credentials.identity.name
        self._context = context
        self._policy = policy
        self._bits = bits
        self._vector: Ring | None = vector
        self._credentials = credentials
        self._admits = admits
        self._now = now
        self._random = random
        self._cache = SessionCache()
        self._stages = [stage for stage in STAGES if policy.malicious or stage != "confirm"]
        self._closed = False
        self._channel = KeyPair.fresh(random)
        self._mask = KeyPair.fresh(random)
        self._seed = Secret.fresh(random)
        self._own: Advertisement | None = None
        self._roster: Roster | None = None
        self._position = -1
        self._shown: frozenset[int] = frozenset()
        self._incoming: dict[int, Secret] = {}
        self._held: dict[int, _HeldShares] = {}
        self._survivors: bytes | None = None

    def __repr__(self) -> str:
        return f"MaskingClient({self._id!r})"

    @property
    def sent(self) -> bool:
        return "mask" not in self._stages

    @property
    def spent(self) -> bool:
        """Whether a sum with this vector in it may have been opened; then it must not be masked again.

        Against a malicious server that is so from the moment the masked vector leaves: a survivor need not be
        in the quorum, so others can have a sum opened that this client never confirmed.
        """
        return ("mask" if self._policy.malicious else "reveal") not in self._stages

    def answer(self, request: bytes) -> bytes | bytearray:
        """The reply to one request. The same request again gets the same bytes.

        Raises ServerFault, or FloorError, after everything secret is erased.
        """
        if self._closed:
            raise ServerFault("session-closed", "this attempt is over at this client")
        done = False
        try:
            stage = stage_of(request)
            reply = self._cache.repeated(stage, request)
            if reply is None:
                if not self._stages or stage != self._stages[0]:
                    raise ServerFault("stage-order", f"stage '{stage}' was asked for out of its turn")
                reply = self._answers()[stage](request)
                self._cache.keep(stage, request, reply)
                del self._stages[0]
            done = True
        except SecaggError as error:
            clear_frames(error.__traceback__)  # or whoever keeps the error keeps their local variables
            if isinstance(error, FloorError | ServerFault):
                raise
            raise ServerFault(error.code, error.message, error.hint) from error
        finally:
            if not done:
                self.close()
        return reply

    def close(self) -> None:
        """Erases every secret and every cached reply. Every later request is refused."""
        self._closed = True
        self._erase()
        self._cache.forget()

    def _erase(self) -> None:
        for secret in (self._channel.private, self._mask.private, self._seed, *self._incoming.values()):
            secret.erase()
        self._incoming.clear()
        self._held.clear()
        self._vector = None

    def _answers(self) -> dict[str, Callable[[bytes], bytes | bytearray]]:
        return {
            "advertise": self._advertise,
            "share": self._share,
            "mask": self._mask_vector,
            "confirm": self._confirm,
            "reveal": self._reveal,
        }

    def _sign(self, purpose: str, context: bytes, *content: bytes | str) -> bytes:
        return self._credentials.sign(signed(purpose, self._id, context, *content))

    # -- advertise ------------------------------------------------------------------------------------

    def _advertise(self, data: bytes) -> bytes:
        request = AdvertiseRequest.from_bytes(data)
        if request.context != self._context:
            raise ServerFault(
                "context-mismatch",
                "the server's run, round, policy, model or configuration is not the one given to this client",
                "if the server is honest, both sides run different versions or plans",
            )
        committed = keys.commitment(self._context, self._id, self._seed.reveal())
        signature = self._sign("advertise", self._context, self._channel.public, self._mask.public, committed)
        self._own = Advertisement(
            self._channel.public,
            self._mask.public,
            committed,
            self._credentials.certificate_der,
            signature,
        )
        return self._own.to_bytes()

    # -- share ----------------------------------------------------------------------------------------

    def _share(self, data: bytes) -> bytes:
        request = ShareRequest.from_bytes(data)
        roster = self._verify(request)
        holders = roster.neighbours(self._position)
        points = [holder + 1 for holder in holders]
        t = roster.threshold.t
        seeds = split(self._seed.reveal(), t, points, self._random)
        privates = split(self._mask.private.reveal(), t, points, self._random)
        agreement = Agreement(self._channel.private)
        envelopes = tuple(
            (holder, self._seal(roster, agreement, holder, seeds[holder + 1], privates[holder + 1]))
            for holder in holders
        )
        return ShareReply(envelopes).to_bytes()

    def _verify(self, request: ShareRequest) -> Roster:
        """The whole roster, the server's k and t, and this client's own place."""
        limits = threshold(self._policy, len(request.roster))
        if (request.k, request.t) != (limits.k, limits.t):
            raise ServerFault(
                "threshold-changed",
                f"the server states k={request.k}, t={request.t}; "
                f"{limits.n} clients under this plan have k={limits.k}, t={limits.t}",
            )
        self._find_own(request.roster)
        members = [
            verify_entry(entry, self._context, self._credentials.authority, self._admits, self._now)
            for entry in request.roster
        ]
        self._roster = Roster.of(members, limits, self._context)
        return self._roster

    def _find_own(self, roster: tuple[Entry, ...]) -> None:
        own = [i for i, entry in enumerate(roster) if entry.id == self._id]
        if len(own) != 1 or roster[own[0]].advertisement != self._own:
            raise ServerFault("own-entry", "the roster does not hold this client's own entry as it sent it")
        self._position = own[0]

    def _seal(
        self, roster: Roster, agreement: Agreement, holder: int, seed_share: bytes, key_share: bytes
    ) -> Envelope:
        member, context = roster.members[holder], roster.context
        channel_pk = member.advertisement.channel_pk
        shared = agreement.shared(channel_pk)
        key = channel_key(shared, self._id, member.id, self._channel.public, channel_pk, context)
        self._incoming[holder] = Secret(
            channel_key(shared, member.id, self._id, channel_pk, self._channel.public, context)
        )
        ciphertext = seal(key, seed_share + key_share, self._random)
        seed_digest = keys.share_digest("seed", self._id, member.id, seed_share, context)
        key_digest = keys.share_digest("key", self._id, member.id, key_share, context)
        signature = self._sign("shares", context, member.id, seed_digest, key_digest)
        return Envelope(ciphertext, seed_digest, key_digest, signature)

    # -- mask -----------------------------------------------------------------------------------------

    def _mask_vector(self, data: bytes) -> bytearray:
        request = MaskRequest.from_bytes(data)
        roster = self._checked_roster()
        mine = frozenset(roster.neighbours(self._position))
        self._shown = frozenset(owner for owner, _ in request.envelopes)
        if not self._shown <= mine:
            raise ServerFault("share-owner", "shares of a client that is no neighbour of this one")
        failed = []
        for owner, envelope in request.envelopes:
            held = self._unseal(roster, owner, envelope)
            if held is None:
                failed.append(owner)
            else:
                self._held[owner] = held
        if len(self._held) < roster.threshold.t:
            raise ServerFault(
                "too-few-shares",
                f"{len(self._held)} shares of neighbours opened, and {roster.threshold.t} are needed",
            )
        return self._masked(roster, MaskReply(tuple(failed), b"").head())

    def _unseal(self, roster: Roster, owner: int, envelope: Envelope) -> _HeldShares | None:
        """The shares in an envelope; None when it does not open, or is not what its owner signed."""
        member, context = roster.members[owner], roster.context
        message = signed("shares", member.id, context, self._id, envelope.seed_digest, envelope.key_digest)
        if not member.identity.verify(envelope.signature, message):
            return None
        opened = unseal(self._incoming[owner].reveal(), envelope.ciphertext)
        if opened is None or len(opened) != 2 * SHARE_BYTES:
            return None
        held = _HeldShares(opened[:SHARE_BYTES], opened[SHARE_BYTES:])
        digests = (
            keys.share_digest("seed", member.id, self._id, held.seed, context),
            keys.share_digest("key", member.id, self._id, held.key, context),
        )
        return held if digests == (envelope.seed_digest, envelope.key_digest) else None

    def _masked(self, roster: Roster, head: bytes) -> bytearray:
        """`head`, then y = x + PRG(self) ± Σ PRG(s_ij), packed block by block."""
        if self._vector is None:
            raise ServerFault("session-closed", "this attempt is over at this client")
        agreement = Agreement(self._mask.private)
        own = (self._id, self._mask.public)
        plus = [keys.self_mask_key(self._seed.reveal(), self._id, roster.context)]
        minus: list[bytes] = []
        for other in self._shown:
            member = roster.members[other]
            mask_pk = member.advertisement.mask_pk
            key = keys.mask_key(agreement.shared(mask_pk), own, (member.id, mask_pk), roster.context)
            (plus if self._position < other else minus).append(key)
        streams = Streams(plus, minus, self._vector.dtype)
        length, bits = len(self._vector), self._bits
        out = bytearray(len(head) + packed_size(length, bits))
        out[: len(head)] = head
        packed = memoryview(out)[len(head) :]
        for start in range(0, length, streams.block):
            block = self._vector[start : start + streams.block].copy()
            streams.add_next(block)
            pack_into(block, bits, packed[start * bits // 8 : packed_size(start + len(block), bits)])
        streams.erase()
        return out

    # -- confirm and reveal ---------------------------------------------------------------------------

    def _confirm(self, data: bytes) -> bytes:
        request = ConfirmRequest.from_bytes(data)
        self._check_survivors(request.survivors)
        self._survivors = request.survivors
        context = self._checked_roster().context
        return ConfirmReply(self._sign("confirm", context, request.survivors)).to_bytes()

    def _check_survivors(self, bits: bytes) -> frozenset[int]:
        survivors = frozenset(positions(bits, len(self._checked_roster())))
        if self._position not in survivors:
            raise ServerFault("survivors-without-self", "this client sent its vector and is not in the sum")
        others = survivors & frozenset(self._checked_roster().neighbours(self._position))
        if not others <= self._shown:
            raise ServerFault("survivors-unknown", "a survivor whose shares this client was never shown")
        if len(survivors) < self._policy.min_survivors:
            raise ServerFault(
                "survivors-too-few",
                f"a sum over {len(survivors)} clients, and the plan opens none below "
                f"{self._policy.min_survivors}",
            )
        return survivors

    def _reveal(self, data: bytes) -> bytes:
        request = RevealRequest.from_bytes(data)
        survivors = self._check_survivors(request.survivors)
        if self._policy.malicious:
            self._check_quorum(request, survivors)
        shares = []
        for owner in sorted(self._held):
            held = self._held[owner]
            kind, share = (SEED_SHARE, held.seed) if owner in survivors else (KEY_SHARE, held.key)
            shares.append((owner, kind, share))
        reply = RevealReply(tuple(shares)).to_bytes()
        self._erase()
        return reply

    def _check_quorum(self, request: RevealRequest, survivors: frozenset[int]) -> None:
        roster = self._checked_roster()
        if request.survivors != self._survivors:
            raise ServerFault("survivors-changed", "not the survivors that this client confirmed")
        if len(request.confirmations) < roster.threshold.quorum:
            raise ServerFault(
                "quorum-too-small",
                f"{len(request.confirmations)} confirmations, and {roster.threshold.quorum} are needed",
            )
        for position, signature in request.confirmations:
            if position not in survivors:
                raise ServerFault("quorum-stranger", "a confirmation of a client that is no survivor")
            member = roster.members[position]
            message = signed("confirm", member.id, roster.context, request.survivors)
            if not member.identity.verify(signature, message):
                raise ServerFault("quorum-signature", f"the confirmation of '{member.id}' is wrong")

    def _checked_roster(self) -> Roster:
        if self._roster is None:
            raise ProtocolError("stage-order", "no roster was verified yet")
        return self._roster
