"""From a plan to its protocol: the encoding, the policy, the context, and a session for either side."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from secagg import canonical
from secagg.credentials import Authority, Credentials
from secagg.encoding.codec import Codec
from secagg.errors import CredentialsError
from secagg.masking.client import MaskingClient
from secagg.masking.parameters import smallest_cohort
from secagg.masking.roster import Admits
from secagg.masking.server import MaskingServer
from secagg.plan import Plan, policy_of, settings_of
from secagg.prg import Random, Ring
from secagg.session import ClientSession, ServerSession
from secagg.unprotected import UnprotectedClient, UnprotectedServer
from secagg.weights import Array, Layout, digest

__all__ = ["Assignment", "codec_of", "least_cohort"]


def codec_of(plan: Plan, weights: Mapping[str, Array]) -> Codec:
    """The encoding of this model under this plan."""
    return Codec(Layout.of(weights, plan.training.local), settings_of(plan))


def least_cohort(plan: Plan) -> int:
    """The smallest number of clients with whom an attempt can open a sum, if nobody vanishes."""
    policy = policy_of(plan)
    if plan.protection.kind == "none":
        return policy.min_survivors
    return smallest_cohort(policy)


@dataclass(frozen=True)
class Assignment:
    """One round's task as one side holds it; both sides make their sessions from their own.

    `digest` is over the whole plan and every array of the model. Clients that were given another model, plan
    or round derive other masks, and nothing opens. protected=False: a simulation without cryptography.
    """

    plan: Plan
    codec: Codec
    run: bytes
    round: int
    digest: bytes
    protected: bool = True

    @classmethod
    def of(
        cls, plan: Plan, weights: Mapping[str, Array], run: bytes, round: int, protected: bool = True
    ) -> Assignment:
        codec = codec_of(plan, weights)
        task = canonical.digest("task", plan.to_json(), digest(weights))
        return cls(plan, codec, run, round, task, protected)

    def context(self, attempt: int) -> bytes:
        """32 bytes that every key of this attempt is derived under."""
        policy = policy_of(self.plan).encode(self.codec.bits, self.codec.length)
        return canonical.digest("context", self.run, self.round, attempt, policy, self.digest)

    @property
    def masked(self) -> bool:
        return self.protected and self.plan.protection.kind == "masks"

    def server_session(
        self, attempt: int, clients: Sequence[str], authority: Authority | None, admits: Admits, now: datetime
    ) -> ServerSession:
        """Raises CredentialsError `credentials-missing` when masks are asked for without an authority."""
        if self.masked:
            if authority is None:
                raise CredentialsError("credentials-missing", "masked aggregation needs an authority")
            return MaskingServer(
                context=self.context(attempt),
                policy=policy_of(self.plan),
                bits=self.codec.bits,
                length=self.codec.length,
                clients=clients,
                authority=authority,
                admits=admits,
                now=now,
            )
        return UnprotectedServer(
            context=self.context(attempt),
            bits=self.codec.bits,
            length=self.codec.length,
            clients=clients,
            min_survivors=self.plan.cohort.min_survivors,
        )

    def client_session(
        self,
        attempt: int,
        vector: Ring,
        credentials: Credentials | None,
        admits: Admits,
        now: datetime,
        random: Random = os.urandom,
    ) -> ClientSession:
        """Raises CredentialsError `credentials-missing` when masks are asked for without any."""
        if self.masked:
            if credentials is None:
                raise CredentialsError("credentials-missing", "masked aggregation needs credentials")
            return MaskingClient(
                context=self.context(attempt),
                policy=policy_of(self.plan),
                bits=self.codec.bits,
                vector=vector,
                credentials=credentials,
                admits=admits,
                now=now,
                random=random,
            )
        return UnprotectedClient(context=self.context(attempt), bits=self.codec.bits, vector=vector)
