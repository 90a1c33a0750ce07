"""A client that dies at any step: its vector survives or is spent, and its ledger is never short."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg import weights as named_arrays
from secagg.errors import ProtocolError, TransportError
from secagg.frames import Frame, Ready, Reply, Request, RoundClosed, TaskFrame
from secagg.journal import Journal
from secagg.participant import Participant
from secagg.plan import Plan
from secagg.update import Task, Update
from tests.cohort import seeded
from tests.private_client import (
    ADAPTIVE,
    BASE,
    CLIENT,
    ME,
    Attempt,
    code_of,
    moved,
    participant,
    plan,
    task,
    vector_of,
)

# -- a restart --------------------------------------------------------------------------------------------


def restarted(asked: Plan, folder: Path, **changes: Any) -> tuple[Participant, Journal]:
    journal = Journal.open(folder, ME)
    return participant(asked, lambda _: pytest.fail("trained again"), journal=journal, **changes), journal


@pytest.mark.parametrize("adversary", ["malicious", "semi-honest"])
@pytest.mark.parametrize("reached", ["", "share", "mask"])
def test_a_client_restarted_within_a_round_goes_on_with_the_vector_it_trained(
    tmp_path: Path, adversary: str, reached: str
) -> None:
    asked = plan(cohort={"adversary": adversary})
    with Journal.open(tmp_path, ME) as journal:
        before = participant(asked, journal=journal)
        before.handle(task())
        vector = vector_of(before).copy()
        if reached:
            Attempt(asked, 1, 1).play(before, reached)
    one, journal = restarted(asked, tmp_path, rounding=seeded(2))
    with journal:
        assert one.handle(task()) == Ready(1)
        np.testing.assert_array_equal(vector_of(one), vector)
        if reached:
            assert code_of(one.handle(Request(1, 1, "mask", b""))) == "session-closed"
        attempt = Attempt(asked, 1, 2).play(one)
        np.testing.assert_array_equal(attempt.server.sum().vector, attempt.total(vector))
        assert code_of(one.handle(Request(1, 1, "mask", b""))) == "attempt-old"
        assert journal.openings() == 1


@pytest.mark.parametrize("privacy", [CLIENT, {**CLIENT, "ring_bits": 16}], ids=["wide", "small ring"])
def test_a_client_restarted_while_others_still_train_is_in_the_sum_without_a_new_task(
    tmp_path: Path, privacy: dict[str, Any]
) -> None:
    """The server, which saw it ready, asks for the next stage and sends no model again."""
    asked = plan(privacy)
    with Journal.open(tmp_path, ME) as journal:
        before = participant(asked, journal=journal)
        before.handle(task())
        vector = vector_of(before).copy()
    one, journal = restarted(asked, tmp_path, rounding=seeded(2))
    with journal:
        assert code_of(one.handle(Request(2, 1, "advertise", b""))) == "round-unknown"
        attempt = Attempt(asked, 1, 1).play(one)
        np.testing.assert_array_equal(attempt.server.sum().vector, attempt.total(vector))
        assert journal.openings() == 1


@pytest.mark.parametrize("reached", ["confirm", "reveal", ""])
def test_a_vector_that_went_under_masks_is_never_used_again_after_a_restart(
    tmp_path: Path, reached: str
) -> None:
    asked = plan()
    with Journal.open(tmp_path, ME) as journal:
        before = participant(asked, journal=journal)
        before.handle(task())
        Attempt(asked, 1, 1).play(before, reached)
    one, journal = restarted(asked, tmp_path)
    with journal:
        assert code_of(one.handle(task())) == "round-old"
        assert code_of(one.handle(Request(1, 2, "advertise", b""))) == "round-unknown"
        assert journal.openings() == 1


def test_another_task_for_a_round_that_was_trained_gets_nothing_of_it(tmp_path: Path) -> None:
    """Another model, or another clip norm: the vector was made for neither."""
    asked = plan(ADAPTIVE)
    with Journal.open(tmp_path, ME) as journal:
        participant(asked, journal=journal).handle(task(1, 1.0))
    other_model = TaskFrame(1, 9, named_arrays.to_bytes({**BASE, "b": BASE["b"] + 1}), 1.0)
    for frame in (task(1, 0.5), other_model):
        one, journal = restarted(asked, tmp_path)
        with journal:
            assert code_of(one.handle(frame)) == "round-old"
    one, journal = restarted(asked, tmp_path)
    with journal:
        assert one.handle(task(1, 1.0)) == Ready(1)


def test_a_plan_that_changed_within_a_run_is_refused_after_a_restart_too(tmp_path: Path) -> None:
    with Journal.open(tmp_path, ME) as journal:
        participant(plan(), journal=journal).handle(task())
    with Journal.open(tmp_path, ME) as journal, pytest.raises(TransportError, match="plan-changed"):
        participant(plan({**CLIENT, "noise_multiplier": 0.02}), journal=journal)


# -- deaths at every step ---------------------------------------------------------------------------------

DURABLE = frozenset({"begin_round", "keep", "begin_attempt", "stage", "opened", "spend", "forget"})


class Died(BaseException):
    """The client's process ends here."""


class Mortal:
    """A journal whose client dies just before, or just after, the step numbered `left` is on the disk."""

    def __init__(self, journal: Journal, left: int, after: bool) -> None:
        self._journal, self._left, self._after = journal, left, after

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._journal, name)
        return self._step(call) if name in DURABLE else call

    def _step(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **named: Any) -> Any:
            self._left -= 1
            if self._left == 0 and not self._after:
                raise Died
            result = call(*arguments, **named)
            if self._left == 0:
                raise Died
            return result

        return step


class Life:
    """A client that is restarted over the same folder whenever it dies, and what it ever handed out."""

    def __init__(self, asked: Plan, folder: Path, deaths: list[tuple[int, bool]]) -> None:
        self.asked, self.folder, self.deaths = asked, folder, list(deaths)
        self.trained: list[int] = []
        self.masked: list[tuple[int, int]] = []
        self.ready: dict[int, bytes] = {}
        self.journal: Journal | None = None
        self.born()

    def born(self) -> None:
        if self.journal is not None:
            self.journal.close()
        self.journal = Journal.open(self.folder, ME)
        left, after = self.deaths.pop(0) if self.deaths else (10**9, False)
        mortal: Any = Mortal(self.journal, left, after)
        self.one = participant(self.asked, self.train, journal=mortal, rounding=np.random.default_rng().bytes)
        self.check_ledger()

    def train(self, given: Task) -> Update:
        self.trained.append(given.round)
        return moved(given)

    def handle(self, frame: Frame) -> Frame | None:
        """Its answer, once it is out of the client's hands; dead, it is born again and answers nothing."""
        try:
            answer = self.one.handle(frame)
        except Died:
            self.born()
            return None
        if isinstance(answer, Ready) or (isinstance(answer, Reply) and answer.stage == "advertise"):
            vector = vector_of(self.one).tobytes()
            assert self.ready.setdefault(answer.round, vector) == vector, "a round has one vector"
        if isinstance(answer, Reply) and answer.stage in ("mask", "upload"):
            self.masked.append((answer.round, answer.attempt))
            self.check_ledger()
        return answer

    def check_ledger(self) -> None:
        """What left is in the ledger, with its cost, as anyone reads it from the file."""
        with sqlite3.connect(self.folder / "journal.sqlite") as ledger:
            rows = ledger.execute(
                "SELECT round, attempt, query FROM ledger WHERE state = 'opened'"
            ).fetchall()
        ledger.close()
        assert {(round, attempt, "update") for round, attempt in self.masked} <= set(rows)


class Handed:
    """What `Attempt` takes for a participant."""

    def __init__(self, life: Life) -> None:
        self.handle = life.handle


HOMOMORPHIC = {
    "cohort": {"adversary": "semi-honest", "colluders": 0.0},
    "protection": {"kind": "bfv"},
}
SETTINGS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "malicious": ({}, ["share", "mask", "confirm", "reveal", ""]),
    "semi-honest": ({"cohort": {"adversary": "semi-honest"}}, ["share", "mask", "reveal", ""]),
    "ciphertexts": (HOMOMORPHIC, ["key", "upload", "open", ""]),
    "recomputed": (
        {"cohort": {"colluders": 0.0}, "protection": {"kind": "bfv", "recompute": True}},
        ["key", "upload", "confirm", "fetch-0", "open", ""],
    ),
}


@settings(max_examples=40, deadline=None)
@given(
    deaths=st.lists(st.tuples(st.integers(1, 12), st.booleans()), max_size=4),
    setting=st.sampled_from(sorted(SETTINGS)),
    data=st.data(),
)
def test_whenever_it_dies_no_vector_is_out_without_its_cost_and_none_is_masked_twice(
    deaths: list[tuple[int, bool]], setting: str, data: st.DataObject
) -> None:
    """Two rounds of three attempts, the first of which the server gives up at some stage."""
    changes, stages = SETTINGS[setting]
    asked, cut = plan(**changes), data.draw(st.sampled_from(stages))
    with tempfile.TemporaryDirectory() as folder:
        life = Life(asked, Path(folder), deaths)
        whoever: Any = Handed(life)
        for round in (1, 2):
            for number in (1, 2, 3):
                life.handle(task(round))
                try:
                    Attempt(asked, round, number).play(whoever, cut if number == 1 else "")
                except ProtocolError as lost:
                    assert lost.code == "key-maker-lost"  # it was drawn, and died over it
            life.handle(RoundClosed(round, True))
        assert len(set(life.masked)) == len(life.masked)
        if setting != "semi-honest":
            assert len({round for round, _ in life.masked}) == len(life.masked), "masked once"
        for round in (1, 2):
            assert life.trained.count(round) <= 1, "trained once, or sat out"
        assert life.journal is not None
        life.journal.close()
        with Journal.open(folder, ME) as journal:
            assert journal.openings() >= len(life.masked)
            assert len(journal.uses()) == journal.openings()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", range(1, 10))
def test_of_one_round_each_single_death_leaves_a_whole_ledger_and_a_right_sum(
    tmp_path: Path, step: int, after: bool
) -> None:
    """A sum is over all five, or over the four others: never over something else."""
    asked = plan()
    life = Life(asked, tmp_path, [(step, after)])
    whoever: Any = Handed(life)
    vectors = []
    for number in (1, 2):
        life.handle(task())
        attempt = Attempt(asked, 1, number).play(whoever)
        summed = attempt.server.sum()
        mine = np.frombuffer(life.ready.get(1, b""), "<u4") if ME in summed.survivors else None
        np.testing.assert_array_equal(summed.vector, attempt.total(mine))
        vectors.append(ME in summed.survivors)
    assert vectors.count(True) <= 1
    life.handle(RoundClosed(1, True))
    assert life.journal is not None
    with life.journal as journal:
        assert journal.openings() >= vectors.count(True)
