"""A tap sees every frame of every round, both ways, and changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
import pytest

import secagg
from secagg.errors import ProtocolError, SecaggError
from secagg.frames import (
    Answer,
    Finished,
    Frame,
    Question,
    Ready,
    Refusal,
    Reply,
    Request,
    RoundClosed,
    TaskFrame,
)
from secagg.masking.messages import STAGES
from secagg.plan import Plan
from secagg.tap import SERVER, TappedLink
from tests.cohort import seeded
from tests.scripted_link import initial_weights, mover, name_of

NAMES = [name_of(index) for index in range(4)]
PLAN = Plan(run={"name": "digits", "rounds": 2}, cohort={"max_clients": 4})  # type: ignore[arg-type]
Seen = list[tuple[str, str, Frame]]


def simulated(masks: bool, tap: secagg.tap.Tap | None) -> secagg.simulation.SimulationResult:
    return secagg.simulate(
        initial_weights(),
        PLAN,
        {name: mover(name) for name in NAMES},
        masks=masks,
        tap=tap,
        rounding=lambda name: seeded(NAMES.index(name)),
    )


def heard(masks: bool) -> Seen:
    seen: Seen = []
    simulated(masks, lambda sender, receiver, frame: seen.append((sender, receiver, frame)))
    return seen


@pytest.mark.parametrize("masks", [True, False])
def test_every_question_is_followed_by_its_answer_and_every_round_by_its_end(masks: bool) -> None:
    seen = heard(masks)
    stages = list(STAGES) if masks else ["upload"]
    expected: Counter[tuple[str, str, str]] = Counter()
    for name in NAMES:
        for kind in ("TaskFrame", "RoundClosed", *(f"Request {stage}" for stage in stages)):
            expected[SERVER, name, kind] += PLAN.run.rounds
        for kind in ("Ready", *(f"Reply {stage}" for stage in stages)):
            expected[name, SERVER, kind] += PLAN.run.rounds
    assert Counter((sender, receiver, kind_of(frame)) for sender, receiver, frame in seen) == expected
    asked: set[tuple[str, int, str]] = set()
    for sender, receiver, frame in seen:
        match frame:
            case TaskFrame():
                asked.add((receiver, frame.round, "train"))
            case Request():
                asked.add((receiver, frame.round, frame.stage))
            case Ready():
                assert (sender, frame.round, "train") in asked
            case Reply():
                assert (sender, frame.round, frame.stage) in asked


def kind_of(frame: Frame) -> str:
    return type(frame).__name__ + (f" {frame.stage}" if isinstance(frame, Request | Reply | Refusal) else "")


@pytest.mark.parametrize("masks", [True, False])
def test_a_tap_changes_nothing(masks: bool) -> None:
    alone, tapped = simulated(masks, None), simulated(masks, lambda *seen: None)
    assert alone.history == tapped.history
    assert all(array.tobytes() == tapped.weights[name].tobytes() for name, array in alone.weights.items())


def test_a_tap_can_read_the_model_of_each_task_while_it_is_sent() -> None:
    models = []

    def tap(sender: str, receiver: str, frame: Frame) -> None:
        if isinstance(frame, TaskFrame):
            models.append(secagg.weights.load(str(frame.weights)))

    simulated(False, tap)
    assert len(models) == 8
    np.testing.assert_array_equal(models[0]["who"], initial_weights()["who"])
    assert models[4]["who"].any()


def test_a_tap_that_raises_ends_the_run() -> None:
    def tap(sender: str, receiver: str, frame: Frame) -> None:
        raise LookupError("enough heard")

    with pytest.raises(LookupError, match="enough heard"):
        simulated(False, tap)


class Recording:
    """A link that answers each task, keeps what it is given, and fails nobody."""

    def __init__(self) -> None:
        self.given: list[object] = []

    def wait(self, count: int, seconds: float) -> tuple[str, ...]:
        self.given.append((count, seconds))
        return ("a", "b")

    def exchange(
        self, frames: Mapping[str, Question], *, seconds: float, limit: int
    ) -> Iterator[tuple[str, Answer]]:
        for client, frame in frames.items():
            self.given.append((client, frame, seconds, limit))
            yield client, Ready(frame.round)

    def send(self, frames: Mapping[str, Frame]) -> None:
        self.given.append(dict(frames))

    def finish(self, frame: Finished) -> None:
        self.given.append(frame)

    def fail(self, error: SecaggError) -> None:
        self.given.append(error)

    def dismiss(self, client: str, error: SecaggError) -> None:
        self.given.append((client, error))


def test_what_a_link_is_given_and_gives_passes_a_tap_unchanged() -> None:
    link, seen = Recording(), Seen()
    tapped = TappedLink(link, lambda *frame: seen.append(frame))
    task, closed, end = TaskFrame(1, 2, b"model"), RoundClosed(1, True), Finished(2, b"model")
    error = ProtocolError("excluded", "it lied")
    assert tapped.wait(2, 5.0) == ("a", "b")
    assert list(tapped.exchange({"a": task, "b": task}, seconds=4.0, limit=9)) == [
        ("a", Ready(1)),
        ("b", Ready(1)),
    ]
    tapped.send({"a": closed})
    tapped.finish(end)
    tapped.fail(error)
    tapped.dismiss("b", error)
    assert link.given == [
        (2, 5.0),
        ("a", task, 4.0, 9),
        ("b", task, 4.0, 9),
        {"a": closed},
        end,
        error,
        ("b", error),
    ]
    assert seen == [
        (SERVER, "a", task),
        (SERVER, "b", task),
        ("a", SERVER, Ready(1)),
        ("b", SERVER, Ready(1)),
        (SERVER, "a", closed),
    ]
