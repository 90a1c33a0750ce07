"""What a plan promises of an update's privacy, in words for the log of the client that joins it."""

from __future__ import annotations

from secagg.homomorphic.cohort import DECRYPTORS
from secagg.plan import Plan

__all__ = ["promise"]


def promise(plan: Plan) -> str:
    """What the plan says of the sums' privacy, for this client's own log."""
    privacy, said = plan.privacy, []
    if privacy.unit == "client":
        amount = (
            f"epsilon {privacy.epsilon:g}"
            if privacy.epsilon is not None
            else f"noise multiplier {privacy.noise_multiplier:g}"
        )
        said.append(f"{privacy.placement} client-level privacy, {amount} at delta {privacy.delta:g}")
    if (local := privacy.local) is not None:
        said.append(f"example-level privacy, epsilon {local.epsilon:g} at delta {local.delta:g}")
    promised = " and ".join(said) or "no differential privacy"
    return f"{promised}; {_who_can_open(plan)}" if plan.protection.homomorphic else promised


def _who_can_open(plan: Plan) -> str:
    """The limit of homomorphic summation, where a client's operator meets it."""
    if plan.protection.recompute:
        return (
            f"{plan.protection.kind} ciphertexts: any one of the {DECRYPTORS} clients drawn to decrypt can "
            "open every update, alone"
        )
    return (
        f"{plan.protection.kind} ciphertexts: the server together with any one of the {DECRYPTORS} clients "
        "drawn to decrypt can open every update, and a server that lies about what it added is not noticed"
    )
