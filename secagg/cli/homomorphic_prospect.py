"""What a plan under BFV or CKKS promises: scheme, ring, who can open what, bytes and CPU.

The figures are those the protocol itself will use (`secagg.homomorphic.scheme`, `secagg.encoding`), so what
is said here is what happens. Nothing is run, and neither SEAL nor TenSEAL is needed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from secagg.cli.exchange import Exchange
from secagg.cli.homomorphic_cost import CiphertextCpu, Role, cpu, table, traffic
from secagg.cli.homomorphic_words import (
    SECURITY_BITS,
    about_bytes,
    about_choices,
    about_cohort,
    about_cpu,
    about_scheme,
    about_staying,
    about_widening,
)
from secagg.cli.ring_words import about_ring, holds
from secagg.encoding.codec import Settings
from secagg.encoding.ring import MAX_BITS
from secagg.errors import EncodingError
from secagg.homomorphic.scheme import MAX_MODULUS_BITS, Kind, Scheme, scheme_for
from secagg.plan import Plan, settings_of
from secagg.plan_problems import MAX_RECOMPUTED
from secagg.protections import least_cohort
from secagg.who_can_open import who_can_open

__all__ = ["HomomorphicProspect", "Parameters", "homomorphic_prospect"]

_LARGEST_COHORT: Final = (1 << 31) - 1
_NEGLIGIBLE: Final = 2.0**-40
"""With what probability the error of a sum is more than the scheme was chosen for (`error_bounds`)."""


@dataclass(frozen=True)
class Parameters:
    """The scheme: bits of each prime and of all together, with the bound that security sets; BFV's plain
    modulus or CKKS's scale; ring integers in a slot, and ciphertexts of a vector.
    """

    degree: int
    prime_bits: tuple[int, ...]
    special_prime_bits: int
    modulus_bits: int
    modulus_bits_bound: int
    security_bits: int
    plain_modulus: int | None
    scale: int | None
    integers_per_slot: int
    ciphertexts: int


@dataclass(frozen=True)
class HomomorphicProspect:
    """A full cohort of `clients`, how many decrypt, how many of them must stay to the end, the smallest
    cohort that can open a sum and the largest that this precision allows (None: under privacy); scheme and
    ring; and per round: bytes of one client by role and stage, CPU seconds. `inexact_below`: the probability
    that a sum cannot be opened. chosen: what of [cohort] the command chose. `words`: all of it, by title.
    """

    protection: str
    recompute: bool
    chosen: Mapping[str, Any]
    clients: int
    colluding: int
    adversary: str
    decryptors: int
    decryptors_needed: int
    quorum: int
    smallest_cohort: int
    ring_bits: int
    ring_holds_clients: int
    most_clients: int | None
    scheme: Parameters
    inexact_below: float
    ciphertext_bytes: int
    ciphertext_bytes_per_parameter: float
    public_key_bytes: int
    stages: Mapping[Role, Mapping[str, Exchange]]
    upload_bytes: Mapping[Role, int]
    download_bytes: Mapping[Role, int]
    cpu_seconds: CiphertextCpu
    who_can_open: tuple[str, ...]
    words: Mapping[str, tuple[str, ...]]


def homomorphic_prospect(plan: Plan, dim: int, chosen: Mapping[str, Any]) -> HomomorphicProspect:
    """What `plan` promises for a model of `dim` parameters; its kind is "bfv" or "ckks".

    Raises EncodingError `scheme-infeasible`.
    """
    settings, cohort, recompute = settings_of(plan, dim), plan.cohort, bool(plan.protection.recompute)
    kind: Kind = "ckks" if plan.protection.kind == "ckks" else "bfv"
    scheme = scheme_for(kind, cohort.max_clients, settings.bits, settings.length(dim))
    who = table(cohort.max_clients, recompute)
    stages, cost = traffic(scheme, who), cpu(scheme, who)
    up = {role: sum(stage.up for stage in one.values()) for role, one in stages.items()}
    down = {role: sum(stage.down for stage in one.values()) for role, one in stages.items()}
    most = _most_clients(kind, settings, recompute)
    openers = tuple(who_can_open(plan))
    words = {
        "chosen here": tuple(about_choices(plan, chosen)),
        "cohort": tuple(about_cohort(plan, who)),
        "who can open what": openers,
        "who must stay": tuple(about_staying(plan, who)),
        "ring": (*about_ring(plan, settings, dim), *about_widening(most, recompute)),
        "scheme": tuple(about_scheme(scheme)),
        "bytes, per client and round": tuple(about_bytes(up, down, scheme, who)),
        "CPU, per round, roughly": tuple(about_cpu(cost)),
    }
    return HomomorphicProspect(
        protection=kind,
        recompute=recompute,
        chosen=dict(chosen),
        clients=who.clients,
        colluding=0,
        adversary=cohort.adversary,
        decryptors=who.decryptors,
        decryptors_needed=max(1, who.quorum),
        quorum=who.quorum,
        smallest_cohort=least_cohort(plan),
        ring_bits=settings.bits,
        ring_holds_clients=holds(settings, settings.bits),
        most_clients=most,
        scheme=_parameters(scheme),
        inexact_below=_NEGLIGIBLE,
        ciphertext_bytes=scheme.size,
        ciphertext_bytes_per_parameter=scheme.size / dim,
        public_key_bytes=scheme.public_key_size,
        stages=stages,
        upload_bytes=up,
        download_bytes=down,
        cpu_seconds=cost,
        who_can_open=openers,
        words={title: sentences for title, sentences in words.items() if sentences},
    )


def _most_clients(kind: Kind, settings: Settings, recompute: bool) -> int | None:
    """Of whom a sum can be added exactly at this precision; not looked for under privacy."""
    if settings.noise is not None:
        return None
    plain = min(holds(settings, MAX_BITS), MAX_RECOMPUTED if recompute else _LARGEST_COHORT)
    return bisect_left(range(1, plain + 1), True, key=lambda n: not _adds(kind, settings, n))


def _adds(kind: Kind, settings: Settings, clients: int) -> bool:
    try:
        scheme_for(kind, clients, replace(settings, max_clients=clients).bits, 1)
    except EncodingError:
        return False
    return True


def _parameters(scheme: Scheme) -> Parameters:
    return Parameters(
        degree=scheme.degree,
        prime_bits=tuple(prime.bit_length() for prime in scheme.primes),
        special_prime_bits=scheme.special.bit_length(),
        modulus_bits=scheme.modulus_bits,
        modulus_bits_bound=MAX_MODULUS_BITS[scheme.degree],
        security_bits=SECURITY_BITS,
        plain_modulus=scheme.plain_modulus or None,
        scale=scheme.scale or None,
        integers_per_slot=scheme.per_slot,
        ciphertexts=scheme.blocks,
    )
