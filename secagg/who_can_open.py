"""Who can open what under homomorphic summation, in words for whoever meets such a plan."""

from __future__ import annotations

from collections.abc import Iterator

from secagg.homomorphic.cohort import DECRYPTORS
from secagg.plan import Plan

__all__ = ["who_can_open"]


def who_can_open(plan: Plan) -> Iterator[str]:
    """A sentence each; nothing for a plan without ciphertexts."""
    if not plan.protection.homomorphic:
        return
    holders = min(DECRYPTORS, plan.cohort.max_clients)
    if plan.protection.recompute:
        yield (
            f"any one of the {holders} decryptors, alone: every client's update; it holds the key and is "
            "sent every ciphertext"
        )
        yield "the server together with any other client: any update, by a forged upload"
        yield (
            f"the server alone, even if it lies: one sum over {plan.cohort.min_survivors} clients or more, "
            "and nothing else; the decryptors add what each client signed"
        )
    else:
        yield f"the server together with any one of the {holders} decryptors: every client's update"
        yield (
            "a server that lies about what it added: any update, opened as if it were the sum, and nobody "
            "notices"
        )
