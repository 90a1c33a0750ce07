"""What a decryptor does with the secret key: one exact sum, opened once, and nothing else.

Without `recompute` it opens the one sum the server shows it, and cannot tell what was added. With it, it
confirms who is in the sum, adds the signed ciphertexts itself, and opens only its own sum, and only after a
quorum of decryptors confirmed the same survivors.

Raw CKKS decryptions give the secret key away (Li, Micciancio 2021, ePrint 2020/1533). What leaves here is
rounded to the exact integers, which anyone who knew the plaintexts could compute.
"""

from __future__ import annotations

import hashlib

import numpy as np

from secagg.encoding.packing import pack
from secagg.encoding.ring import word
from secagg.errors import ServerFault
from secagg.homomorphic.cohort import Cohort, Terms
from secagg.homomorphic.engine import SecretKey
from secagg.homomorphic.messages import ConfirmRequest, FetchRequest, OpenReply, OpenRequest
from secagg.homomorphic.words import Words, add_words, unpack_words, zero_words

__all__ = ["Decryptor"]


def _check_quorum(request: OpenRequest, cohort: Cohort, context: bytes, digest: bytes) -> None:
    """Raises ServerFault `quorum-too-small`, `quorum-stranger` or `quorum-signature`."""
    if len(request.confirmations) < cohort.quorum:
        raise ServerFault(
            "quorum-too-small", f"{len(request.confirmations)} confirmations, and {cohort.quorum} are needed"
        )
    for position, signature in request.confirmations:
        if position not in cohort.decryptors:
            raise ServerFault("quorum-stranger", "a confirmation of a client that is no decryptor")
        if not cohort.verify(position, signature, "confirm", context, digest):
            raise ServerFault(
                "quorum-signature", f"the confirmation of '{cohort.members[position].id}' is wrong"
            )


class Decryptor:
    """One decryptor in one attempt. own: its position. context: `cohort.under` the public key."""

    def __init__(self, terms: Terms, cohort: Cohort, own: int, context: bytes, key: SecretKey) -> None:
        self._terms = terms
        self._cohort = cohort
        self._own = own
        self._context = context
        self._key: SecretKey | None = key
        self._confirmed: ConfirmRequest | None = None
        self._total: Words | None = None
        self._added = 0

    def __repr__(self) -> str:
        return "Decryptor()"

    def confirm(self, request: ConfirmRequest, ciphertext_digest: bytes) -> bytes:
        """What to sign, after every part's signature was verified; then that sum can be added.

        ciphertext_digest: of this client's own upload. Raises ServerFault `survivors-too-few`,
        `survivors-unknown`, `survivors-without-self`, `part-signature`.
        """
        self._check_survivors(tuple(part.position for part in request.parts))
        for part in request.parts:
            if not self._cohort.verify(
                part.position, part.signature, "ciphertext", self._context, part.digest
            ):
                name = self._cohort.members[part.position].id
                raise ServerFault(
                    "part-signature", f"'{name}' did not sign what is said to be its ciphertext"
                )
            if part.position == self._own and part.digest != ciphertext_digest:
                raise ServerFault("survivors-without-self", "not the ciphertext that this client sent")
        self._confirmed = request
        scheme = self._terms.scheme
        self._total = zero_words(scheme.primes, scheme.blocks * 2 * scheme.degree)
        return request.digest()

    @property
    def next_stage(self) -> str:
        """What this decryptor waits for."""
        if not self._terms.recompute:
            return "open"
        if self._confirmed is None:
            return "confirm"
        left = self._confirmed.parts[self._added :]
        return f"fetch-{left[0].position}" if left else "open"

    def fetch(self, request: FetchRequest) -> None:
        """Adds the next survivor's ciphertext.

        Raises ServerFault `stage-order`, `part-changed`, and EncodingError as `words.add_words` does.
        """
        due = self.next_stage == f"fetch-{request.position}"
        if not due or self._confirmed is None or self._total is None:
            raise ServerFault("stage-order", "a ciphertext that is not the next one to add")
        part = self._confirmed.parts[self._added]
        if hashlib.sha256(request.ciphertext).digest() != part.digest:
            raise ServerFault("part-changed", "not the ciphertext that its owner signed")
        add_words(request.ciphertext, self._terms.scheme.primes, self._total)
        self._added += 1

    def open(self, request: OpenRequest) -> bytes:
        """The reply that holds the exact sum; the key is dropped, whatever happens.

        Raises ServerFault, and EncodingError `noise-budget`, `sum-inexact`, `sum-out-of-range`.
        """
        key, self._key = self._key, None
        if key is None:
            raise ServerFault("session-closed", "this key has opened its one sum")
        total, self._total = self._sum(request), None
        scheme = self._terms.scheme
        vector = np.empty(scheme.blocks * scheme.block, dtype=word(scheme.bits))
        width = 2 * scheme.degree
        for block in range(scheme.blocks):
            words = [prime[block * width : (block + 1) * width] for prime in total]
            vector[block * scheme.block : (block + 1) * scheme.block] = key.decrypt(words)
        return OpenReply.head() + pack(vector[: scheme.length], scheme.bits)

    def _sum(self, request: OpenRequest) -> Words:
        scheme = self._terms.scheme
        if not self._terms.recompute:
            if request.confirmations:
                raise ServerFault("message-long", "confirmations in a plan without recompute")
            self._check_survivors(request.survivors)
            return unpack_words(request.ciphertext, scheme.primes, scheme.blocks * 2 * scheme.degree)
        if self._confirmed is None or self._total is None or self._added < len(self._confirmed.parts):
            raise ServerFault("stage-order", "a sum was asked for before all of it was added")
        if request.ciphertext:
            raise ServerFault("message-long", "this client opens no sum but its own")
        if request.survivors != tuple(part.position for part in self._confirmed.parts):
            raise ServerFault("survivors-changed", "not the survivors that this client confirmed")
        _check_quorum(request, self._cohort, self._context, self._confirmed.digest())
        return self._total

    def _check_survivors(self, survivors: tuple[int, ...]) -> None:
        if survivors and survivors[-1] >= len(self._cohort):  # in order, as they were read
            raise ServerFault("survivors-unknown", "a survivor that is not in the roster")
        if self._own not in survivors:
            raise ServerFault("survivors-without-self", "this client sent its vector and is not in the sum")
        if len(survivors) < self._terms.min_survivors:
            raise ServerFault(
                "survivors-too-few",
                f"a sum over {len(survivors)} clients, and the plan opens none below "
                f"{self._terms.min_survivors}",
            )

    def erase(self) -> None:
        self._key = self._total = None
