"""What `secagg params` says of homomorphic summation, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from secagg.cli.homomorphic_cost import CiphertextCpu, Role, Table
from secagg.cli.quantities import count, seconds, size
from secagg.homomorphic.scheme import MAX_MODULUS_BITS, Scheme
from secagg.plan import Plan
from secagg.protections import least_cohort

__all__ = [
    "SECURITY_BITS",
    "about_bytes",
    "about_choices",
    "about_cohort",
    "about_cpu",
    "about_scheme",
    "about_staying",
    "about_widening",
]

SECURITY_BITS: Final = 128
"""What the bounds on the modulus are for (`scheme.MAX_MODULUS_BITS`)."""


def about_choices(plan: Plan, chosen: Mapping[str, Any]) -> Iterator[str]:
    if chosen:
        said = ", ".join(
            f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}"
            for key, value in chosen.items()
        )
        yield f"{said}: what [cohort] of a plan with {plan.protection.kind} must say"


def about_cohort(plan: Plan, who: Table) -> Iterator[str]:
    kind, cohort = plan.protection.kind, plan.cohort
    honest = "it looks, and keeps to the protocol" if cohort.adversary == "semi-honest" else "it may lie"
    yield (
        f"{who.clients} clients, none of whom may collude with the server, which is assumed "
        f"{cohort.adversary}: {honest}"
    )
    yield (
        f"in each attempt {count(who.decryptors)} of them, drawn from the verified roster, hold the secret "
        "key; the first of these makes it"
    )
    yield f"as long as that holds, no sum over fewer than {cohort.min_survivors} clients is ever opened"
    floor = f'protections = ["{kind}"]'
    if cohort.adversary == "semi-honest":
        floor += ' and adversary = ["semi-honest"]'
    yield f"a client's floor refuses this by default, and accepts it with {floor}"


def about_staying(plan: Plan, who: Table) -> Iterator[str]:
    yield "a client uploads once and may be gone: its update is in the sum, and nobody needs it again"
    if who.recompute:
        yield (
            f"{count(who.quorum)} of the {count(who.decryptors)} decryptors must confirm who is in the sum; "
            f"one of those must then be sent every ciphertext, add them, and open the sum"
        )
    else:
        yield f"one of the {count(who.decryptors)} decryptors must stay to open the sum"
    yield (
        "the key's maker must be there until the key is made; without it the attempt is repeated, with "
        "decryptors drawn anew"
    )
    yield (
        f"fewer than {least_cohort(plan)} uploads open nothing: the round fails, and the model stays as it "
        "was"
    )


def about_widening(most: int | None, recompute: bool) -> Iterator[str]:
    if most is not None and recompute:
        yield f"{most} clients are the most, since each decryptor adds all of their ciphertexts"
    elif most is not None:
        yield f"for more, ring and ciphertexts widen by themselves, up to {most} clients"


def about_scheme(scheme: Scheme) -> Iterator[str]:
    primes = " + ".join(f"{prime.bit_length()}" for prime in scheme.primes)
    bound, several = MAX_MODULUS_BITS[scheme.degree], len(scheme.primes) > 1
    plain = (
        f"plain modulus {scheme.plain_modulus} ({scheme.plain_modulus.bit_length()} bits)"
        if scheme.kind == "bfv"
        else f"scale {scheme.scale} ({scheme.scale.bit_length()} bits)"
    )
    yield (
        f"{scheme.kind.upper()} of degree {scheme.degree}: prime{'s' * several} of {primes} bits, and one of "
        f"{scheme.special.bit_length()} that only encryption uses; {plain}"
    )
    yield (
        f"{count(scheme.per_slot)} of the ring's integers in each of {scheme.slots} slots: {scheme.blocks} "
        f"ciphertext{'s' * (scheme.blocks != 1)} for {scheme.length} coordinates"
    )
    yield (
        f"{SECURITY_BITS}-bit security by the Homomorphic Encryption Standard: log Q = {scheme.modulus_bits} "
        f"bits, of {bound} that degree {scheme.degree} allows"
    )
    if scheme.kind == "bfv":
        yield (
            f"any sum of {scheme.max_clients} keeps 2 bits of noise budget or more, but for a probability "
            "below 2^-40 a vector; a decryptor refuses one that has less"
        )
    else:
        yield (
            "a value is a quarter of an integer off, or more, with a probability below 2^-40 a vector; a "
            "decryptor refuses such a sum, and rounds before anything leaves it"
        )
    yield "so what is opened is exact: to the bit the sum that masks would give"


def about_bytes(
    up: Mapping[Role, int], down: Mapping[Role, int], scheme: Scheme, who: Table
) -> Iterator[str]:
    each = scheme.size / scheme.length
    yield f"up    {size(up['uploader'])}: {size(each)} for each of {scheme.length} coordinates"
    yield (
        f"      a decryptor {size(up['decryptor'])}, with the sum it opens; the key's maker "
        f"{size(up['key_maker'])}, with the keys"
    )
    yield (
        f"down  {size(down['uploader'])} beside the model: {who.clients} certificates, a public key of "
        f"{size(scheme.public_key_size)}"
    )
    fetched = f"all {who.clients} clients' ciphertexts" if who.recompute else "the sum's ciphertexts"
    yield f"      a decryptor {size(down['decryptor'])}, with {fetched}"


def about_cpu(cost: CiphertextCpu) -> Iterator[str]:
    yield (
        f"a client {seconds(cost.uploader)}, a decryptor {seconds(cost.decryptor)}, the server "
        f"{seconds(cost.server)}; one core, without training"
    )
    yield "measured on an AMD EPYC server; loading TenSEAL is not in it, and the server needs no TenSEAL"
