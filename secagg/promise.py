"""What a plan promises of an update's privacy, in words for the log of the client that joins it."""

from __future__ import annotations

from secagg.plan import Plan
from secagg.who_can_open import who_can_open

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
    if not plan.protection.homomorphic:
        return promised
    return f"{promised}; who can open {plan.protection.kind} ciphertexts: {'; '.join(who_can_open(plan))}"
