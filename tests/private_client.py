"""One client under a plan with privacy, and attempts that are played against it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from secagg import weights as named_arrays
from secagg.floor import Floor
from secagg.frames import WIRE_VERSION, Frame, Refusal, Reply, Request, TaskFrame, Welcome
from secagg.participant import Participant
from secagg.plan import Plan
from secagg.prg import Ring
from secagg.protections import Assignment
from secagg.session import ClientSession, ServerSession
from secagg.update import Task, Update
from secagg.weights import Weights
from tests.cohort import NOW, admit_all, credentials, seeded

RUN, OTHER_RUN = b"r" * 16, b"o" * 16
BASE: Weights = {"w": np.zeros((3, 4), np.float32), "b": np.zeros(5, np.float64)}
SIZE = 17
NAMES = [f"client-{index:03d}" for index in range(5)]
ME, OTHERS = NAMES[0], NAMES[1:]
LENIENT = {
    "protections": frozenset({"masks", "bfv", "ckks"}),
    "adversary": frozenset({"malicious", "semi-honest"}),
}

CLIENT = {"unit": "client", "placement": "distributed", "noise_multiplier": 0.01, "delta": 1e-3}
EXAMPLE = {"unit": "example", "epsilon": 8.0, "delta": 1e-5, "local_steps": 1000}
ADAPTIVE = {**CLIENT, "adaptive_clipping": {}}


def plan(privacy: Mapping[str, Any] = CLIENT, **changes: Mapping[str, Any]) -> Plan:
    tables: dict[str, Any] = {
        "run": {"name": "private", "rounds": 9},
        "cohort": {"max_clients": 8, "min_survivors": 3, "colluders": 0.1},
        "privacy": privacy,
    }
    for name, table in changes.items():
        tables[name] = {**tables.get(name, {}), **table}
    return Plan(**tables)


def moved(task: Task) -> Update:
    return Update({name: array + 0.05 for name, array in task.weights.items()}, metrics={"loss": 2.0})


def fails(task: Task) -> Update:
    raise ValueError("the scanner of patient 4711 is broken")


def task(round: int = 1, clip_norm: float = 0.0) -> TaskFrame:
    return TaskFrame(round, 9, named_arrays.to_bytes(BASE), clip_norm)


def welcome(of: Plan, run: bytes = RUN) -> Welcome:
    return Welcome(WIRE_VERSION, run, of.to_json())


def participant(
    of: Plan, train: Callable[[Task], Any] = moved, name: str = ME, run: bytes = RUN, **changes: Any
) -> Participant:
    """One that has been welcomed to the run."""
    given: dict[str, Any] = {
        "credentials": credentials(name),
        "floor": Floor(**LENIENT),
        "rounding": seeded(1),
        "clock": lambda: NOW,
    }
    one = Participant(train, **{**given, **changes})
    one.handle(welcome(of, run))
    return one


def code_of(answer: Frame | None) -> str:
    assert isinstance(answer, Refusal), answer
    return answer.code


def vector_of(one: Participant) -> Ring:
    assert one._vector is not None
    return one._vector


@dataclass
class Attempt:
    """An attempt in which all but one client are plain sessions over random vectors, always willing.

    The vectors are any in the ring; of sums that ciphertexts hold, those that cannot leave its signed half.
    """

    of: Plan
    round: int
    number: int
    run: bytes = RUN
    clip_norm: float = 0.0
    said: list[Frame | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.assignment = Assignment.of(self.of, BASE, self.run, self.round, True, self.clip_norm)
        codec = self.assignment.codec
        source = np.random.default_rng([self.round, self.number])
        most = np.uint64((1 << codec.bits) - 1)
        if self.of.protection.homomorphic:
            most >>= np.uint64(4)
        self.vectors = {
            name: source.integers(0, most, codec.length, np.uint64, endpoint=True) for name in OTHERS
        }
        self.server: ServerSession = self.assignment.server_session(
            self.number, NAMES, credentials(ME).authority, admit_all, NOW
        )
        word = "<u4" if codec.bits <= 32 else "<u8"
        self.others: dict[str, ClientSession] = {
            name: self.assignment.client_session(
                self.number, vector.astype(word), credentials(name), admit_all, NOW
            )
            for name, vector in self.vectors.items()
        }

    def stage(self, one: Participant) -> Frame | None:
        """One stage, in which `one` is asked first; its answer."""
        requests = self.server.requests()
        answer: Frame | None = None
        if ME in requests:
            answer = one.handle(Request(self.round, self.number, self.server.stage, requests[ME]))
            self.said.append(answer)
            if isinstance(answer, Reply):
                self.server.receive(ME, answer.body)
        for name, body in requests.items():
            if name != ME:
                self.server.receive(name, self.others[name].answer(body))
        self.server.advance()
        return answer

    def play(self, one: Participant, until: str = "") -> Attempt:
        while self.server.stage != until:
            self.stage(one)
        return self

    def total(self, mine: Ring | None) -> Ring:
        """What the sum must be."""
        total = sum(self.vectors.values(), np.zeros(self.assignment.codec.length, np.uint64))
        if mine is not None:
            total = total + mine.astype(np.uint64)
        return total & np.uint64((1 << self.assignment.codec.bits) - 1)
