"""A cohort of masking sessions in memory, driven stage by stage: what the protocol's tests stand on."""

from __future__ import annotations

import random as insecure_random
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache

import numpy as np

from secagg.credentials import Credentials
from secagg.encoding.ring import word
from secagg.enrolment import issue_credentials, new_authority
from secagg.masking.client import MaskingClient
from secagg.masking.parameters import Policy
from secagg.masking.server import MaskingServer
from secagg.prg import Ring

NOW = datetime.now(UTC)
CONTEXT = bytes(range(32))
_AUTHORITY = new_authority("authority")


@cache
def credentials(name: str, role: str = "client") -> Credentials:
    """Credentials by the tests' one authority; made once per name and role."""
    return issue_credentials(name, role, _AUTHORITY, now=NOW)  # type: ignore[arg-type]


def seeded(seed: int) -> Callable[[int], bytes]:
    """Random bytes that are the same for the same seed, for tests only."""
    return insecure_random.Random(seed).randbytes


def admit_all(_identity: object) -> bool:
    return True


@dataclass
class Cohort:
    """One server session and n client sessions over random vectors."""

    n: int
    length: int = 33
    bits: int = 26
    policy: Policy = field(default_factory=lambda: Policy(max_clients=8, min_survivors=3))
    context: bytes = CONTEXT
    seed: int = 0

    def __post_init__(self) -> None:
        generator = np.random.default_rng(self.seed)
        self.ids = [f"client-{i:03d}" for i in range(self.n)]
        modulus = (1 << self.bits) - 1
        self.vectors: dict[str, Ring] = {
            name: generator.integers(0, modulus, self.length, dtype=np.uint64, endpoint=True).astype(
                word(self.bits)
            )
            for name in self.ids
        }
        self.clients = {
            name: MaskingClient(
                context=self.context,
                policy=self.policy,
                bits=self.bits,
                vector=self.vectors[name],
                credentials=credentials(name),
                admits=admit_all,
                now=NOW,
            )
            for name in self.ids
        }
        self.server = MaskingServer(
            context=self.context,
            policy=self.policy,
            bits=self.bits,
            length=self.length,
            clients=self.ids,
            authority=credentials(self.ids[0]).authority,
            admits=admit_all,
            now=NOW,
        )

    def ask(self, silent: Collection[str] = ()) -> dict[str, bytes | bytearray]:
        """One stage's requests answered by every client but the silent ones; nothing delivered yet."""
        return {
            name: self.clients[name].answer(request)
            for name, request in self.server.requests().items()
            if name not in silent
        }

    def step(self, silent: Collection[str] = ()) -> dict[str, bytes | bytearray]:
        """A whole stage: asked, answered, delivered, closed. Returns the answers."""
        replies = self.ask(silent)
        for name, reply in replies.items():
            assert len(reply) <= self.server.reply_limit
            self.server.receive(name, reply)
        self.server.advance()
        return replies

    def run_to(self, stage: str) -> None:
        """Plays honest stages until `stage` is the next one."""
        while self.server.stage != stage:
            self.step()

    def run(self) -> None:
        while self.server.stage:
            self.step()

    def expected(self, names: Collection[str]) -> Ring:
        """The plain sum modulo 2^b."""
        total = np.zeros(self.length, dtype=np.uint64)
        for name in names:
            total += self.vectors[name].astype(np.uint64)
        if self.bits < 64:
            total &= np.uint64((1 << self.bits) - 1)
        return total.astype(word(self.bits))
