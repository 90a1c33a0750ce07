"""The server's side of a run: who is in the sum, what is tried again, what is written down before it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secagg.coordinator import MAX_ATTEMPTS, NotEnoughClients
from secagg.errors import RunError
from secagg.frames import Finished, Question, Reply, TaskFrame
from secagg.masking.messages import STAGES
from secagg.plan import Plan
from secagg.update import Task, Train, Update
from secagg.weights import Weights
from tests.scripted_link import (
    PLACES,
    STEP,
    Act,
    Scene,
    ScriptedLink,
    ScriptedRun,
    dies,
    garbles,
    gone,
    initial_weights,
    late,
    mover,
    name_of,
    refuses,
    seals_badly,
    who,
)

EVERYONE = [name_of(index) for index in range(5)]
ODD = EVERYONE[1]
LOSS = {"loss": 3.25}
OTHERS = [name for name in EVERYONE if name != ODD]


def a_plan(rounds: int = 1, **changes: Mapping[str, Any]) -> Plan:
    """Five clients of whom one may collude: four must stay for a sum over five or four."""
    tables: dict[str, dict[str, Any]] = {
        "run": {"name": "digits", "rounds": rounds},
        "cohort": {"max_clients": 5},
        "metrics": {"loss": {"min": 0.0, "max": 10.0}},
    }
    for name, table in changes.items():
        tables[name] = {**tables.get(name, {}), **table}
    return Plan(**tables)  # type: ignore[arg-type]


Begin = Callable[..., ScriptedRun]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Begins runs, and lets go of their directories in the end."""
    begun: list[ScriptedRun] = []

    def begin(*script: Scene, plan: Plan | None = None, n: int = 5, **changes: Any) -> ScriptedRun:
        begun.append(ScriptedRun(tmp_path / str(len(begun)), plan or a_plan(), n, script, **changes))
        return begun[-1]

    yield begin
    for run in begun:
        run.run.close()


def refused(code: str) -> Any:
    return pytest.raises(RunError, match=rf"\[{code}\]")


# -- a round ----------------------------------------------------------------------------------------------


def test_a_round_adds_the_mean_of_the_updates_and_says_what_anyone_may_know(begin: Begin) -> None:
    run = begin()
    (report,) = run.play()
    assert who(run.model) == EVERYONE
    assert (report.round, report.rounds, report.code, report.attempts) == (1, 1, "", 1)
    assert (report.cohort, report.survivors, report.evaluation) == (5, 5, {})
    assert report.metrics == pytest.approx({"loss": 3.25, "clipped_fraction": 0.0}, abs=1e-5)
    assert run.outcomes() == [(1, "aggregated", None)]
    assert run.log("late", "refused", "excluded", "suspected", "attempt-failed") == []


def test_only_the_aggregated_arrays_move(begin: Begin) -> None:
    run = begin()
    coordinator = run.coordinator()
    list(coordinator.rounds())
    assert coordinator.weights["steps"] == 7
    for name, array in run.model.items():
        np.testing.assert_array_equal(array, coordinator.weights[name])
        assert array.dtype == initial_weights()[name].dtype


def test_a_malicious_plan_has_five_stages_and_a_semi_honest_one_no_confirmation(begin: Begin) -> None:
    for adversary, stages in (("malicious", STAGES), ("semi-honest", [s for s in STAGES if s != "confirm"])):
        run = begin(plan=a_plan(cohort={"adversary": adversary}))
        run.play()
        assert run.link.stages() == [(1, stage) for stage in stages]


def test_each_task_carries_the_model_as_the_last_round_left_it(begin: Begin) -> None:
    run = begin(plan=a_plan(rounds=3))
    run.play()
    tasks = [question for _, question in run.link.questions if isinstance(question, TaskFrame)]
    paths = [run.run.checkpoint_path(round) for round in (0, 1, 2) for _ in EVERYONE]
    assert [task.weights for task in tasks] == paths
    np.testing.assert_allclose(run.model["who"][:5], 3 * STEP / 5, rtol=1e-12)


def test_the_deadlines_are_the_plans_and_leave_time_for_the_bytes(begin: Begin) -> None:
    cohort = {"train_deadline": "7m", "stage_deadline": "20s", "min_rate": "100B/s"}
    run = begin(plan=a_plan(cohort=cohort))
    allowed: list[tuple[str, float, float]] = []

    def note(frames: Mapping[str, Question], seconds: float, limit: int) -> None:
        question = next(iter(frames.values()))
        if isinstance(question, TaskFrame):
            size = run.run.latest_checkpoint().stat().st_size
            allowed.append(("train", seconds, 420 + 5 * size / 100))
        else:
            both_ways = sum(len(q.body) + limit for q in frames.values() if not isinstance(q, TaskFrame))
            allowed.append((question.stage, seconds, 20 + both_ways / 100))

    run.link.before = note
    run.play()
    assert [stage for stage, _, _ in allowed] == STAGES_AND_TRAIN
    for stage, seconds, expected in allowed:
        assert seconds == pytest.approx(expected), stage


def test_every_client_that_trained_hears_how_the_round_ended_and_the_last_model_comes_home(
    begin: Begin,
) -> None:
    run = begin(plan=a_plan(rounds=2))
    run.play()
    assert run.link.closings() == [(1, True), (2, True)]
    assert [client for client, _ in run.link.sent] == 2 * EVERYONE
    assert run.link.finished == [Finished(2, run.run.checkpoint_path(2))]
    for one in run.link.participants.values():
        assert one.final is not None and one.rounds == 2
        np.testing.assert_array_equal(one.final["who"], run.model["who"])
    assert json.loads((run.run.path / "run.json").read_text())["finished"] is not None


# -- who is not there -------------------------------------------------------------------------------------

STAGES_AND_TRAIN = ["train", *STAGES]
IN_THE_SUM = {"confirm", "reveal"}  # by then the masked vector has come


@pytest.mark.parametrize("stage", STAGES_AND_TRAIN)
@pytest.mark.parametrize("act", [gone, late], ids=["vanished", "late"])
def test_who_is_not_there_in_time_is_named_with_the_stage_and_the_others_are_summed(
    begin: Begin, stage: str, act: Act
) -> None:
    run = begin(Scene(ODD, stage, act))
    (report,) = run.play()
    assert report.code == "" and report.attempts == 1
    assert who(run.model) == (EVERYONE if stage in IN_THE_SUM else OTHERS)
    (line,) = run.log("late")
    assert (line["client"], line["stage"], line["round"]) == (ODD, stage, 1)
    assert line["attempt"] == (0 if stage == "train" else 1)
    assert report.survivors == len(who(run.model))


@pytest.mark.parametrize("stage", STAGES_AND_TRAIN)
def test_who_refuses_is_named_with_its_code_and_the_others_are_summed(begin: Begin, stage: str) -> None:
    run = begin(Scene(ODD, stage, refuses))
    (report,) = run.play()
    assert report.code == ""
    assert who(run.model) == (EVERYONE if stage in IN_THE_SUM else OTHERS)
    (line,) = run.log("refused")
    code = "update-refused" if stage == "train" else "quorum-signature"
    assert (line["client"], line["stage"], line["code"]) == (ODD, stage, code)
    assert run.link.dismissed == {} and run.log("late") == []


@pytest.mark.parametrize("stage", STAGES)
def test_who_answers_garbage_is_left_out_dismissed_and_in_no_later_round(begin: Begin, stage: str) -> None:
    run = begin(Scene(ODD, stage, garbles), plan=a_plan(rounds=2))
    first, second = run.play()
    assert (first.code, second.code) == ("", "")
    assert first.survivors == (5 if stage in IN_THE_SUM else 4)
    assert (second.cohort, second.survivors) == (4, 4)
    (line,) = run.log("excluded")
    assert (line["client"], line["stage"], line["round"]) == (ODD, stage, 1)
    assert line["code"].startswith("message-")
    assert list(run.link.dismissed) == [ODD]
    assert run.link.dismissed[ODD].code == "excluded"
    assert ODD not in [client for client, question in run.link.questions if question.round == 2]


def test_an_excluded_client_that_waits_again_is_not_chosen(begin: Begin) -> None:
    run = begin(Scene(ODD, "share", garbles), plan=a_plan(rounds=2))
    rounds = run.coordinator().rounds()
    next(rounds)
    run.link.absent.clear()
    assert next(rounds).cohort == 4
    assert [line["clients"] for line in run.log("round-started")] == [EVERYONE, OTHERS]


def test_who_was_late_takes_part_in_the_next_round_again(begin: Begin) -> None:
    script = [Scene(ODD, stage, late, round=at + 1) for at, stage in enumerate(STAGES_AND_TRAIN)]
    run = begin(*script, plan=a_plan(rounds=7))
    reports = run.play()
    assert [report.code for report in reports] == [""] * 7
    assert [report.cohort for report in reports] == [4, 5, 5, 5, 5, 5, 5]
    assert [report.survivors for report in reports] == [4, 4, 4, 4, 5, 5, 5]
    assert [line["stage"] for line in run.log("late")] == STAGES_AND_TRAIN


def test_a_round_in_which_too_few_trained_opens_nothing_and_the_next_trains_again(begin: Begin) -> None:
    run = begin(*(Scene(name, "train", late, round=1) for name in EVERYONE[:3]), plan=a_plan(rounds=2))
    first, second = run.play()
    assert (first.code, first.attempts, first.cohort, first.survivors) == ("too-few-trained", 0, 2, 0)
    assert first.metrics == {}
    assert run.outcomes() == [(1, "failed", "too-few-trained"), (2, "aggregated", None)]
    assert run.link.closings() == [(1, False), (2, True)]
    assert second.survivors == 5 and who(run.model) == EVERYONE


# -- attempts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", [late, refuses, garbles], ids=["late", "refused", "lied"])
def test_an_attempt_that_fails_in_share_is_tried_again_with_whoever_is_left(begin: Begin, act: Act) -> None:
    run = begin(Scene(EVERYONE[0], "share", gone), Scene(ODD, "share", act, attempt=1))
    (report,) = run.play()
    assert (report.code, report.attempts, report.cohort, report.survivors) == ("", 2, 3, 3)
    assert who(run.model) == EVERYONE[2:]
    assert [(1, stage) for stage in STAGES[:2]] + [(2, stage) for stage in STAGES] == run.link.stages()
    assert run.ledger() == [
        (1, 1, "abandoned", EVERYONE, None),
        (1, 2, "opened", EVERYONE[2:], EVERYONE[2:]),
    ]
    (line,) = run.log("attempt-failed")
    assert (line["round"], line["attempt"], line["code"]) == (1, 1, "too-few-clients")


def test_an_attempt_that_fails_in_share_is_over_when_too_few_are_left(begin: Begin) -> None:
    run = begin(*(Scene(name, "share", gone) for name in EVERYONE[:3]))
    (report,) = run.play()
    assert (report.code, report.attempts, report.survivors) == ("too-few-clients", 1, 0)
    assert run.attempts() == [(1, 1, "abandoned")]
    assert run.outcomes() == [(1, "failed", "too-few-clients")]


@pytest.mark.parametrize("stage", ["mask", "confirm"])
def test_in_a_malicious_plan_no_attempt_is_tried_again_once_vectors_were_asked_for(
    begin: Begin, stage: str
) -> None:
    run = begin(*(Scene(name, stage, late, round=1) for name in EVERYONE[:2]), plan=a_plan(rounds=2))
    first, second = run.play()
    assert (first.code, first.attempts, first.survivors) == ("too-few-clients", 1, 0)
    assert run.attempts() == [(1, 1, "abandoned"), (2, 1, "opened")]
    assert second.code == "" and who(run.model) == EVERYONE
    assert run.link.closings() == [(1, False), (2, True)]


def test_in_a_semi_honest_plan_an_attempt_that_fails_in_mask_is_tried_again(begin: Begin) -> None:
    plan = a_plan(cohort={"adversary": "semi-honest"})
    run = begin(*(Scene(name, "mask", gone) for name in EVERYONE[:2]), plan=plan)
    (report,) = run.play()
    assert (report.code, report.attempts) == ("", 2)
    assert who(run.model) == EVERYONE[2:]
    assert run.attempts() == [(1, 1, "abandoned"), (1, 2, "opened")]


@pytest.mark.parametrize("adversary", ["malicious", "semi-honest"])
def test_an_attempt_that_fails_in_reveal_is_never_tried_again(begin: Begin, adversary: str) -> None:
    plan = a_plan(rounds=2, cohort={"adversary": adversary})
    run = begin(*(Scene(name, "reveal", late, round=1) for name in EVERYONE[:3]), plan=plan)
    first, second = run.play()
    assert first.code != "" and (first.attempts, first.survivors) == (1, 0)
    assert run.attempts() == [(1, 1, "opened"), (2, 1, "opened")]
    assert run.outcomes() == [(1, "failed", first.code), (2, "aggregated", None)]
    assert second.survivors == 5 and who(run.model) == EVERYONE


def test_a_round_has_at_most_so_many_attempts_though_enough_would_be_left(begin: Begin) -> None:
    """Sixteen clients, of whom seven, then three, then two vanish: four are left, and four would do."""
    names = [name_of(index) for index in range(16)]
    leaving = {1: names[:7], 2: names[7:10], 3: names[10:12]}
    script = [
        Scene(name, "share", gone, attempt=attempt) for attempt, some in leaving.items() for name in some
    ]
    run = begin(*script, plan=a_plan(cohort={"max_clients": 16}), n=16)
    (report,) = run.play()
    assert (report.code, report.attempts, report.cohort) == ("too-few-clients", MAX_ATTEMPTS, 6)
    assert run.attempts() == [(1, attempt, "abandoned") for attempt in (1, 2, 3)]


# -- who cheats -------------------------------------------------------------------------------------------


def test_of_two_who_accuse_each_other_both_are_named_and_neither_is_excluded(begin: Begin) -> None:
    run = begin(Scene(ODD, "share", seals_badly(1), round=1), plan=a_plan(rounds=2))
    first, second = run.play()
    assert (first.survivors, second.survivors) == (5, 5)
    (line,) = run.log("suspected")
    assert (line["client"], line["code"]) == (ODD, f"share-unopened-by-{EVERYONE[0]}")
    assert run.log("excluded") == [] and run.link.dismissed == {}


@pytest.mark.parametrize(
    ("act", "code", "opened"),
    [
        (seals_badly(1, "signature"), "share-signature", True),
        (seals_badly(2), "share-unopenable", False),
    ],
    ids=["a wrong signature", "more complaints than colluders"],
)
def test_who_provably_dealt_bad_shares_is_excluded_even_when_the_attempt_fails_by_it(
    begin: Begin, act: Act, code: str, opened: bool
) -> None:
    run = begin(Scene(ODD, "share", act), plan=a_plan(rounds=2))
    first, second = run.play()
    assert first.code == ("" if opened else "shares-lost")
    assert (second.code, second.cohort, second.survivors) == ("", 4, 4)
    (line,) = run.log("excluded")
    assert (line["client"], line["stage"], line["code"]) == (ODD, "mask", code)
    assert list(run.link.dismissed) == [ODD]


# -- the ledger -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adversary", ["malicious", "semi-honest"])
def test_an_attempt_is_reserved_before_its_first_request_and_opened_before_the_first_reveal_request(
    begin: Begin, adversary: str
) -> None:
    run = begin(plan=a_plan(cohort={"adversary": adversary}))
    on_disk: dict[str, list[tuple[int, int, str]]] = {}

    def look(frames: Mapping[str, Question], seconds: float, limit: int) -> None:
        question = next(iter(frames.values()))
        on_disk["train" if isinstance(question, TaskFrame) else question.stage] = run.attempts()

    run.link.before = look
    run.play()
    assert on_disk.pop("train") == []
    assert on_disk.pop("reveal") == [(1, 1, "opened")]
    assert set(map(tuple, on_disk.values())) == {((1, 1, "reserved"),)}
    assert run.ledger() == [(1, 1, "opened", EVERYONE, EVERYONE)]


def test_a_client_that_vanished_after_its_vector_came_is_a_survivor_in_the_ledger(begin: Begin) -> None:
    """It confirmed nothing and reveals nothing, and its vector is in the sum all the same."""
    run = begin(Scene(ODD, "confirm", gone))
    run.play()
    assert who(run.model) == EVERYONE
    assert run.ledger() == [(1, 1, "opened", EVERYONE, EVERYONE)]


def test_without_masks_a_round_is_opened_before_the_first_vector_is_asked_for(begin: Begin) -> None:
    for changes in ({"protected": False}, {"plan": a_plan(protection={"kind": "none"})}):
        run = begin(**changes)
        seen = []
        run.link.before = lambda *_, run=run, seen=seen: seen.append(run.attempts())  # type: ignore[misc]
        run.play()
        assert seen == [[], [(1, 1, "opened")]]
        assert run.link.stages() == [(1, "upload")]
        assert who(run.model) == EVERYONE


def test_without_masks_too_few_vectors_are_no_sum_and_no_second_attempt(begin: Begin) -> None:
    plan = a_plan(rounds=2, protection={"kind": "none"})
    run = begin(*(Scene(name, "upload", late, round=1) for name in EVERYONE[:3]), plan=plan)
    first, second = run.play()
    assert (first.code, first.attempts) == ("too-few-clients", 1)
    assert (second.code, second.survivors) == ("", 5)
    assert who(run.model) == EVERYONE


# -- who takes part ---------------------------------------------------------------------------------------


def test_the_first_round_waits_for_a_full_cohort_and_later_ones_start_with_enough(begin: Begin) -> None:
    run = begin(plan=a_plan(rounds=3, cohort={"join_deadline": "90s"}))
    run.play()
    assert run.link.waits == [(5, 90.0), (3, 90.0), (3, 90.0)]


def test_of_more_than_a_cohort_each_is_drawn_about_as_often(begin: Begin) -> None:
    rounds, n = 40, 12
    plan = a_plan(rounds, cohort={"max_clients": 6})
    run = begin(plan=plan, n=n, protected=False)
    reports = run.play()
    assert {report.cohort for report in reports} == {6}
    drawn = [line["clients"] for line in run.log("round-started")]
    assert all(clients == sorted(set(clients)) for clients in drawn)
    counts = [sum(name_of(index) in clients for clients in drawn) for index in range(n)]
    assert sum(counts) == 6 * rounds
    assert min(counts) > 0 and max(counts) < rounds  # by chance, once in 4 * 10^10 runs
    assert len(set(map(tuple, drawn))) > 10


def test_too_few_clients_end_the_command_with_75_and_the_run_goes_on_later(begin: Begin) -> None:
    run = begin(plan=a_plan(rounds=2))
    rounds = run.coordinator().rounds()
    assert next(rounds).code == ""
    run.link.absent |= set(EVERYONE[:3])
    with pytest.raises(NotEnoughClients, match=r"2 clients are here, and a round needs 3") as caught:
        next(rounds)
    assert (caught.value.code, caught.value.exit_code) == ("not-enough-clients", 75)
    assert run.link.finished == []
    run.restart()
    run.link.absent.clear()
    (report,) = run.play()
    assert (report.round, report.survivors) == (2, 5)
    np.testing.assert_allclose(run.model["who"][:5], 2 * STEP / 5, rtol=1e-12)
    assert run.outcomes() == [(1, "aggregated", None), (2, "aggregated", None)]


def test_enough_is_what_the_threshold_takes_and_not_only_what_the_plan_opens(begin: Begin) -> None:
    """Four of sixteen may collude: six make the smallest cohort, though sums over three may be opened."""
    plan = a_plan(cohort={"max_clients": 16, "colluders": 0.25})
    run = begin(plan=plan, n=5)
    with pytest.raises(NotEnoughClients, match="5 clients are here, and a round needs 6"):
        run.play()


def test_a_run_in_which_no_round_opened_a_sum_sends_no_model_home_and_says_so(begin: Begin) -> None:
    run = begin(*(Scene(name, "share", late) for name in EVERYONE[:3]), plan=a_plan(rounds=2))
    assert [report.code for report in run.play()] == ["too-few-clients"] * 2
    assert run.link.finished == []
    assert [error.code for error in run.link.failures] == ["run-without-sum"]


# -- crashes ----------------------------------------------------------------------------------------------


def test_a_server_that_died_between_opening_and_closing_goes_on_with_the_next_round(begin: Begin) -> None:
    run = begin(plan=a_plan(rounds=2))

    def dying(state: Any, weights: Any, mean: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.play(aggregate=dying)
    assert run.attempts() == [(1, 1, "opened")]
    run.restart()
    assert run.outcomes() == [(1, "lost", "restart")]
    (report,) = run.play()
    assert (report.round, report.survivors) == (2, 5)
    assert who(run.model) == EVERYONE


@pytest.mark.parametrize("stage", STAGES[:2])
def test_a_server_that_died_before_vectors_were_asked_for_loses_no_trained_update(
    begin: Begin, stage: str
) -> None:
    trained = []

    def counting(name: str) -> Train:
        train = mover(name)
        return lambda task: trained.append(name) or train(task)  # type: ignore[func-returns-value]

    run = begin(Scene(ODD, stage, dies, attempt=1), train=counting)
    with pytest.raises(KeyboardInterrupt):
        run.play()
    run.restart()
    (report,) = run.play()
    assert (report.round, report.code, report.survivors) == (1, "", 5)
    assert run.attempts() == [(1, 1, "abandoned"), (1, 2, "opened")]
    assert trained == EVERYONE and who(run.model) == EVERYONE


def test_a_server_that_died_after_vectors_were_asked_for_costs_that_round(begin: Begin) -> None:
    run = begin(Scene(EVERYONE[-1], "mask", dies, round=1), plan=a_plan(rounds=2))
    with pytest.raises(KeyboardInterrupt):
        run.play()
    run.restart()
    first, second = run.play()
    assert (first.round, first.code, first.cohort) == (1, "too-few-trained", 1)
    assert {line["code"] for line in run.log("refused")} == {"round-over"}
    assert (second.code, second.survivors) == ("", 5)
    assert who(run.model) == EVERYONE


def test_the_momentum_survives_a_restart_to_the_last_bit(begin: Begin) -> None:
    plan = a_plan(rounds=5, aggregation={"method": "fedavgm", "momentum": 0.7})
    whole, broken = (begin(plan=plan, train=irrational) for _ in range(2))
    whole.play()
    list(islice(broken.coordinator().rounds(), 2))
    broken.restart()
    list(islice(broken.coordinator().rounds(), 1))
    broken.restart()
    broken.play()
    for one, other in zip(whole.run.last[1:], broken.run.last[1:], strict=True):
        assert one.keys() == other.keys() and one
        assert all(array.tobytes() == other[name].tobytes() for name, array in one.items())


def irrational(name: str) -> Train:
    """Numbers that every step of the way rounds."""
    source = np.random.default_rng(int(name[-3:]))
    delta = {"who": source.normal(0, 0.1, PLACES), "layer": source.normal(0, 0.1, (2, 3)).astype(np.float32)}

    def train(task: Task) -> Update:
        return Update(delta={key: array / task.round for key, array in delta.items()}, metrics=LOSS)

    return train


# -- what becomes of a sum --------------------------------------------------------------------------------


def test_a_sum_without_examples_leaves_the_model_and_says_so(begin: Begin) -> None:
    def idle(name: str) -> Train:
        return lambda task: replace(mover(name)(task), num_examples=0 if task.round == 1 else 9)

    plan = a_plan(rounds=2, aggregation={"weighting": "examples", "max_examples": 9})
    run = begin(plan=plan, train=idle)
    first, second = run.play()
    assert (first.code, first.attempts, first.survivors) == ("example-weight-zero", 1, 5)
    assert run.outcomes() == [(1, "failed", "example-weight-zero"), (2, "aggregated", None)]
    assert second.code == "" and who(run.model) == EVERYONE
    assert run.link.closings() == [(1, True), (2, True)]


def test_a_users_aggregate_takes_the_place_of_the_plans(begin: Begin) -> None:
    def backwards(state: Any, weights: Weights, mean: Mapping[str, Any]) -> tuple[dict[str, Any], Weights]:
        turns = state.get("turns", np.zeros(1)) + 1
        return {"turns": turns}, {**weights, **{name: weights[name] - mean[name] for name in mean}}

    run = begin(plan=a_plan(rounds=2))
    run.play(aggregate=backwards)
    np.testing.assert_allclose(run.model["who"][:5], -2 * STEP / 5, rtol=1e-12)
    assert run.run.last[2]["turns"] == 2


def _missing(state: Any, weights: Any, mean: Any) -> Any:
    return state, {"who": weights["who"]}


def _double(state: Any, weights: Any, mean: Any) -> Any:
    return state, {**weights, "layer": weights["layer"].astype(np.float64)}


def _flat(state: Any, weights: Any, mean: Any) -> Any:
    return state, {**weights, "layer": weights["layer"].reshape(-1)}


@pytest.mark.parametrize(
    ("aggregate", "code"),
    [
        (lambda state, weights, mean: None, "aggregate-invalid"),
        (lambda state, weights, mean: weights, "aggregate-invalid"),
        (lambda state, weights, mean: (state, list(weights.values())), "aggregate-invalid"),
        (lambda state, weights, mean: ({"turns": 3}, weights), "aggregate-invalid"),
        (_missing, "aggregate-invalid"),
        (_double, "aggregate-invalid"),
        (_flat, "aggregate-invalid"),
        (
            lambda state, weights, mean: (state, {**weights, "who": weights["who"] * np.nan}),
            "aggregate-not-finite",
        ),
    ],
    ids=["None", "weights alone", "a list", "a state of numbers", "missing", "dtype", "shape", "NaN"],
)
def test_an_aggregate_that_returns_nonsense_ends_the_run_and_writes_no_model(
    begin: Begin, aggregate: Any, code: str
) -> None:
    run = begin(protected=False)
    with refused(code):
        run.play(aggregate=aggregate)
    assert run.run.last[0] == 0
    assert run.outcomes() == [(1, "failed", code)]


def test_the_servers_evaluation_stands_beside_the_clients_metrics(begin: Begin) -> None:
    run = begin()
    (report,) = run.play(evaluate=lambda weights: {"moved": float(weights["who"].sum())})
    assert report.evaluation == pytest.approx({"moved": STEP})
    (line,) = run.run.history
    assert line["metrics"]["server"] == report.evaluation
    assert line["metrics"]["clients"] == report.metrics


def test_an_evaluation_that_raises_loses_no_round(begin: Begin) -> None:
    def failing(weights: Weights) -> dict[str, float]:
        raise ZeroDivisionError

    run = begin(plan=a_plan(rounds=2))
    with pytest.raises(ZeroDivisionError):
        run.play(evaluate=failing)
    run.restart()
    assert run.outcomes() == [(1, "aggregated", None)] and who(run.model) == EVERYONE
    assert [report.round for report in run.play()] == [2]


def test_an_evaluation_that_works_on_the_arrays_it_is_given_does_not_change_the_model(begin: Begin) -> None:
    def careless(weights: Weights) -> dict[str, float]:
        for array in weights.values():
            array[...] = 0
        return {}

    run = begin(plan=a_plan(rounds=2))
    run.play(evaluate=careless)
    np.testing.assert_allclose(run.model["who"][:5], 2 * STEP / 5, rtol=1e-12)
    assert run.model["steps"] == 7


def test_three_clipped_rounds_in_a_row_are_warned_of_once_with_a_larger_norm(
    begin: Begin, caplog: pytest.LogCaptureFixture
) -> None:
    def long(name: str) -> Train:
        def train(task: Task) -> Update:
            length = 0.1 if task.round == 3 else 10.0  # the third round ends the first row
            delta = {"who": np.full(PLACES, length), "layer": np.zeros((2, 3), np.float32)}
            return Update(delta=delta, metrics=LOSS)

        return train

    run = begin(plan=a_plan(rounds=8, encoding={"clip_norm": 1.5}), train=long, protected=False)
    with caplog.at_level(logging.WARNING, "secagg.server"):
        reports = run.play()
    assert [report.metrics["clipped_fraction"] for report in reports] == pytest.approx(
        [1, 1, 0, 1, 1, 1, 1, 1]
    )
    (line,) = run.log("clipping")
    assert (line["clip_norm"], line["suggested"]) == (1.5, 3.0)
    assert [text for text in caplog.messages if "clip_norm = 3" in text] != []
    events = [entry["event"] for entry in run.log("round-started", "clipping")]
    assert events.index("clipping") == 6


# -- what the log says ------------------------------------------------------------------------------------


def test_the_log_names_who_was_late_in_words_and_nothing_that_depends_on_the_data(
    begin: Begin, caplog: pytest.LogCaptureFixture
) -> None:
    """The loss is 3.25 at every client, and the step a quarter."""
    run = begin(
        Scene(ODD, "mask", late), Scene(EVERYONE[4], "train", refuses, round=2), plan=a_plan(rounds=2)
    )
    with caplog.at_level(logging.DEBUG):
        run.play()
    assert f"round 1, stage mask: '{ODD}' late (no-answer)" in caplog.messages
    assert f"round 2, stage train: '{EVERYONE[4]}' refused (update-refused)" in caplog.messages
    logged = caplog.text + (run.run.path / "log.jsonl").read_text()
    assert "3.25" not in logged and "0.25" not in logged


def test_no_masked_vector_is_kept_in_the_run_directory(begin: Begin) -> None:
    uploads = []

    def copied(link: ScriptedLink, client: str, question: Question) -> Any:
        answer = link.answer(client, question)
        assert isinstance(answer, Reply)
        uploads.append(bytes(answer.body[-32:]))
        return answer

    run = begin(*(Scene(name, "mask", copied) for name in EVERYONE))
    run.play()
    kept = b"".join(path.read_bytes() for path in run.run.path.rglob("*") if path.is_file())
    assert len(uploads) == 5 and not any(upload in kept for upload in uploads)
