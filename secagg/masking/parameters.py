"""How many shares open a secret, and who must answer, in a complete graph.

Sources: Bonawitz et al. 2017 (ePrint 2017/281), section 6 and theorem 6.5 (complete graph, active server);
Bell et al. 2020 (ePrint 2020/704) for the roles of k, t and c. Notation: n clients in the roster, each shares
its secrets with k = n - 1 neighbours, t shares open a secret, at most c clients collude with the server.

    semi-honest   t > c: no coalition holds t shares
    malicious     2t > k + c: the server cannot collect t shares of *both* of one client's secrets, since an
                  honest neighbour gives one share only and the c colluders give both

A quorum of more than (n + c) / 2 confirmations makes the survivors unique: two such quorums share an honest
client, and an honest client confirms once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from secagg import canonical
from secagg.errors import ProtocolError

__all__ = ["Policy", "Threshold", "smallest_cohort", "threshold"]


@dataclass(frozen=True)
class Policy:
    """What a run assumes of its clients and promises them; the same for every round.

    colluders, dropouts: shares of the cohort in [0, 1). sigma: statistical security in bits; eta:
    correctness in bits (both bear on incomplete graphs only, and are bound into the context).
    """

    max_clients: int
    min_survivors: int
    colluders: float = 0.1
    dropouts: float = 0.2
    adversary: str = "malicious"
    sigma: int = 40
    eta: int = 20

    @property
    def c(self) -> int:
        """How many clients may collude with the server: ceil(colluders * max_clients), exactly."""
        return math.ceil(Fraction(str(self.colluders)) * self.max_clients)

    @property
    def malicious(self) -> bool:
        return self.adversary == "malicious"

    def expected_dropouts(self, n: int) -> int:
        """How many of n clients are assumed to vanish: floor(dropouts * n), exactly."""
        return math.floor(Fraction(str(self.dropouts)) * n)

    def encode(self, bits: int, length: int) -> bytes:
        """The policy's canonical bytes, with the ring's width b and the vector's length L."""
        return canonical.encode(
            float(self.colluders),
            float(self.dropouts),
            self.adversary,
            self.sigma,
            self.eta,
            self.min_survivors,
            self.max_clients,
            bits,
            length,
        )


@dataclass(frozen=True)
class Threshold:
    """The numbers of one cohort. `quorum` is 0 where nobody confirms (semi-honest)."""

    n: int
    k: int
    t: int
    quorum: int
    needed: int

    @property
    def tolerated(self) -> int:
        """How many may vanish during the protocol and the sum is still opened."""
        return self.n - self.needed


def threshold(policy: Policy, n: int) -> Threshold:
    """The threshold of a complete graph over `n` clients; both sides compute it.

    Semi-honest plans take the larger threshold too, as long as the expected dropouts leave room for it.
    Raises ProtocolError `cohort-too-small`, `cohort-too-large` or `cohort-infeasible`.
    """
    if n < policy.min_survivors:
        raise ProtocolError(
            "cohort-too-small",
            f"{n} clients, and the plan opens no sum over fewer than {policy.min_survivors}",
        )
    if n > policy.max_clients:
        raise ProtocolError("cohort-too-large", f"{n} clients, and the plan admits {policy.max_clients}")
    k, c = n - 1, policy.c
    majority = (k + c) // 2 + 1
    if policy.malicious:
        t, quorum = majority, (n + c) // 2 + 1
    else:
        t, quorum = max(c + 1, min(majority, k - policy.expected_dropouts(n))), 0
    if t > k or quorum > n:
        raise ProtocolError(
            "cohort-infeasible",
            f"{n} clients of whom {c} may collude with the server cannot be kept apart from it",
            f"at least {smallest_cohort(policy)} clients, or a smaller share of colluders",
        )
    # A survivor's secret is shared with the others only: t of them beside itself.
    return Threshold(n, k, t, quorum, max(t + 1, quorum, policy.min_survivors))


def smallest_cohort(policy: Policy) -> int:
    """The smallest n that has a threshold; it opens its sum if nobody vanishes."""
    return max(policy.min_survivors, policy.c + 2)
