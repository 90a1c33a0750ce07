"""A real run with canaries among its clients, and what an auditor needs of it: scores, and the truth.

What canaries are, whole clients or single examples, is said elsewhere (`canaries`, `example_canaries`). Each
is included by its own fair coin, and is scored from what the server was given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import secagg
from secagg.weights import Weights
from secagg_attacks.audit.bound import AuditError, Booleans, Bound, Floats
from secagg_attacks.audit.coverage import Auditor
from secagg_attacks.views import Account, View, capture

__all__ = ["CanaryRun", "Planted", "Unit", "played"]

Unit: TypeAlias = Literal["client", "example"]


class Planted(Protocol):
    """Canaries, ready to be played. unit: what each is one of. included: which are there, (canaries,)."""

    @property
    def unit(self) -> Unit: ...
    @property
    def included(self) -> Booleans: ...
    @property
    def weights(self) -> Weights: ...
    def clients(self, plan: secagg.Plan) -> dict[str, secagg.Train]: ...
    def scores(self, view: View) -> Floats: ...


@dataclass(frozen=True, eq=False)
class CanaryRun:
    """Scores and the truth, (canaries,) each; what the run was accounted with; its transcript's digest.

    account: of the unit that the canaries are; None where nothing bounds what the server is given.
    """

    scores: Floats
    included: Booleans
    account: Account | None
    digest: str

    def bound(self, auditor: Auditor, *, delta: float | None = None, confidence: float = 0.95) -> Bound:
        """A lower bound on epsilon, at the account's delta if there is one.

        Raises AuditError `audit-delta` without an account and a delta, and what the auditor raises.
        """
        if delta is None:
            if self.account is None:
                raise AuditError(
                    "audit-delta", "the run has no account, and so no delta", "give one: 1e-5, say"
                )
            delta = self.account.delta
        return auditor(self.scores, self.included, delta, confidence=confidence)


def played(plan: secagg.Plan, planted: Planted, clients: Mapping[str, secagg.Train], seed: int) -> CanaryRun:
    """Plays the whole plan. clients: those of `planted`, and whoever is beside them. seed: of rounding and of
    the noise on whole updates. Raises what `capture` and the scores raise."""
    view = capture(plan, planted.weights, clients, seed=seed)
    account = next((each for each in view.accounts if each.unit == planted.unit), None)
    return CanaryRun(planted.scores(view), planted.included, account, view.digest)
