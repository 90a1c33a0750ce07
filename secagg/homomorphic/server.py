"""The server's side of homomorphic summation: it routes, adds ciphertexts, and is handed the sum.

It needs no SEAL and never holds a secret key: adding is arithmetic modulo the primes (`words`), and the
secret key passes through sealed for its decryptors. With `recompute` it does not even add: uploads wait on
disk, and the decryptors fetch and add them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from secagg.credentials import Authority
from secagg.encoding.packing import packed_size, unpack
from secagg.errors import ProtocolError, TooFewClients
from secagg.homomorphic.cohort import DECRYPTORS, Cohort, Member, Terms, verify_entry
from secagg.homomorphic.messages import (
    MAX_CERTIFICATE,
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
from secagg.homomorphic.spool import Spool
from secagg.homomorphic.words import (
    Words,
    add_words,
    check_words,
    pack_words,
    spread_words,
    zero_words,
)
from secagg.membership import Admits
from secagg.prg import Ring
from secagg.session import Answers, Sum

__all__ = ["HomomorphicServer"]

_MISHAPS: Final = frozenset({"member-certificate", "spool-failed"})
"""What keeps a client out of an attempt and proves no lie: a certificate may expire, a disk be full."""

_ENVELOPE: Final = 1024
"""More than a signature and its framing take; bounds replies before they are read."""


class HomomorphicServer:
    """Sums the vectors of `clients` once.

    context: as the clients compute it. admits: which identities may take part.
    """

    def __init__(
        self,
        *,
        context: bytes,
        terms: Terms,
        clients: Sequence[str],
        authority: Authority,
        admits: Admits,
        now: datetime,
    ) -> None:
        self._context = context
        self._terms = terms
        self._authority = authority
        self._admits = admits
        self._now = now
        self._asked: dict[str, bytes] = {
            client: AdvertiseRequest(context).to_bytes() for client in sorted(clients)
        }
        self._answers = Answers(_MISHAPS)
        self._members: dict[str, Member] = {}
        self._keys_seen: set[bytes] = set()
        self._cohort: Cohort | None = None
        self._key: KeyReply | None = None
        self._under = b""
        self._total: Words | None = None
        self._spool: Spool | None = None
        self._parts: dict[int, Part] = {}
        self._confirmations: dict[int, bytes] = {}
        self._fetched = 0
        self._opened: set[bytes] = set()
        self._sum: Ring | None = None
        self.stage = "advertise"

    @property
    def opens(self) -> bool:
        return self.stage == "open"

    @property
    def members(self) -> tuple[str, ...]:
        if self.stage in ("advertise", "key", "upload"):
            return ()
        return tuple(self._verified().members[position].id for position in self._survivors)

    @property
    def key_holders(self) -> tuple[str, ...]:
        """The decryptors, from the moment there is a key."""
        if self._cohort is None or not self._under:
            return ()
        return tuple(self._cohort.members[position].id for position in self._cohort.decryptors)

    @property
    def retryable(self) -> bool:
        """Until the first ciphertext could have been sent: whoever sent one may be gone, and is done."""
        return self.stage in ("advertise", "key")

    @property
    def faults(self) -> Mapping[str, str]:
        return dict(self._answers.faults)

    @property
    def suspects(self) -> tuple[tuple[str, str], ...]:
        return ()

    @property
    def reply_limit(self) -> int:
        scheme = self._terms.scheme
        return {
            "advertise": MAX_CERTIFICATE + _ENVELOPE,
            "key": (1 + DECRYPTORS) * (scheme.public_key_size + _ENVELOPE),
            "upload": scheme.size + _ENVELOPE,
            "open": packed_size(scheme.length, scheme.bits) + _ENVELOPE,
            "": 0,
        }.get(self.stage, _ENVELOPE)

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
            "key": self._receive_key,
            "upload": self._receive_upload,
            "confirm": self._receive_confirmation,
            "fetch": self._receive_fetched,
            "open": self._receive_sum,
        }[self.stage.partition("-")[0]](client, reply)

    def _receive_advertisement(self, client: str, reply: bytes | bytearray | memoryview) -> None:
        entry = Entry(client, Advertisement.from_bytes(reply))
        member = verify_entry(entry, self._context, self._authority, self._admits, self._now)
        member.claim_keys(self._keys_seen)  # of two clients with one key, the later one is at fault
        self._members[client] = member

    def _receive_key(self, client: str, reply: bytes | bytearray | memoryview) -> None:
        key, cohort, scheme = KeyReply.from_bytes(reply), self._verified(), self._terms.scheme
        maker = cohort.position(client)
        if not cohort.verify(maker, key.signature, "public key", cohort.context, key.public_key):
            raise ProtocolError("public-key-signature", "the public key is not signed by its maker")
        spread_words(key.public_key, (*scheme.primes, scheme.special), 2 * scheme.degree)
        if tuple(position for position, _ in key.sealed) != tuple(sorted(cohort.decryptors[1:])):
            raise ProtocolError(
                "secret-holders", "the secret key is sealed for the other decryptors, and no one"
            )
        self._key = key

    def _receive_upload(self, client: str, reply: bytes | bytearray | memoryview) -> None:
        upload, cohort, scheme = UploadReply.from_bytes(reply), self._verified(), self._terms.scheme
        position = cohort.position(client)
        digest = hashlib.sha256(upload.ciphertext).digest()
        if not cohort.verify(position, upload.signature, "ciphertext", self._under, digest):
            raise ProtocolError(
                "ciphertext-signature", "the ciphertext is not signed by its sender under this attempt's key"
            )
        if self._total is not None:
            add_words(upload.ciphertext, scheme.primes, self._total)
        elif self._spool is not None:
            check_words(upload.ciphertext, scheme.primes, scheme.blocks * 2 * scheme.degree)
            self._spool.put(position, upload.ciphertext)
        self._parts[position] = Part(position, digest, upload.signature)

    def _receive_confirmation(self, client: str, reply: bytes | bytearray | memoryview) -> None:
        signature = ConfirmReply.from_bytes(reply).signature
        position = self._verified().position(client)
        digest = self._survivors_request().digest()
        if not self._verified().verify(position, signature, "confirm", self._under, digest):
            raise ProtocolError("confirm-signature", "the confirmation is not signed by its sender")
        self._confirmations[position] = signature

    def _receive_fetched(self, client: str, reply: bytes | bytearray | memoryview) -> None:  # noqa: ARG002
        if FetchReply.from_bytes(reply).position != self._survivors[self._fetched]:
            raise ProtocolError("fetch-position", "not the ciphertext that was sent")

    def _receive_sum(self, client: str, reply: bytes | bytearray | memoryview) -> None:  # noqa: ARG002
        scheme = self._terms.scheme
        packed = OpenReply.from_bytes(reply).vector
        vector = unpack(packed, scheme.length, scheme.bits)
        self._opened.add(hashlib.sha256(packed).digest())
        self._sum = vector

    # -- closing a stage ------------------------------------------------------------------------------

    def advance(self) -> None:
        """Closes the stage with whoever answered, and prepares the next one's requests.

        Raises TooFewClients, or ProtocolError `key-maker-lost`, `decryptors-lost`, `decryptors-disagree`.
        """
        {
            "advertise": self._close_advertise,
            "key": self._close_key,
            "upload": self._close_upload,
            "confirm": self._close_confirm,
            "fetch": self._close_fetch,
            "open": self._close_open,
        }[self.stage.partition("-")[0]]()
        self._answers.next_stage()

    def _require(self, needed: int, got: int) -> None:
        if got < needed:
            raise TooFewClients(self.stage, needed, got)

    def _close_advertise(self) -> None:
        members = [self._members[client] for client in sorted(self._members)]
        self._require(self._terms.min_survivors, len(members))
        self._cohort = Cohort.of(members, self._terms, self._context)
        self._asked = {self._cohort.key_maker.id: KeyRequest(self._roster()).to_bytes()}
        self.stage = "key"

    def _close_key(self) -> None:
        cohort, key, scheme = self._verified(), self._key, self._terms.scheme
        if key is None:
            raise ProtocolError(
                "key-maker-lost",
                f"'{cohort.key_maker.id}' was drawn to make the key, and made none in time",
                "another attempt draws again",
            )
        self._under = cohort.under(key.public_key)
        sealed = dict(key.sealed)
        request = UploadRequest(self._roster(), key.public_key, key.signature).to_bytes()
        self._asked = {member.id: request for member in cohort.members}
        for position, secret in sealed.items():
            self._asked[cohort.members[position].id] = UploadRequest(
                self._roster(), key.public_key, key.signature, secret
            ).to_bytes()
        if self._terms.recompute:
            self._spool = Spool()
        else:
            self._total = zero_words(scheme.primes, scheme.blocks * 2 * scheme.degree)
        self.stage = "upload"

    def _close_upload(self) -> None:
        self._require(self._terms.min_survivors, len(self._parts))
        here = [position for position in self._verified().decryptors if position in self._parts]
        least = self._verified().quorum if self._terms.recompute else 1
        self._require_decryptors(least, len(here))
        if self._total is not None:
            words, self._total = self._total, None
            ciphertext = pack_words(words, self._terms.scheme.primes)
            self._ask(here, OpenRequest(self._survivors, (), ciphertext).to_bytes())
            self.stage = "open"
        else:
            self._ask(here, self._survivors_request().to_bytes())
            self.stage = "confirm"

    def _require_decryptors(self, needed: int, got: int) -> None:
        if got < needed:
            raise ProtocolError(
                "decryptors-lost",
                f"{got} of {len(self._verified().decryptors)} decryptors are left, and {needed} are needed",
                "the next round draws others",
            )

    def _ask(self, positions: Sequence[int], request: bytes) -> None:
        self._asked = {self._verified().members[position].id: request for position in positions}

    def _close_confirm(self) -> None:
        self._require_decryptors(self._verified().quorum, len(self._confirmations))
        self._ask_to_fetch(tuple(self._confirmations))

    def _ask_to_fetch(self, decryptors: Sequence[int]) -> None:
        if self._spool is None:
            raise ProtocolError("stage-order", "there are no uploads to fetch")
        position = self._survivors[self._fetched]
        self._ask(decryptors, FetchRequest(position, self._spool.get(position)).to_bytes())
        self.stage = f"fetch-{position}"

    def _close_fetch(self) -> None:
        here = [self._verified().position(client) for client in self._answers]
        self._require_decryptors(1, len(here))
        self._fetched += 1
        if self._fetched < len(self._survivors):
            self._ask_to_fetch(here)
            return
        confirmations = tuple(sorted(self._confirmations.items()))
        self._ask(here, OpenRequest(self._survivors, confirmations, b"").to_bytes())
        self._close_spool()
        self.stage = "open"

    def _close_spool(self) -> None:
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    def _close_open(self) -> None:
        self._require_decryptors(1, len(self._opened))
        if len(self._opened) > 1:
            self._sum = None
            raise ProtocolError(
                "decryptors-disagree",
                "the decryptors opened different sums; nothing says which is right, and none is taken",
            )
        self._asked = {}
        self.stage = ""

    def sum(self) -> Sum:
        """The sum modulo 2^b and the survivors in it. Raises ProtocolError `sum-not-open`."""
        if self.stage or self._sum is None:
            raise ProtocolError("sum-not-open", f"the stage '{self.stage}' is not closed yet")
        return Sum(self._sum, self.members)

    # -- who is who -----------------------------------------------------------------------------------

    def _verified(self) -> Cohort:
        if self._cohort is None:
            raise ProtocolError("stage-order", "no roster is closed yet")
        return self._cohort

    def _roster(self) -> tuple[Entry, ...]:
        return tuple(member.entry for member in self._verified().members)

    @property
    def _survivors(self) -> tuple[int, ...]:
        return tuple(sorted(self._parts))

    def _survivors_request(self) -> ConfirmRequest:
        return ConfirmRequest(tuple(self._parts[position] for position in self._survivors))
