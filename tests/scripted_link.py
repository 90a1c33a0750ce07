"""Real participants on a link in memory, some of whom vanish, refuse, dawdle or lie where a script says so.

The model says who is in a sum: `who` has a place for every client, and each moves only its own, by a step
that the encoding holds exactly. `layer` is moved by all; `steps` is an integer array and stays.
"""

from __future__ import annotations

import json
import multiprocessing
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from secagg.coordinator import Coordinator, RoundReport
from secagg.errors import SecaggError, TransportError
from secagg.frames import (
    WIRE_VERSION,
    Answer,
    Finished,
    Frame,
    Question,
    Ready,
    Refusal,
    Rejected,
    Reply,
    RoundClosed,
    TaskFrame,
    Welcome,
)
from secagg.masking.messages import Envelope, ShareReply
from secagg.participant import Participant
from secagg.plan import Plan
from secagg.runs import Run
from secagg.update import Task, Train, Update
from secagg.weights import Weights
from tests.cohort import NOW, credentials, seeded

PLACES = 16
STEP = 0.25

Act = Callable[["ScriptedLink", str, Question], Answer | None]
"""What a client does in place of answering: `act(link, client, question)`; None: nothing comes in time."""


def name_of(index: int) -> str:
    return f"client-{index:03d}"


def initial_weights() -> Weights:
    return {
        "who": np.zeros(PLACES, np.float64),
        "layer": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3),
        "steps": np.array(7, np.int64),
    }


def mover(name: str) -> Train:
    """Trains by adding STEP at the client's own place and a little everywhere."""
    place = np.arange(PLACES) == int(name[-3:])

    def train(task: Task) -> Update:
        moved = {"who": task.weights["who"] + STEP * place, "layer": task.weights["layer"] + np.float32(0.01)}
        return Update(moved, metrics={"loss": 3.25})

    return train


def in_another_process(task: Task) -> Update:
    """Moves one place if it runs in a child process, and the other if not."""
    here = multiprocessing.parent_process() is None
    return Update(delta={"elsewhere": np.array([0.0, 1.0] if here else [1.0, 0.0])})


def who(weights: Weights) -> list[str]:
    """The clients in the one sum that was added to the initial weights; the test fails if it is no sum."""
    places = np.flatnonzero(weights["who"])
    np.testing.assert_allclose(weights["who"][places], STEP / max(len(places), 1), rtol=1e-12)
    return [name_of(index) for index in places]


# -- what a client may do ---------------------------------------------------------------------------------


def gone(link: ScriptedLink, client: str, question: Question) -> None:
    """The question never arrives, and the client does not wait for the next round either."""
    link.absent.add(client)


def late(link: ScriptedLink, client: str, question: Question) -> None:
    """It works on the question, and the answer comes after the deadline."""
    link.answer(client, question)


def garbles(link: ScriptedLink, client: str, question: Question) -> Answer:
    """An answer that no decoder takes."""
    answer = link.answer(client, question)
    return replaced(answer, b"\x01\xffgarbage") if isinstance(answer, Reply) else answer


def refuses(link: ScriptedLink, client: str, question: Question) -> Refusal:
    if isinstance(question, TaskFrame):
        return Refusal(question.round, 0, "train", "update-refused")
    return Refusal(question.round, question.attempt, question.stage, "quorum-signature")


def dies(link: ScriptedLink, client: str, question: Question) -> None:
    """The server's process ends here."""
    raise KeyboardInterrupt


def seals_badly(for_holders: int, field_name: str = "ciphertext") -> Act:
    """Spoils one field of the first so many envelopes that it deals."""

    def act(link: ScriptedLink, client: str, question: Question) -> Answer:
        answer = link.answer(client, question)
        if not isinstance(answer, Reply):
            return answer
        dealt = ShareReply.from_bytes(answer.body).envelopes
        spoilt = [
            (holder, _spoilt(envelope, field_name) if index < for_holders else envelope)
            for index, (holder, envelope) in enumerate(dealt)
        ]
        return replaced(answer, ShareReply(tuple(spoilt)).to_bytes())

    return act


def _spoilt(envelope: Envelope, field_name: str) -> Envelope:
    fields = {name: getattr(envelope, name) for name in envelope.__dataclass_fields__}
    fields[field_name] = fields[field_name][:-1] + bytes([fields[field_name][-1] ^ 1])
    return Envelope(**fields)


def replaced(answer: Reply, body: bytes) -> Reply:
    return Reply(answer.round, answer.attempt, answer.stage, body)


# -- the link and a run on it -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Scene:
    """Who does what, and when. 0: in every round, in every attempt."""

    client: str
    stage: str
    act: Act
    round: int = 0
    attempt: int = 0

    def covers(self, client: str, question: Question) -> bool:
        stage, attempt = (
            ("train", 0) if isinstance(question, TaskFrame) else (question.stage, question.attempt)
        )
        return (
            (self.client, self.stage) == (client, stage)
            and self.round in (0, question.round)
            and self.attempt in (0, attempt)
        )


class ScriptedLink:
    """Hands frames to participants, in order of their names; whoever has a scene plays it instead."""

    def __init__(self, participants: Mapping[str, Participant], script: tuple[Scene, ...]) -> None:
        self.participants = dict(participants)
        self.script = script
        self.absent: set[str] = set()
        self.waits: list[tuple[int, float]] = []
        self.questions: list[tuple[str, Question]] = []
        self.sent: list[tuple[str, Frame]] = []
        self.finished: list[Finished] = []
        self.failures: list[SecaggError] = []
        self.dismissed: dict[str, SecaggError] = {}
        self.before: Callable[[Mapping[str, Question], float, int], None] = lambda frames, seconds, limit: (
            None
        )

    def wait(self, count: int, seconds: float) -> tuple[str, ...]:
        self.waits.append((count, seconds))
        return tuple(sorted(self.participants.keys() - self.absent))

    def exchange(
        self, frames: Mapping[str, Question], *, seconds: float, limit: int
    ) -> Iterator[tuple[str, Answer]]:
        self.before(frames, seconds, limit)
        self.questions += frames.items()
        for client, question in sorted(frames.items()):
            if client in self.absent or client in self.dismissed:
                continue
            acts = [scene.act for scene in self.script if scene.covers(client, question)]
            answer = acts[0](self, client, question) if acts else self.answer(client, question)
            if answer is not None:
                if isinstance(answer, Reply):
                    assert len(answer.body) <= limit
                yield client, answer

    def answer(self, client: str, question: Question) -> Answer:
        answer = self.participants[client].handle(question)
        assert isinstance(answer, Ready | Reply | Refusal)
        return answer

    def send(self, frames: Mapping[str, Frame]) -> None:
        for client, frame in frames.items():
            self.sent.append((client, frame))
            if client not in self.absent and client not in self.dismissed:
                self.participants[client].handle(frame)

    def finish(self, frame: Finished) -> None:
        self.finished.append(frame)
        for client in sorted(self.participants.keys() - self.absent - self.dismissed.keys()):
            self.participants[client].handle(frame)

    def fail(self, error: SecaggError) -> None:
        self.failures.append(error)

    def dismiss(self, client: str, error: SecaggError) -> None:
        self.dismissed[client] = error
        self.absent.add(client)
        try:
            self.participants[client].handle(Rejected(error.code, error.message, error.hint))
        except TransportError:
            self.participants[client].close()

    def stages(self) -> list[tuple[int, str]]:
        """(attempt, stage) of every exchange after training, in order, each once."""
        asked = [(q.attempt, q.stage) for _, q in self.questions if not isinstance(q, TaskFrame)]
        return list(dict.fromkeys(asked))

    def closings(self) -> list[tuple[int, bool]]:
        """(round, opened) of every round closed."""
        frames = [(f.round, f.opened) for _, f in self.sent if isinstance(f, RoundClosed)]
        return list(dict.fromkeys(frames))


@dataclass
class ScriptedRun:
    """A run of `plan` in `folder` with n clients who follow the script."""

    folder: Path
    plan: Plan
    n: int
    script: tuple[Scene, ...] = ()
    train: Callable[[str], Train] = mover
    protected: bool = True
    weights: Weights = field(default_factory=initial_weights)
    run_id: bytes | None = None

    def __post_init__(self) -> None:
        self.run = Run.create(self.folder, self.plan, self.weights, run_id=self.run_id)
        names = [name_of(index) for index in range(self.n)]
        enrolled = self.protected and self.plan.protection.kind != "none"
        self.authority = credentials(names[0]).authority if enrolled else None
        participants = {
            name: Participant(
                self.train(name),
                credentials=credentials(name) if enrolled else None,
                floor=None,
                rounding=seeded(index),
                protected=self.protected,
                clock=lambda: NOW,
            )
            for index, name in enumerate(names)
        }
        for one in participants.values():
            one.handle(Welcome(WIRE_VERSION, self.run.id, self.plan.to_json()))
        self.link = ScriptedLink(participants, self.script)

    def __enter__(self) -> ScriptedRun:
        return self

    def __exit__(self, *_: object) -> None:
        self.run.close()

    def coordinator(self, **changes: Any) -> Coordinator:
        """As a server that starts now would make it: from what is on the disk."""
        _, weights, state = self.run.last
        given = {"authority": self.authority, "protected": self.protected, "clock": lambda: NOW}
        return Coordinator(self.plan, self.run, self.link, weights, state, **{**given, **changes})

    def play(self, **changes: Any) -> list[RoundReport]:
        return list(self.coordinator(**changes).rounds())

    def restart(self) -> None:
        """The server's process is another one from here on."""
        self.run.close()
        self.run = Run.open(self.run.path, self.plan)

    @property
    def model(self) -> Weights:
        """The newest checkpoint."""
        return self.run.last[1]

    def log(self, *events: str) -> list[dict[str, Any]]:
        lines = (self.run.path / "log.jsonl").read_text().splitlines()
        return [line for line in map(json.loads, lines) if not events or line["event"] in events]

    def attempts(self) -> list[tuple[int, int, str]]:
        """(round, attempt, state) as the disk has it now."""
        return [(round, attempt, state) for round, attempt, state, *_ in self.ledger()]

    def ledger(self) -> list[tuple[int, int, str, list[str], list[str] | None]]:
        """(round, attempt, state, cohort, survivors)."""
        with sqlite3.connect(self.run.path / "ledger.sqlite") as ledger:
            rows = ledger.execute("SELECT round, attempt, state, cohort, survivors FROM attempts").fetchall()
        ledger.close()
        return sorted(
            (round, attempt, state, json.loads(cohort), survivors and json.loads(survivors))
            for round, attempt, state, cohort, survivors in rows
        )

    def outcomes(self) -> list[tuple[int, str, str | None]]:
        """(round, outcome, reason) of every closed round."""
        return [(line["round"], line["outcome"], line.get("reason")) for line in self.run.history]
