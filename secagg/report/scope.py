"""What a claim covers, what it leaves out, and where its limits are: in words.

Everything here follows from the plan; which figures go with it is `document`'s business, and who learns what
is that of `parties`.
"""

from __future__ import annotations

from collections.abc import Iterator

from secagg.encoding.codec import Codec
from secagg.plan import Plan
from secagg.plan_settings import honest_noise
from secagg.report.parties import shield_of

__all__ = ["covered", "limits", "noise_in_the_ring", "not_covered"]


def noise_in_the_ring(codec: Codec) -> bool:
    """Whether clients add noise to what is summed, be it to metrics alone: without, no sum can wrap."""
    noise = codec.settings.noise
    return noise is not None and not noise.central and bool(codec.queries or codec.queries_of_examples)


def covered(plan: Plan) -> Iterator[str]:
    """What the epsilons of the report are about."""
    privacy = plan.privacy
    if privacy.unit == "client":
        yield "the sum of the clients' updates in every round that was opened, and so every model made of it"
        if privacy.adaptive_clipping is not None:
            yield "the noisy count of clients that were not clipped, by which the clip norm adapts"
    if privacy.local is not None:
        yield "every client's own training, over the whole run, as each client was asked to do it"
    if privacy.unit != "none":
        for name, bounds in plan.metrics.items():
            yield (
                f"the metric {name}, averaged inside the sum, with noise of {bounds.noise_multiplier:g} "
                "times what one unit can change of it"
            )


def not_covered(plan: Plan) -> Iterator[str]:
    """What is released, or may be, outside of the account."""
    if plan.privacy.unit == "none":
        yield "all that the models, the metrics and the clipped fraction tell"
    else:
        yield "that a client takes part, when, and whether it stays to the end"
        yield "the choice of this plan's parameters, where it was made by looking at the same data"
        yield (
            "other runs with the same clients: this is the account of one; a client's own ledger adds its "
            "runs up"
        )
    yield "what the server evaluates on data of its own"
    yield "whether a round failed, and which client was late or left"
    yield "sizes and times of what is sent, and how long a client takes to compute it"
    yield "what a client lets out otherwise: its logs, its own copy of the model trained further"


def limits(plan: Plan, codec: Codec, simulated: bool, protected: bool) -> Iterator[str]:
    """Where the claim ends though nobody broke a rule.

    protected: as the plan asks; False for a simulation without cryptography.
    """
    privacy, noise, shares = plan.privacy, codec.settings.noise, noise_in_the_ring(codec)
    update = None if noise is None else noise.update
    if update is not None:
        yield (
            "Rounding is drawn again until the rounded update is no longer than the sensitivity on which the "
            "account rests. That biases it slightly; it costs accuracy, and no privacy."
        )
    if update is not None and update.ring_bits is not None:
        yield (
            f"The ring has {update.ring_bits} bits: a coordinate of a sum that is four standard "
            "deviations or more from zero wraps. That costs accuracy, and no privacy."
        )
    elif shares:
        yield (
            "Noise has no largest value: with a probability below 2⁻⁴⁰ a round, some coordinate of the "
            "sum wraps. That costs accuracy, and no privacy."
        )
    if codec.queries or codec.queries_of_examples:
        yield (
            "The samplers of discrete noise are exact but for a tail below 2⁻¹⁰⁰ a coordinate, which is "
            "taken off delta, and as random as AES-256 in counter mode under keys of the operating system."
        )
    if shares:
        of_metrics = "" if update is not None else "in the metrics "
        homomorphic = plan.protection.homomorphic
        beside = "one that opens it and knows its own share" if homomorphic else "the colluding ones"
        yield (
            f"The claim counts {of_metrics}the noise of {honest_noise(plan)} honest clients, as few as a sum "
            f"may hold beside {beside}. With more honest clients in a sum there was more noise. "
            f"A client {'' if homomorphic else 'beyond the tolerated colluders '}that left its noise out "
            "would weaken it for all."
        )
    if privacy.local is not None:
        yield (
            "Noise in a client's own training is of floating-point numbers; what their grid gives away is "
            "outside of the proof."
        )
        yield (
            "The server knows what noise in training each client was asked for, not what it did. Each client "
            "calibrates it by itself, and keeps the account in its own ledger, which is not part of this run "
            "directory."
        )
    if plan.cohort.sampling == "poisson":
        yield (
            "Sampling is asserted: the server draws from its operating system's randomness, and no client "
            "can verify that it did."
        )
    if plan.protection.kind == "masks" and protected:
        yield (
            "Masks hide a client among the others of its sum only as long as the authority enrols no client "
            "for the server: whoever can enrol clients can surround one."
        )
    if plan.protection.homomorphic and protected:
        yield from _of_homomorphic_sums(plan, shares)
    if simulated:
        left_out = plan.protection.kind != "none" and not protected
        sums = "masked ones would have been" if plan.protection.kind == "masks" else "ciphertexts add up to"
        yield (
            "A simulation holds all data in one process: against whoever runs it nothing is hidden."
            + f" This one {shield_of(plan.protection.kind).done} nothing: its sums are what {sums}."
            * left_out
        )


def _of_homomorphic_sums(plan: Plan, shares: bool) -> Iterator[str]:
    """shares: each client adds its share of the noise before it encrypts."""
    yield (
        "No client may work together with the server, and nothing here tolerates one that does. It may hold "
        "the key: who does is drawn from a digest of the round's clients, whom the server chooses, so that a "
        "server can try until it is that one. And without the key it can upload what makes the sum tell of "
        "the others. Nor may the authority enrol anybody for the server."
    )
    if shares:
        honest = honest_noise(plan)
        of_metrics = "" if plan.privacy.unit == "client" else " of the metrics"
        yield (
            f"A client's ciphertext holds its own share of the noise{of_metrics} alone: 1/{honest} of the "
            f"variance that the claim counts, {honest**-0.5:.3g} of its standard deviation. Whoever opens it "
            "by itself sees it with no more noise than that: no epsilon here holds against them, and they "
            "can open the ciphertexts of attempts whose sum was never opened as well."
        )
    if plan.protection.kind == "ckks":
        yield (
            "CKKS computes approximately, and raw decryptions would give its key away. This software lets "
            "nothing but exact integers leave a client that decrypts; one of them is rounded wrongly with a "
            "probability below 2⁻⁴⁰ a vector."
        )
    yield (
        "Where all clients that hold the key answer, they have to give the same sum. Where only one does, "
        "nothing shows whether the sum that it gives is right; and the one that made the key can have left "
        "the others without it. Nor is an upload that spoils the sum known for one, or its client named."
    )
