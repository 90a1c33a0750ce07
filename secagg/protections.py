"""From a plan to its protocol: the encoding, the policy, the context, and a session for either side."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Protocol, TypeVar

from secagg import canonical
from secagg.credentials import Authority, Credentials
from secagg.encoding.codec import Codec, Settings
from secagg.errors import CredentialsError
from secagg.homomorphic.client import HomomorphicClient
from secagg.homomorphic.cohort import Terms
from secagg.homomorphic.scheme import scheme_for
from secagg.homomorphic.server import HomomorphicServer
from secagg.masking.client import MaskingClient
from secagg.masking.server import MaskingServer
from secagg.membership import Admits
from secagg.plan import Plan, policy_of, settings_of
from secagg.plan_settings import least_cohort, uses_of
from secagg.prg import Random, Ring
from secagg.privacy.mechanisms import Use
from secagg.session import ClientSession, ServerSession
from secagg.unprotected import UnprotectedClient, UnprotectedServer
from secagg.weights import Array, Layout, Part, digest

__all__ = ["Assignment", "codec_of", "least_cohort"]

_Credential = TypeVar("_Credential", Authority, Credentials)


def codec_of(
    plan: Plan, weights: Mapping[str, Array], clip_norm: float = 0.0, rotation: bytes = b""
) -> Codec:
    """The encoding of this model under this plan.

    clip_norm: this round's, where it adapts; 0: the plan's. rotation: 32 public bytes, for small rings.
    """
    layout = Layout.of(weights, plan.training.local)
    return _codec(layout, settings_of(plan, layout.size, clip_norm or None), rotation)


@lru_cache(maxsize=8)
def _codec(layout: Layout, settings: Settings, rotation: bytes) -> Codec:
    """One codec for all clients of a simulation: it is a value, and computes its ring only once."""
    return Codec(layout, settings, rotation)


class Kept(Protocol):
    """What a client's journal keeps of a task beside its vector."""

    @property
    def task_digest(self) -> bytes: ...
    @property
    def dimension(self) -> int: ...
    @property
    def clip_norm(self) -> float: ...


def _noise_of(settings: Settings) -> tuple[float, ...]:
    """The noise as this side calibrated it: clients whose accountants differ do not add up."""
    if settings.noise is None or settings.noise.update is None:
        return ()
    return (float(settings.noise.update.noise_multiplier), float(settings.noise.contributors))


@dataclass(frozen=True)
class Assignment:
    """One round's task as one side holds it; both sides make their sessions from their own.

    `digest` is over the whole plan, every array of the model, the round's clip norm and the noise. Clients
    that were given another model, plan, norm or round derive other masks, and nothing opens.
    protected=False: a simulation without cryptography.
    """

    plan: Plan
    codec: Codec
    run: bytes
    round: int
    digest: bytes
    protected: bool = True

    def __post_init__(self) -> None:
        """Raises EncodingError `scheme-infeasible`: before anyone trains for a sum that cannot be made."""
        _ = self.terms

    @classmethod
    def of(
        cls,
        plan: Plan,
        weights: Mapping[str, Array],
        run: bytes,
        round: int,
        protected: bool = True,
        clip_norm: float = 0.0,
    ) -> Assignment:
        """clip_norm: this round's, where the plan lets it adapt; 0 elsewhere."""
        codec = codec_of(plan, weights, clip_norm, canonical.digest("rotation", run, round))
        task = canonical.digest(
            "task", plan.to_json(), digest(weights), float(clip_norm), *_noise_of(codec.settings)
        )
        return cls(plan, codec, run, round, task, protected)

    @classmethod
    def recalled(cls, plan: Plan, run: bytes, round: int, kept: Kept, protected: bool = True) -> Assignment:
        """What a session needs of a task whose model is gone: to protect a vector, not to encode one."""
        layout = Layout((Part("model", (kept.dimension,), "float32", 0, kept.dimension),))
        settings = settings_of(plan, kept.dimension, kept.clip_norm or None)
        codec = _codec(layout, settings, canonical.digest("rotation", run, round))
        return cls(plan, codec, run, round, kept.task_digest, protected)

    @property
    def clip_norm(self) -> float:
        """This round's."""
        return self.codec.settings.clip_norm

    def uses(self, attempt: int, waiting: int | None = None) -> tuple[Use, ...]:
        """What opening this round's sum costs, as the server knows it; nothing under a plan without unit.

        waiting: how many there were to draw from, under Poisson sampling.
        """
        if self.plan.privacy.unit == "none":
            return ()
        return uses_of(self.plan, self.codec, self.round, attempt, waiting)

    def context(self, attempt: int) -> bytes:
        """32 bytes that every key of this attempt is derived under."""
        policy = policy_of(self.plan).encode(self.codec.bits, self.codec.length)
        terms = self.terms
        scheme = () if terms is None else (terms.scheme.encode(), int(terms.recompute))
        return canonical.digest("context", self.run, self.round, attempt, policy, self.digest, *scheme)

    @property
    def masked(self) -> bool:
        return self.protected and self.plan.protection.kind == "masks"

    @property
    def terms(self) -> Terms | None:
        """Of homomorphic summation; None where that is not what protects.

        Raises EncodingError `scheme-infeasible`.
        """
        kind = self.plan.protection.kind
        if not self.protected or kind not in ("bfv", "ckks"):
            return None
        cohort, codec = self.plan.cohort, self.codec
        scheme = scheme_for(kind, cohort.max_clients, codec.bits, codec.length)
        return Terms(scheme, cohort.min_survivors, bool(self.plan.protection.recompute))

    def server_session(
        self, attempt: int, clients: Sequence[str], authority: Authority | None, admits: Admits, now: datetime
    ) -> ServerSession:
        """Raises CredentialsError `credentials-missing` when protection is asked for without an authority."""
        if (terms := self.terms) is not None:
            return HomomorphicServer(
                context=self.context(attempt),
                terms=terms,
                clients=clients,
                authority=_required(authority),
                admits=admits,
                now=now,
            )
        if self.masked:
            return MaskingServer(
                context=self.context(attempt),
                policy=policy_of(self.plan),
                bits=self.codec.bits,
                length=self.codec.length,
                clients=clients,
                authority=_required(authority),
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
        """Raises CredentialsError `credentials-missing` when protection is asked for without any."""
        if (terms := self.terms) is not None:
            return HomomorphicClient(
                context=self.context(attempt),
                terms=terms,
                vector=vector,
                credentials=_required(credentials),
                admits=admits,
                now=now,
                random=random,
            )
        if self.masked:
            return MaskingClient(
                context=self.context(attempt),
                policy=policy_of(self.plan),
                bits=self.codec.bits,
                vector=vector,
                credentials=_required(credentials),
                admits=admits,
                now=now,
                random=random,
            )
        return UnprotectedClient(context=self.context(attempt), bits=self.codec.bits, vector=vector)


def _required(credential: _Credential | None) -> _Credential:
    if credential is None:
        raise CredentialsError(
            "credentials-missing", "protected aggregation needs credentials and an authority"
        )
    return credential
