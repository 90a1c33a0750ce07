"""One client's side of homomorphic summation: an upload, and for a few the opening.

Everyone advertises a key and uploads one encrypted vector; then most may leave. Of the decryptors, the first
makes the key pair and seals the secret key for the others; each opens one sum (`decryptor`). A request that
fails any check ends the session: the secrets are erased, nothing is revealed, and the error says why.

What this protects from: a server that holds no decryptor's key. The server and any one decryptor together
open every update; without `recompute` the server must be honest about what it added.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from datetime import datetime
from traceback import clear_frames

from secagg.credentials import Credentials
from secagg.errors import FloorError, ProtocolError, SecaggError, ServerFault
from secagg.homomorphic.cohort import Cohort, Terms, require_size, verify_entry
from secagg.homomorphic.decryptor import Decryptor
from secagg.homomorphic.engine import PublicKey, SecretKey
from secagg.homomorphic.messages import (
    Advertisement,
    AdvertiseRequest,
    ConfirmReply,
    ConfirmRequest,
    Entry,
    FetchReply,
    FetchRequest,
    KeyReply,
    KeyRequest,
    OpenRequest,
    UploadReply,
    UploadRequest,
    stage_of,
)
from secagg.keys import Agreement, KeyPair, Secret, channel_key, seal, unseal
from secagg.membership import Admits, signed
from secagg.prg import Random, Ring
from secagg.session import SessionCache

__all__ = ["HomomorphicClient"]


class HomomorphicClient:
    """Encrypts one ring vector once.

    context: 32 bytes, what this client itself computed of the run, the round, the attempt, the policy, the
    scheme and the task. vector: `terms.scheme.length` words of the ring; it is read, never changed. admits:
    this client's word on each other member. random: for channel keys and nonces; SEAL's randomness is the
    operating system's.
    """

    def __init__(
        self,
        *,
        context: bytes,
        terms: Terms,
        vector: Ring,
        credentials: Credentials,
        admits: Admits,
        now: datetime,
        random: Random = os.urandom,
    ) -> None:
        self._id = credentials.identity.name
        self._context = context
        self._terms = terms
        self._vector: Ring | None = vector
        self._credentials = credentials
        self._admits = admits
        self._now = now
        self._random = random
        self._cache = SessionCache()
        self._closed = False
        self._channel = KeyPair.fresh(random)
        self._own: Advertisement | None = None
        self._cohort: Cohort | None = None
        self._under = b""
        self._position = -1
        self._made: tuple[SecretKey, bytes] | None = None
        self._decryptor: Decryptor | None = None
        self._digest = b""
        self._allowed: tuple[str, ...] = ("advertise",)
        self._sent = False

    def __repr__(self) -> str:
        return f"HomomorphicClient({self._id!r})"

    @property
    def sent(self) -> bool:
        return self._sent

    @property
    def spent(self) -> bool:
        """From the moment the ciphertext leaves: whoever uploads may be gone when the sum is opened."""
        return self._sent

    def answer(self, request: bytes) -> bytes | bytearray:
        """The reply to one request. The same request again gets the same bytes.

        Raises ServerFault, FloorError or MissingExtraError, after everything secret is erased.
        """
        if self._closed:
            raise ServerFault("session-closed", "this attempt is over at this client")
        done = False
        try:
            stage = stage_of(request)
            reply = self._cache.repeated(stage, request)
            if reply is None:
                if stage not in self._allowed:
                    raise ServerFault("stage-order", f"stage '{stage}' was asked for out of its turn")
                reply = self._answers()[stage.partition("-")[0]](request)
                self._cache.keep(stage, request, reply)
            done = True
        except SecaggError as error:
            clear_frames(error.__traceback__)  # or whoever keeps the error keeps their local variables
            if isinstance(error, FloorError | ServerFault | ImportError):
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
        self._channel.private.erase()
        self._made = None
        if self._decryptor is not None:
            self._decryptor.erase()
            self._decryptor = None
        self._vector = None
        self._allowed = ()

    def _answers(self) -> dict[str, Callable[[bytes], bytes | bytearray]]:
        return {
            "advertise": self._advertise,
            "key": self._make_key,
            "upload": self._upload,
            "confirm": self._confirm,
            "fetch": self._fetch,
            "open": self._open,
        }

    def _sign(self, purpose: str, context: bytes, content: bytes) -> bytes:
        return self._credentials.sign(signed(purpose, self._id, context, content))

    # -- advertise ------------------------------------------------------------------------------------

    def _advertise(self, data: bytes) -> bytes:
        request = AdvertiseRequest.from_bytes(data)
        if request.context != self._context:
            raise ServerFault(
                "context-mismatch",
                "the server's run, round, policy, model or configuration is not the one given to this client",
                "if the server is honest, both sides run different versions or plans",
            )
        signature = self._sign("advertise", self._context, self._channel.public)
        self._own = Advertisement(self._channel.public, self._credentials.certificate_der, signature)
        self._allowed = ("key", "upload")
        return self._own.to_bytes()

    # -- key ------------------------------------------------------------------------------------------

    def _make_key(self, data: bytes) -> bytes:
        cohort = self._verify(KeyRequest.from_bytes(data).roster)
        if self._position != cohort.decryptors[0]:
            raise ServerFault("key-maker", f"the roster draws '{cohort.key_maker.id}' to make the key")
        key, public = SecretKey.fresh(self._terms.scheme)
        encoded = public.to_bytes()
        secret = key.to_secret()
        sealed = tuple(
            (position, seal(self._channel_to(cohort, position), secret.reveal(), self._random))
            for position in sorted(cohort.decryptors[1:])
        )
        secret.erase()
        self._made = key, encoded
        self._allowed = ("upload",)
        return KeyReply(encoded, self._sign("public key", cohort.context, encoded), sealed).to_bytes()

    def _channel_to(self, cohort: Cohort, position: int) -> bytes:
        other = cohort.members[position]
        shared = Agreement(self._channel.private).shared(other.channel_pk)
        return channel_key(shared, self._id, other.id, self._channel.public, other.channel_pk, cohort.context)

    def _verify(self, roster: tuple[Entry, ...]) -> Cohort:
        """The whole roster, and this client's own place in it."""
        require_size(len(roster), self._terms)  # before a certificate is looked at
        own = [at for at, entry in enumerate(roster) if entry.id == self._id]
        if len(own) != 1 or roster[own[0]].advertisement != self._own:
            raise ServerFault("own-entry", "the roster does not hold this client's own entry as it sent it")
        members = [
            verify_entry(entry, self._context, self._credentials.authority, self._admits, self._now)
            for entry in roster
        ]
        cohort = Cohort.of(members, self._terms, self._context)
        if self._cohort is not None and cohort.context != self._cohort.context:
            raise ServerFault("roster-changed", "not the roster that this client made its key for")
        self._position, self._cohort = own[0], cohort
        return cohort

    # -- upload ---------------------------------------------------------------------------------------

    def _upload(self, data: bytes) -> bytearray:
        request = UploadRequest.from_bytes(data)
        cohort = self._verify(request.roster)
        maker = cohort.decryptors[0]
        if not cohort.verify(maker, request.signature, "public key", cohort.context, request.public_key):
            raise ServerFault(
                "public-key-signature",
                f"the public key is not signed by '{cohort.key_maker.id}', who makes it",
            )
        public = PublicKey.from_bytes(self._terms.scheme, request.public_key)
        self._under = cohort.under(request.public_key)
        if self._position in cohort.decryptors:
            key = self._secret_key(cohort, request, public)
            self._decryptor = Decryptor(self._terms, cohort, self._position, self._under, key)
        elif request.sealed:
            raise ServerFault("secret-misplaced", "a sealed secret key for a client that is no decryptor")
        reply = self._encrypted(public)
        self._sent = True
        self._vector = None
        self._channel.private.erase()
        self._allowed = (self._decryptor.next_stage,) if self._decryptor is not None else ()
        return reply

    def _secret_key(self, cohort: Cohort, request: UploadRequest, public: PublicKey) -> SecretKey:
        """The key this decryptor made, or the one sealed for it; it opens what `public` locks."""
        maker = cohort.decryptors[0]
        if self._position == maker:
            if self._made is None or self._made[1] != request.public_key or request.sealed:
                raise ServerFault("public-key-changed", "not the public key that this client made")
            key, self._made = self._made[0], None
            return key
        member = cohort.members[maker]
        shared = Agreement(self._channel.private).shared(member.channel_pk)
        opened = unseal(
            channel_key(shared, member.id, self._id, member.channel_pk, self._channel.public, cohort.context),
            request.sealed,
        )
        if not opened:
            raise ServerFault("secret-sealed", f"what '{member.id}' sealed for this client does not open")
        secret = Secret(opened)
        try:
            key = SecretKey.from_secret(self._terms.scheme, secret)
        finally:
            secret.erase()
        if not key.opens(public):
            raise ServerFault(
                "secret-mismatch", f"the secret key from '{member.id}' is not that of its public key"
            )
        return key

    def _encrypted(self, public: PublicKey) -> bytearray:
        """The signed ciphertexts of this client's vector, block by block into one reply."""
        if self._vector is None:
            raise ServerFault("session-closed", "this attempt is over at this client")
        out = public.encrypt_vector(self._vector)
        self._digest = hashlib.sha256(out).digest()
        head = UploadReply(self._sign("ciphertext", self._under, self._digest), b"").head()
        return bytearray(head) + out

    # -- the decryptors' end --------------------------------------------------------------------------

    def _confirm(self, data: bytes) -> bytes:
        decryptor = self._as_decryptor()
        digest = decryptor.confirm(ConfirmRequest.from_bytes(data), self._digest)
        self._allowed = (decryptor.next_stage,)
        return ConfirmReply(self._sign("confirm", self._under, digest)).to_bytes()

    def _fetch(self, data: bytes) -> bytes:
        decryptor, request = self._as_decryptor(), FetchRequest.from_bytes(data)
        decryptor.fetch(request)
        self._allowed = (decryptor.next_stage,)
        return FetchReply(request.position).to_bytes()

    def _open(self, data: bytes) -> bytes:
        reply = self._as_decryptor().open(OpenRequest.from_bytes(data))
        self._erase()
        return reply

    def _as_decryptor(self) -> Decryptor:
        if self._decryptor is None:
            raise ProtocolError("stage-order", "this client is no decryptor")
        return self._decryptor
