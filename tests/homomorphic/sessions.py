"""Homomorphic sessions in memory, driven stage by stage: what the protocol's tests stand on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from secagg.encoding.packing import unpack
from secagg.encoding.ring import word
from secagg.homomorphic.client import HomomorphicClient
from secagg.homomorphic.cohort import Cohort, Terms
from secagg.homomorphic.messages import OpenReply
from secagg.homomorphic.scheme import Kind, scheme_for
from secagg.homomorphic.server import HomomorphicServer
from secagg.prg import Ring
from tests.cohort import CONTEXT, NOW, admit_all, credentials

BITS = {"bfv": 25, "ckks": 20}
MAX_CLIENTS = 8
Reply = bytes | bytearray


def terms(kind: Kind = "bfv", recompute: bool = False, length: int = 60, min_survivors: int = 3) -> Terms:
    """A plan's, for up to eight clients, at the ring's width of that scheme's tests."""
    return Terms(scheme_for(kind, MAX_CLIENTS, BITS[kind], length), min_survivors, recompute)


@dataclass
class Sessions:
    """One server session and n client sessions over random vectors whose sum cannot overflow."""

    n: int = 6
    terms: Terms = field(default_factory=terms)
    context: bytes = CONTEXT
    seed: int = 0

    def __post_init__(self) -> None:
        generator = np.random.default_rng(self.seed)
        scheme = self.terms.scheme
        largest = ((1 << (scheme.bits - 1)) - 1) // scheme.max_clients
        self.ids = [f"client-{i:03d}" for i in range(self.n)]
        self.integers = {
            name: generator.integers(-largest, largest, scheme.length, endpoint=True) for name in self.ids
        }
        self.vectors = {name: in_ring(integers, scheme.bits) for name, integers in self.integers.items()}
        self.clients = {name: self.client(name) for name in self.ids}
        self.server = HomomorphicServer(
            context=self.context,
            terms=self.terms,
            clients=self.ids,
            authority=credentials(self.ids[0]).authority,
            admits=admit_all,
            now=NOW,
        )

    def client(self, name: str) -> HomomorphicClient:
        """A fresh session over this client's vector."""
        return HomomorphicClient(
            context=self.context,
            terms=self.terms,
            vector=self.vectors[name],
            credentials=credentials(name),
            admits=admit_all,
            now=NOW,
        )

    @property
    def cohort(self) -> Cohort:
        """As the server verified it."""
        cohort = self.server._cohort
        assert cohort is not None
        return cohort

    @property
    def decryptors(self) -> list[str]:
        """Their names, the key maker's first."""
        return [self.cohort.members[position].id for position in self.cohort.decryptors]

    @property
    def uploaders(self) -> list[str]:
        """Those who hold no key."""
        return [name for name in self.ids if name not in self.decryptors]

    def request(self, name: str) -> bytes:
        return self.server.requests()[name]

    def ask(self, silent: Collection[str] = ()) -> dict[str, Reply]:
        """One stage's requests answered by every client but the silent ones; nothing delivered yet."""
        return {
            name: self.clients[name].answer(request)
            for name, request in self.server.requests().items()
            if name not in silent
        }

    def step(self, silent: Collection[str] = ()) -> dict[str, Reply]:
        """A whole stage: asked, answered, delivered, closed. Returns the answers."""
        replies = self.ask(silent)
        for name, reply in replies.items():
            assert len(reply) <= self.server.reply_limit
            self.server.receive(name, reply)
        self.server.advance()
        return replies

    def run_to(self, stage: str) -> None:
        """Plays honest stages until one that begins with `stage` is the next."""
        while not self.server.stage.startswith(stage):
            self.step()

    def run(self, silent: Collection[str] = ()) -> None:
        while self.server.stage:
            self.step(silent)

    def expected(self, names: Collection[str]) -> Ring:
        """The plain sum modulo 2^b."""
        total = sum((self.integers[name] for name in names), np.zeros(self.terms.scheme.length, np.int64))
        return in_ring(total, self.terms.scheme.bits)

    def opened(self, reply: Reply) -> Ring:
        """The vector in a decryptor's answer."""
        return unpack(OpenReply.from_bytes(reply).vector, self.terms.scheme.length, self.terms.scheme.bits)


def in_ring(integers: Ring, bits: int) -> Ring:
    """Two's complement modulo 2^bits."""
    return (integers.astype(np.uint64) & np.uint64((1 << bits) - 1)).astype(word(bits))
