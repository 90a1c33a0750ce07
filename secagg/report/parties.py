"""Who learns what: one line for each party of a run, and what each can do beyond that.

Under masks the sum is all there is to see. Under homomorphic summation some clients hold the key to every
update of an attempt, and the lines say so of them before anybody else does (`who_can_open`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from secagg.homomorphic.cohort import DECRYPTORS
from secagg.plan import Plan, policy_of
from secagg.plan_settings import honest_noise

__all__ = ["Seen", "Shield", "learns", "shield_of", "who_can_open"]


@dataclass(frozen=True)
class Seen:
    """What a party gets to see, and what stays hidden from it, and by what."""

    party: str
    sees: str
    hidden: str


@dataclass(frozen=True)
class Shield:
    """What hides an update, in words: as a noun, the pronoun for it, and what is done to the update."""

    noun: str
    pronoun: str
    done: str


def shield_of(protection: str) -> Shield:
    """Of a plan's `protection.kind`, "none" apart: masks, or the encryption of homomorphic summation."""
    masks = protection == "masks"
    return Shield("masks", "them", "masked") if masks else Shield("encryption", "it", "encrypted")


def who_can_open(plan: Plan) -> str:
    """The limit of homomorphic summation in one sentence, the first thing to know of it."""
    kind, recompute = plan.protection.kind.upper(), plan.protection.recompute
    held = (
        f"Updates are added as {kind} ciphertexts, and up to {DECRYPTORS} of the clients, drawn anew in each "
        "attempt, hold the key"
    )
    if recompute:
        return f"{held} and are given every ciphertext: any one of them can open every update, alone."
    return (
        f"{held}: the server together with any one of them can open every update, and a server that lies "
        "about what it added is not noticed and can have any update opened. So whatever is said here of the "
        "server takes it for honest but curious."
    )


def learns(plan: Plan, protected: bool) -> Iterator[Seen]:
    """One line for each party. protected: False for a simulation without cryptography."""
    if not protected or plan.protection.kind == "none":
        yield _unprotected_server(plan)
    elif plan.protection.homomorphic:
        yield from _under_encryption(plan)
    else:
        yield from _under_masks(plan)
    names = "the model of each round, the names of those in it, and which of them are in the sum"
    if protected and plan.protection.homomorphic:
        names = "the model of each round and the names of those in it"
    yield Seen(
        "the other clients",
        names,
        "everybody else's update, metrics and example count: these never reach them",
    )
    yield Seen(
        "the public",
        "what is published: the models at the most, and this report",
        "who took part, and the rest",
    )
    yield Seen(
        "the network", "that these parties talk, when, and how much", "what they say: by TLS 1.3, both ways"
    )
    yield Seen("the authority", "who may take part", "everything in the run; it has no part in it")


def _one_sum(plan: Plan) -> str:
    """What is opened in a round, and the noise in it."""
    noised = {
        ("client", "distributed"): ", with the clients' noise in it",
        ("client", "central"): ", before it adds noise",
    }.get((plan.privacy.unit, str(plan.privacy.placement)), "")
    least = plan.cohort.min_survivors
    return f"one sum over at least {least} clients a round (update, metrics and weight, all summed){noised}"


def _under_masks(plan: Plan) -> Iterator[Seen]:
    policy = policy_of(plan)
    yield Seen(
        "the server",
        f"{_one_sum(plan)}; who takes part, with how many bytes, and when",
        "each client's update, metrics and example count: by pairwise masks"
        + ("" if policy.malicious else ", if it keeps to the protocol"),
    )
    if policy.c:
        yield Seen(
            f"the server together with {policy.c} colluding client{'s' * (policy.c > 1)}",
            "the same, less what those clients put into it themselves",
            "what each other client put in: only the sum over all of them is seen",
        )


def _under_encryption(plan: Plan) -> Iterator[Seen]:
    kind = plan.protection.kind.upper()
    keeps = "" if policy_of(plan).malicious else "it keeps to the protocol and "
    yield Seen(
        "the server",
        f"{_one_sum(plan)}; every client's ciphertext, to which it has no key; who takes part, who holds the "
        "key, with how many bytes, and when",
        f"each client's update, metrics and example count: by {kind} encryption, if {keeps}no client works "
        "together with it",
    )
    if not plan.protection.recompute:
        yield _lying_server(plan)
    yield _key_holder(plan)
    yield Seen(
        "the server together with any one that holds the key",
        f"every client's vector by itself{_own_noise(plan)}, also in attempts that opened no sum",
        "nothing",
    )
    yield _helped_server(plan)


def _lying_server(plan: Plan) -> Seen:
    """A decryptor opens whatever it is shown. In BFV (0, q/t) opens to the secret key itself."""
    opened = (
        "whatever it has opened instead of the sum: what gives it the key, for one, and with the key every "
        "client's vector by itself"
        if plan.protection.kind == "bfv"
        else f"whatever it has opened instead of the sum, up to {DECRYPTORS} times an attempt: single "
        "clients' vectors, and whatever else that tells of the key"
    )
    return Seen(
        "the server, if it lies about what it added",
        opened + _own_noise(plan),
        "nothing that is claimed; no client notices",
    )


def _key_holder(plan: Plan) -> Seen:
    holder = f"each client that holds the key: up to {DECRYPTORS}, drawn anew in each attempt"
    knows = "; and, of the noise in the sum, its own share" * _shares(plan)
    if plan.protection.recompute:
        return Seen(
            holder,
            "the exact sum of its attempt and who is in it; every client's ciphertext, and the key to all of "
            f"them{knows}",
            "nothing but by its own software: this one opens the sum alone, another can open every client's "
            f"vector by itself{_own_noise(plan)}",
        )
    return Seen(
        holder,
        "the exact sum of its attempt and who is in it; the key to every update of that attempt, and no "
        f"ciphertext but its own and the one that the server hands it to open{knows}",
        "each other client's update, metrics and example count, as long as the server hands it the sum and "
        "nothing else",
    )


def _shares(plan: Plan) -> bool:
    """Whether there is noise in a sum of which each client adds a share."""
    privacy = plan.privacy
    noised = privacy.unit == "client" or (privacy.unit == "example" and bool(plan.metrics))
    return noised and privacy.placement != "central"


def _helped_server(plan: Plan) -> Seen:
    """Ciphertexts are malleable: an upload can be made of the others' and of what opens to the key."""
    party = "the server together with any other client"
    if plan.protection.kind == "bfv":
        return Seen(
            party,
            "the same: that client can upload what makes the sum tell the key",
            "nothing",
        )
    return Seen(
        party,
        f"one client's vector by itself at the least{_own_noise(plan)}: that client can upload what takes "
        "all the others out of the sum",
        "nothing that is claimed",
    )


def _own_noise(plan: Plan) -> str:
    """What noise is in a vector that is seen by itself."""
    privacy, said = plan.privacy, ""
    if privacy.local is not None:
        said += ", after that client's own noise in training"
    if privacy.unit == "client" and privacy.placement == "distributed":
        said += (
            f", with its own share of the noise: 1/{honest_noise(plan)} of the variance that the claim counts"
        )
    return said


def _unprotected_server(plan: Plan) -> Seen:
    hidden = "there are no masks"
    if plan.protection.homomorphic:
        hidden = "nothing was encrypted"
    return Seen(
        "the server",
        "every client's vector by itself"
        + ", after each client's own noise in training" * (plan.privacy.local is not None)
        + _left_out(plan),
        f"nothing: {hidden}",
    )


def _left_out(plan: Plan) -> str:
    """Why there may be an epsilon against the server all the same."""
    privacy = plan.privacy
    if plan.protection.kind == "none":
        return "" if privacy.local is not None else "; this run hides nothing from it"
    shield = shield_of(plan.protection.kind)
    left_out = f"; this simulation left out the {shield.noun} that the plan asks for"
    if not _shares(plan):
        return left_out
    return f"{left_out}, and epsilon against the server is that of the same run with {shield.pronoun}"
