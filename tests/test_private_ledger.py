"""What a run costs is on the disk before it is spent, is held to its budget, and survives any death."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import secagg
from secagg.coordinator import Coordinator
from secagg.errors import BudgetError
from secagg.frames import Answer, Finished, Question, TaskFrame
from secagg.masking.messages import STAGES
from secagg.protections import Assignment
from tests.private_run import (
    CLIENT,
    EVERYONE,
    METRICS,
    Begin,
    a_plan,
    beginning,
    cost,
    rows,
    stage_of,
)
from tests.scripted_link import Scene, ScriptedRun, gone, initial_weights, mover


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    with beginning(tmp_path) as begin:
        yield begin


# -- the ledger -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("placement", ["distributed", "central"])
def test_a_rounds_cost_is_on_the_disk_before_its_sum_can_be_opened(begin: Begin, placement: str) -> None:
    run = begin(plan=a_plan(1, {**CLIENT, "placement": placement}, metrics=METRICS))
    seen: dict[str, list[tuple[Any, ...]]] = {}
    run.link.before = lambda frames, seconds, limit: seen.setdefault(stage_of(frames), rows(run)) and None
    run.play()
    both = ("metric:loss", "update")
    reserved = [(1, 1, "client", query, "reserved") for query in both]
    opened = [(1, 1, "client", query, "opened") for query in both]
    assert seen.pop("train") == []
    assert seen.pop("reveal") == rows(run) == opened
    assert list(seen.values()) == [reserved] * (len(STAGES) - 1)


def test_the_ledger_says_what_was_done_with_its_parameters_as_they_were(begin: Begin) -> None:
    run = begin(Scene(EVERYONE[0], "mask", gone), plan=a_plan(1, {**CLIENT, "mechanism": "skellam"}))
    run.play()
    ((mechanism, *others),) = rows(
        run, "mechanism, placement, minimum, sampling, clip_norm, cohort, survivors, state"
    )
    codec = Assignment.of(run.plan, initial_weights(), run.run.id, 1).codec
    assert json.loads(mechanism) == codec.queries[0][1].as_json()
    assert json.loads(mechanism)["contributors"] == 2  # three survivors at the least, of whom one may collude
    assert others == ["distributed", 3, 1.0, 1.0, 5, 4, "opened"]


def test_an_attempt_that_opened_nothing_costs_nothing_and_the_next_one_once(begin: Begin) -> None:
    script = [Scene(name, "share", gone) for name in EVERYONE[:2]]
    run = begin(*script, plan=a_plan())
    (report,) = run.play()
    assert (report.code, report.attempts) == ("", 2)
    assert rows(run) == [(1, 1, "client", "update", "abandoned"), (1, 2, "client", "update", "opened")]
    assert [(use.round, use.attempt) for use in run.run.spent()] == [(1, 2)]


def test_a_round_that_was_opened_and_lost_is_spent_also_after_a_restart(begin: Begin) -> None:
    one = a_plan(9)
    plan = a_plan(9, {**CLIENT, "epsilon": (cost(one, 2) + cost(one, 3)) / 2})
    run = begin(plan=plan)

    def dying(state: Any, weights: Any, mean: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.play(aggregate=dying)
    run.restart()
    assert run.outcomes() == [(1, "lost", "restart")]
    with pytest.raises(BudgetError):
        run.play()
    assert [outcome for _, outcome, _ in run.outcomes()] == ["lost", "aggregated"], "two, and not three"
    assert [(use.round, use.attempt) for use in run.run.spent()] == [(1, 1), (2, 1)]


# -- the budget -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("placement", ["distributed", "central"])
def test_the_budget_ends_the_run_before_the_round_it_does_not_cover_and_the_model_goes_home(
    begin: Begin, placement: str
) -> None:
    privacy = {**CLIENT, "placement": placement}
    audience = "public" if placement == "central" else "colluders"
    budget = (cost(a_plan(1, privacy), 2, audience) + cost(a_plan(1, privacy), 3, audience)) / 2
    run = begin(plan=a_plan(9, {**privacy, "epsilon": budget}))
    coordinator = run.coordinator()
    rounds = coordinator.rounds()
    reports = [next(rounds), next(rounds)]
    with pytest.raises(BudgetError, match="round 3 would cost more") as caught:
        next(rounds)
    assert (caught.value.code, caught.value.exit_code) == ("budget-exhausted", 3)
    assert "the model of round 2 is kept" in caught.value.hint
    assert [report.code for report in reports] == ["", ""]
    assert run.link.finished == [Finished(2, run.run.checkpoint_path(2))]
    assert run.link.closings() == [(1, True), (2, True)]
    for one in run.link.participants.values():
        assert one.final is not None and one.rounds == 2
        np.testing.assert_array_equal(one.final["who"], coordinator.weights["who"])
    np.testing.assert_array_equal(run.model["who"], coordinator.weights["who"])
    assert json.loads((run.run.path / "run.json").read_text())["finished"] is not None
    (account,) = coordinator.privacy()
    assert getattr(account, audience).epsilon <= budget
    assert rows(run, "round, state") == [(1, "opened"), (2, "opened")]


def test_the_budget_holds_over_a_restart(begin: Begin) -> None:
    budget = (cost(a_plan(), 2) + cost(a_plan(), 3)) / 2
    run = begin(plan=a_plan(9, {**CLIENT, "epsilon": budget}))
    list(islice(run.coordinator().rounds(), 2))
    run.restart()
    with pytest.raises(BudgetError):
        run.play()
    assert [round for round, _, _ in run.outcomes()] == [1, 2]


def test_noise_that_was_calibrated_for_all_rounds_lets_all_of_them_happen(begin: Begin) -> None:
    privacy = {key: value for key, value in CLIENT.items() if key != "noise_multiplier"}
    run = begin(plan=a_plan(3, {**privacy, "epsilon": 2.0}))
    coordinator = run.coordinator()
    assert [report.code for report in coordinator.rounds()] == ["", "", ""]
    (account,) = coordinator.privacy()
    assert 1.9 < account.colluders.epsilon <= 2.0
    assert account.server.epsilon == account.public.epsilon < account.colluders.epsilon


def test_a_simulation_whose_budget_is_used_up_says_so_and_keeps_its_model() -> None:
    budget = (cost(a_plan(), 2) + cost(a_plan(), 3)) / 2
    plan = a_plan(9, {**CLIENT, "epsilon": budget})
    result = secagg.simulate(initial_weights(), plan, {name: mover(name) for name in EVERYONE}, masks=False)
    assert result.exhausted and [report.round for report in result.history] == [1, 2]
    assert result.weights["who"].any()
    (account,) = result.privacy
    assert account.colluders.epsilon <= budget


# -- deaths -----------------------------------------------------------------------------------------------

DURABLE = frozenset({"reserve", "opened", "abandoned", "close_round", "fail_round", "finish"})


class Died(BaseException):
    """The server's process ends here."""


class Mortal:
    """A run directory whose server dies just before, or just after, so many writes."""

    def __init__(self, run: Any, left: int, after: bool) -> None:
        self._run, self._left, self._after = run, left, after

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._run, name)
        if name not in DURABLE:
            return call

        def step(*arguments: Any) -> Any:
            self._left -= 1
            if self._left == 0 and not self._after:
                raise Died
            call(*arguments)
            if self._left == 0:
                raise Died

        return step


def death() -> st.SearchStrategy[tuple[str, int, bool]]:
    writes = st.tuples(st.just("write"), st.integers(1, 8), st.booleans())
    frames = st.tuples(st.just("frame"), st.integers(1, 60), st.just(False))
    return st.one_of(writes, frames)


HONEST = {"adversary": "semi-honest", "colluders": 0.0}
SETTINGS: dict[str, dict[str, Any]] = {
    "malicious": {},
    "semi-honest": {"cohort": {"adversary": "semi-honest"}},
    "ciphertexts": {"cohort": HONEST, "protection": {"kind": "bfv"}},
    "recomputed": {"cohort": {"colluders": 0.0}, "protection": {"kind": "bfv", "recompute": True}},
}


@settings(max_examples=40, deadline=None)
@given(deaths=st.lists(death(), min_size=1, max_size=3), setting=st.sampled_from(sorted(SETTINGS)))
def test_whenever_the_server_dies_no_sum_was_opened_without_its_row(
    deaths: list[tuple[str, int, bool]], setting: str
) -> None:
    plan = a_plan(2, CLIENT, **SETTINGS[setting])
    with tempfile.TemporaryDirectory() as folder, ScriptedRun(Path(folder), plan, 5) as run:
        revealed: set[tuple[int, int]] = set()
        frames_left = math.inf
        answer = run.link.answer

        def look(frames: Mapping[str, Question], seconds: float, limit: int) -> None:
            question = next(iter(frames.values()))
            if stage_of(frames) in ("reveal", "open") and not isinstance(question, TaskFrame):
                revealed.add((question.round, question.attempt))
            assert {(*at, "client", "update", "opened") for at in revealed} <= set(rows(run))

        def counted(client: str, question: Question) -> Answer:
            nonlocal frames_left
            frames_left -= 1
            if frames_left == 0:
                raise Died
            return answer(client, question)

        run.link.before = look
        run.link.answer = counted  # type: ignore[method-assign]
        moved: set[int] = set()
        for kind, left, after in [*deaths, ("write", 10**9, False)]:
            frames_left = left if kind == "frame" else math.inf
            mortal: Any = Mortal(run.run, left if kind == "write" else 10**9, after)
            _, weights, state = run.run.last
            coordinator = Coordinator(plan, mortal, run.link, weights, state, authority=run.authority)
            try:
                for report in coordinator.rounds():
                    moved |= set() if report.code else {report.round}
                break
            except Died:
                run.run.close()
                run.run = type(run.run).open(run.run.path, plan) if unfinished(run) else run.run
                if not unfinished(run):
                    break
        found = rows(run)
        opened = {(round, attempt) for round, attempt, _, _, state in found if state == "opened"}
        assert revealed <= opened
        assert len({round for round, _ in opened}) == len(opened), "no round is opened twice"
        assert moved <= {round for round, _ in opened}
        assert all(state in ("opened", "abandoned") for *_, state in found)


def unfinished(run: ScriptedRun) -> bool:
    return json.loads((run.run.path / "run.json").read_text())["finished"] is None
