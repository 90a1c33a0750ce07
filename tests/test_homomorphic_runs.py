"""Runs that sum ciphertexts: who may leave when, what is counted, and the same bits as under masks."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import secagg
from secagg.coordinator import NotEnoughClients
from secagg.errors import BudgetError, EncodingError, FloorError, MissingExtraError
from secagg.floor import Floor
from secagg.frames import WIRE_VERSION, Question, Ready, Reply, Request, TaskFrame, Welcome
from secagg.homomorphic.messages import OpenReply
from secagg.journal import Journal, Kept
from secagg.participant import Participant
from secagg.plan import Plan
from secagg.privacy.accountant import spent
from secagg.protections import Assignment
from secagg.update import Task, Train, Update
from tests.cohort import NOW, credentials
from tests.homomorphic_run import HONEST, KINDS, RECOMPUTED, a_plan, key_holders
from tests.journals import ledger
from tests.private_client import LENIENT, ME, RUN, Attempt, code_of, moved, participant, task, vector_of
from tests.private_run import CLIENT, LOCAL, METRICS, QUIET, Begin, beginning, rows
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
    name_of,
    refuses,
    replaced,
    who,
)
from tests.test_private_rounds import engine
from tests.test_simulation import assert_same_bits, movers, same_rounding

EVERYONE = [name_of(index) for index in range(5)]
ODD = EVERYONE[1]
OTHERS = [name for name in EVERYONE if name != ODD]
BOTH_WAYS = pytest.mark.parametrize("recompute", [False, True], ids=["added", "recomputed"])
BOTH_KINDS = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    with beginning(tmp_path) as begin:
        yield begin


def anyone(stage: str, act: Act, attempt: int = 0, round: int = 0, n: int = 5) -> list[Scene]:
    """Whoever is asked plays `act`."""
    return [Scene(name_of(index), stage, act, round, attempt) for index in range(n)]


# -- a round ----------------------------------------------------------------------------------------------


@BOTH_KINDS
@BOTH_WAYS
def test_a_round_adds_the_mean_of_the_updates(begin: Begin, kind: str, recompute: bool) -> None:
    run = begin(plan=a_plan(kind, 2, recompute=recompute))
    first, second = run.play()
    assert [(one.code, one.attempts, one.cohort, one.survivors) for one in (first, second)] == [
        ("", 1, 5, 5)
    ] * 2
    np.testing.assert_allclose(run.model["who"][:5], 2 * STEP / 5, rtol=1e-12)
    np.testing.assert_array_equal(run.model["who"][5:], 0)
    assert run.model["steps"] == 7
    assert run.log("late", "refused", "excluded", "suspected", "attempt-failed") == []


def test_of_the_stages_only_a_few_are_for_everyone(begin: Begin) -> None:
    run = begin(plan=a_plan("bfv"))
    run.play()
    assert run.link.stages() == [(1, stage) for stage in ("advertise", "key", "upload", "open")]
    assert asked(run, "advertise") == asked(run, "upload") == EVERYONE
    assert asked(run, "key") == key_holders(run)[:1]
    assert asked(run, "open") == sorted(key_holders(run))


def asked(run: ScriptedRun, stage: str) -> list[str]:
    return sorted(
        client for client, q in run.link.questions if not isinstance(q, TaskFrame) and q.stage == stage
    )


def test_with_recompute_each_decryptor_fetches_each_survivors_ciphertext(begin: Begin) -> None:
    run = begin(Scene(ODD, "upload", gone), plan=a_plan("ckks", recompute=True))
    run.play()
    fetches = [f"fetch-{index}" for index, name in enumerate(EVERYONE) if name != ODD]
    assert [stage for _, stage in run.link.stages()] == [
        *("advertise", "key", "upload", "confirm"),
        *fetches,
        "open",
    ]
    here = sorted(set(key_holders(run)) - {ODD})
    for stage in ("confirm", *fetches, "open"):
        assert asked(run, stage) == here


@BOTH_WAYS
def test_the_log_names_the_three_who_hold_the_key_of_each_attempt_before_a_ciphertext_is_asked_for(
    begin: Begin, recompute: bool
) -> None:
    run = begin(*anyone("key", gone, attempt=1, round=1), plan=a_plan("bfv", 2, recompute=recompute))
    held: dict[tuple[int, int], list[Any]] = {}

    def look(frames: Mapping[str, Question], seconds: float, limit: int) -> None:
        question = next(iter(frames.values()))
        if isinstance(question, Request) and question.stage == "upload":
            at = (question.round, question.attempt)
            held[at] = [line for line in run.log("keys-held") if (line["round"], line["attempt"]) == at]

    run.link.before = look
    run.play()
    assert list(held) == [(1, 2), (2, 1)], "the attempt without a key has no holders"
    for lines in held.values():
        (line,) = lines
        assert len(set(line["clients"])) == 3 and set(line["clients"]) <= set(EVERYONE)
    assert len(run.log("keys-held")) == 2


def test_a_run_under_masks_has_nobody_who_holds_a_key(begin: Begin) -> None:
    run = begin(plan=a_plan("masks"))
    run.play()
    assert run.log("keys-held") == []


# -- who is not there -------------------------------------------------------------------------------------


@BOTH_WAYS
@pytest.mark.parametrize("stage", ["train", "advertise", "upload"])
@pytest.mark.parametrize("act", [gone, late, refuses], ids=["vanished", "late", "refuses"])
def test_who_is_not_there_in_time_is_not_in_the_sum_of_the_others(
    begin: Begin, stage: str, act: Act, recompute: bool
) -> None:
    run = begin(Scene(ODD, stage, act), plan=a_plan("bfv", recompute=recompute))
    (report,) = run.play()
    assert (report.code, report.attempts, report.survivors) == ("", 1, 4)
    assert who(run.model) == OTHERS


@BOTH_KINDS
def test_whoever_uploaded_may_leave_if_one_decryptor_stays(begin: Begin, kind: str) -> None:
    """All but the last one asked are gone when the sum is opened."""
    run = begin(plan=a_plan(kind))

    def leave(frames: Mapping[str, Question], seconds: float, limit: int) -> None:
        question = next(iter(frames.values()))
        if isinstance(question, Request) and question.stage == "open":
            run.link.absent |= set(EVERYONE) - {key_holders(run)[1]}

    run.link.before = leave
    (report,) = run.play()
    assert (report.code, report.survivors) == ("", 5)
    assert who(run.model) == EVERYONE


def test_a_key_maker_that_vanishes_costs_one_attempt_and_nobody_their_vector(begin: Begin) -> None:
    run = begin(*anyone("key", gone, attempt=1), plan=a_plan("bfv"))
    (report,) = run.play()
    assert (report.code, report.attempts, report.cohort, report.survivors) == ("", 2, 4, 4)
    (maker,) = run.link.absent
    assert who(run.model) == [name for name in EVERYONE if name != maker]
    assert [line["code"] for line in run.log("attempt-failed")] == ["key-maker-lost"]
    (line,) = run.log("late")
    assert (line["client"], line["stage"], line["attempt"]) == (maker, "key", 1)
    assert [(state, cohort) for _, _, state, cohort, _ in run.ledger()] == [
        ("abandoned", EVERYONE),
        ("opened", [name for name in EVERYONE if name != maker]),
    ]
    assert all(openings(run, name) == (name != maker) for name in EVERYONE)


def openings(run: ScriptedRun, name: str) -> int:
    return run.link.participants[name]._journal.openings()


def test_a_key_maker_that_answers_garbage_is_left_out_and_another_one_is_drawn(begin: Begin) -> None:
    run = begin(*anyone("key", garbles, attempt=1), plan=a_plan("bfv"))
    (report,) = run.play()
    assert (report.code, report.attempts, report.survivors) == ("", 2, 4)
    (line,) = run.log("excluded")
    assert line["stage"] == "key" and list(run.link.dismissed) == [line["client"]]
    assert line["client"] not in who(run.model)


def test_three_key_makers_that_vanish_one_after_another_end_the_round_and_no_vector(begin: Begin) -> None:
    plan = a_plan("bfv", 2, cohort={"max_clients": 7})
    run = begin(*anyone("key", gone, round=1, n=7), plan=plan, n=7)
    first, second = run.play()
    assert (first.code, first.attempts) == ("key-maker-lost", 3)
    assert (second.code, second.attempts, second.survivors) == ("", 1, 4)
    assert sum(openings(run, name_of(index)) for index in range(7)) == 4


@BOTH_WAYS
def test_without_a_decryptor_the_round_is_over_and_is_not_tried_again_and_the_next_one_works(
    begin: Begin, recompute: bool
) -> None:
    stage = "confirm" if recompute else "open"
    plan = a_plan("bfv", 2, recompute=recompute, cohort={"max_clients": 7})
    run = begin(*anyone(stage, gone, round=1, n=7), plan=plan, n=7)
    first, second = run.play()
    assert (first.code, first.attempts, first.survivors) == ("decryptors-lost", 1, 0)
    assert (second.code, second.attempts, second.survivors) == ("", 1, 4)
    assert run.link.closings() == [(1, False), (2, True)]
    assert {line["client"] for line in run.log("late")} == set(key_holders(run))
    assert len(run.link.participants) == 7
    for index in range(7):
        assert openings(run, name_of(index)) == 1 + (name_of(index) not in key_holders(run))


def test_with_recompute_one_decryptor_of_three_is_too_few_to_confirm(begin: Begin) -> None:
    run = begin(plan=a_plan("bfv", recompute=True))

    def leave(frames: Mapping[str, Question], seconds: float, limit: int) -> None:
        question = next(iter(frames.values()))
        if isinstance(question, Request) and question.stage == "confirm":
            run.link.absent |= set(key_holders(run)[:2])

    run.link.before = leave
    (report,) = run.play()
    assert report.code == "decryptors-lost"
    assert run.outcomes() == [(1, "failed", "decryptors-lost")]


def test_too_few_uploads_open_nothing_and_are_not_tried_again(begin: Begin) -> None:
    run = begin(*(Scene(name, "upload", gone) for name in EVERYONE[:3]), plan=a_plan("bfv"))
    (report,) = run.play()
    assert (report.code, report.attempts) == ("too-few-clients", 1)
    assert run.attempts() == [(1, 1, "abandoned")]


def test_an_upload_that_is_no_ciphertext_is_blamed_on_its_sender(begin: Begin) -> None:
    run = begin(Scene(ODD, "upload", garbles), plan=a_plan("ckks", 2))
    first, second = run.play()
    assert (first.survivors, second.survivors) == (4, 4)
    (line,) = run.log("excluded")
    assert (line["client"], line["stage"]) == (ODD, "upload")
    assert list(run.link.dismissed) == [ODD]


def the_first_lies() -> Act:
    """The first to be asked opens honestly, and reports a sum that is off by one bit; the others do not."""
    asked: list[str] = []

    def act(link: ScriptedLink, client: str, question: Question) -> Reply:
        answer = link.answer(client, question)
        assert isinstance(answer, Reply)
        asked.append(client)
        if client != asked[0]:
            return answer
        vector = bytearray(OpenReply.from_bytes(answer.body).vector)
        vector[0] ^= 1
        return replaced(answer, OpenReply.head() + bytes(vector))

    return act


@BOTH_WAYS
def test_decryptors_that_open_different_sums_move_no_model(begin: Begin, recompute: bool) -> None:
    run = begin(*anyone("open", the_first_lies(), round=1), plan=a_plan("bfv", 2, recompute=recompute))
    first, second = run.play()
    assert (first.code, first.attempts, first.survivors) == ("decryptors-disagree", 1, 0)
    assert second.code == ""
    assert who(run.model) == EVERYONE, "one round's step and no more"


# -- deaths of the server ---------------------------------------------------------------------------------


def test_a_round_that_may_have_been_opened_when_the_server_died_is_lost_and_never_tried_again(
    begin: Begin,
) -> None:
    run = begin(*anyone("open", dies, round=1), plan=a_plan("bfv", 2))
    with pytest.raises(KeyboardInterrupt):
        run.play()
    assert run.attempts() == [(1, 1, "opened")]
    run.restart()
    (report,) = run.play()
    assert report.round == 2 and report.code == ""
    assert run.outcomes() == [(1, "lost", "restart"), (2, "aggregated", None)]
    assert who(run.model) == EVERYONE


@BOTH_WAYS
def test_a_server_that_died_over_uploads_gets_none_of_those_vectors_a_second_time(
    begin: Begin, recompute: bool
) -> None:
    """The last upload never came. Whoever sent one sits the round out when it is played again."""
    stage = "confirm" if recompute else "upload"
    scenes = anyone(stage, dies, round=1) if recompute else [Scene(EVERYONE[4], "upload", dies, 1)]
    run = begin(*scenes, plan=a_plan("bfv", 2, recompute=recompute))
    with pytest.raises(KeyboardInterrupt):
        run.play()
    assert run.attempts() == [(1, 1, "reserved")]
    sent = EVERYONE if recompute else EVERYONE[:4]
    assert [name for name in EVERYONE if openings(run, name)] == sent
    run.link.script = ()
    run.restart()
    first, second = run.play()
    assert (first.round, first.code) == (1, "too-few-trained")
    assert {(line["client"], line["code"]) for line in run.log("refused")} == {
        (name, "round-over") for name in sent
    }
    assert (second.round, second.code, second.survivors) == (2, "", 5)


# -- a client's journal -----------------------------------------------------------------------------------


def a_private_plan(kind: str = "bfv", *, recompute: bool = False) -> Plan:
    protection = {"kind": kind, **({"recompute": True} if recompute else {})}
    return Plan(
        run={"name": "private", "rounds": 9},
        cohort={"max_clients": 8, **(RECOMPUTED if recompute else HONEST)},
        encoding={"precision": 1e-5},
        privacy={**CLIENT, "noise_multiplier": 0.01},
        protection=protection,
    )


@BOTH_WAYS
@pytest.mark.parametrize("reached", ["", "upload"])
def test_a_client_restarted_before_its_upload_goes_on_with_the_vector_it_trained(
    tmp_path: Path, reached: str, recompute: bool
) -> None:
    plan = a_private_plan(recompute=recompute)
    with Journal.open(tmp_path, ME) as journal:
        before = participant(plan, journal=journal)
        before.handle(task())
        vector = vector_of(before).copy()
        if reached:
            Attempt(plan, 1, 1).play(before, reached)
        assert journal.openings() == 0
    with Journal.open(tmp_path, ME) as journal:
        again = participant(plan, train=lambda _: pytest.fail("trained again"), journal=journal)
        assert again.handle(task()) == Ready(1)
        attempt = Attempt(plan, 1, 2).play(again)
        np.testing.assert_array_equal(attempt.server.sum().vector, attempt.total(vector))
        assert journal.openings() == 1
    assert [(at, state) for _, at, _, state in ledger(tmp_path)] == (
        [(1, "abandoned"), (2, "opened")] if reached else [(2, "opened")]
    )


@BOTH_WAYS
def test_a_vector_that_was_uploaded_is_counted_and_erased_and_never_encrypted_again(
    tmp_path: Path, recompute: bool
) -> None:
    plan = a_private_plan(recompute=recompute)
    with Journal.open(tmp_path, ME) as journal:
        before = participant(plan, journal=journal)
        before.handle(task())
        Attempt(plan, 1, 1).play(before, "confirm" if recompute else "open")
        assert journal.openings() == 1
        assert code_of(before.handle(Request(1, 2, "advertise", b""))) == "vector-spent"
    assert list((tmp_path / "vectors").iterdir()) == []
    with Journal.open(tmp_path, ME) as journal:
        again = participant(plan, train=lambda _: pytest.fail("trained again"), journal=journal)
        assert code_of(again.handle(task())) == "round-old"
        assert code_of(again.handle(Request(1, 2, "advertise", b""))) == "round-unknown"
        assert journal.openings() == 1
    assert [row[3] for row in ledger(tmp_path)] == ["opened"]


@BOTH_WAYS
def test_the_cost_of_an_opening_is_on_the_disk_when_the_upload_leaves_and_not_before(
    tmp_path: Path, recompute: bool
) -> None:
    plan = a_private_plan(recompute=recompute)
    with Journal.open(tmp_path, ME) as journal:
        one = participant(plan, journal=journal)
        one.handle(task())
        attempt = Attempt(plan, 1, 1)
        states: dict[str, set[str]] = {}
        while stage := attempt.server.stage:
            attempt.stage(one)
            states[stage] = {row[3] for row in ledger(tmp_path)}
    before = ("advertise", "key")
    assert all(states.pop(stage) == {"reserved"} for stage in before)
    assert set(map(frozenset, states.values())) == {frozenset({"opened"})}


def test_a_client_whose_upload_came_too_late_counts_it_all_the_same(begin: Begin) -> None:
    run = begin(Scene(ODD, "upload", late), plan=a_plan("bfv"))
    (report,) = run.play()
    assert report.survivors == 4 and who(run.model) == OTHERS
    assert [openings(run, name) for name in EVERYONE] == [1] * 5


def test_a_client_that_was_never_asked_for_its_upload_counts_nothing(begin: Begin) -> None:
    run = begin(Scene(ODD, "upload", gone), plan=a_plan("bfv"))
    run.play()
    assert [openings(run, name) for name in EVERYONE] == [1, 0, 1, 1, 1]


# -- joining ----------------------------------------------------------------------------------------------


def joins(asked_for: Plan, train: Train = moved, **changes: Any) -> Participant:
    given: dict[str, Any] = {"credentials": credentials(ME), "floor": None, "clock": lambda: NOW}
    one = Participant(train, **{**given, **changes})
    one.handle(Welcome(WIRE_VERSION, RUN, asked_for.to_json()))
    return one


@BOTH_KINDS
def test_a_default_floor_refuses_such_a_plan_before_it_trains_and_a_lowered_one_joins(kind: str) -> None:
    with pytest.raises(FloorError) as caught:
        joins(a_plan(kind), floor=Floor())
    assert (caught.value.code, caught.value.exit_code) == ("floor-protection", 4)
    assert joins(a_plan(kind), floor=Floor(**LENIENT)).handle(task_of(a_plan(kind))) == Ready(1)
    with pytest.raises(FloorError) as caught:
        joins(a_plan(kind), floor=Floor(**LENIENT, min_colluders=1))
    assert caught.value.code == "floor-colluders"


def task_of(plan: Plan) -> TaskFrame:
    return TaskFrame(1, plan.run.rounds, task().weights, 0.0)


@pytest.mark.parametrize("missing", ["tenseal", "backports.zstd"])
def test_a_client_without_the_extra_says_how_to_install_it_before_it_trains(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "tenseal.sealapi", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtraError) as caught:
        joins(a_plan("bfv"))
    assert (caught.value.code, caught.value.exit_code) == ("extra-missing", 2)
    assert "pip install 'secagg[he]'" in str(caught.value)
    joins(a_plan("masks"))
    joins(a_plan("bfv"), protected=False)


def test_a_client_that_joins_reads_in_its_log_who_can_open_its_update(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "secagg.client"):
        joins(a_plan("ckks"))
    assert "the server together with any one of the 3 decryptors" in caplog.text


# -- the same as under masks ------------------------------------------------------------------------------


@BOTH_KINDS
@BOTH_WAYS
def test_a_simulation_has_the_same_bits_under_ciphertexts_masks_and_nothing(
    kind: str, recompute: bool
) -> None:
    changes = {"metrics": {"loss": {"min": 0.0, "max": 10.0}}, "aggregation": {"method": "fedavgm"}}
    plan = a_plan(kind, 2, recompute=recompute, **changes)
    results = [
        secagg.simulate(initial_weights(), of, movers(5), masks=masks, rounding=same_rounding)
        for of, masks in ((plan, True), (plan, False), (a_plan("masks", 2, **changes), True))
    ]
    assert [result.masked for result in results] == [True, False, True]
    for other in results[1:]:
        assert_same_bits(results[0].weights, other.weights)
        assert results[0].history == other.history


def test_a_simulation_says_in_its_log_whether_it_was_protected_as_the_plan_asks(tmp_path: Path) -> None:
    for masks in (True, False):
        result = secagg.simulate(
            initial_weights(), a_plan("bfv"), movers(3), masks=masks, runs=tmp_path / str(masks)
        )
        assert result.run_dir is not None
        log = (result.run_dir / "log.jsonl").read_text()
        assert f'"masked": {str(masks).lower()}' in log
        assert ("keys-held" in log) == masks


@pytest.mark.parametrize("n", [2, 3, 33])
def test_a_cohort_of_any_size_is_summed(n: int) -> None:
    """Two clients: both decrypt. PLACES bounds who can be told apart: beyond it all move one array."""

    def step(task: Task) -> Update:
        return Update(delta={"w": np.full(3, 0.25)})

    plan = a_plan("bfv", cohort={"max_clients": n, "min_survivors": 2})
    result = secagg.simulate({"w": np.zeros(3)}, plan, [step] * n)
    np.testing.assert_allclose(result.weights["w"], 0.25, atol=1e-4)
    assert result.history[0].survivors == n


def test_a_run_waits_for_as_many_clients_as_its_sums_need(begin: Begin) -> None:
    run = begin(plan=a_plan("bfv", cohort={"min_survivors": 4}), n=3)
    with pytest.raises(NotEnoughClients):
        run.play()


def test_a_model_too_large_for_exact_sums_is_refused_before_anyone_trains() -> None:
    """Calibrated noise grows with the model, and so does the ring: the plan was fine for a smaller one."""
    privacy = {"unit": "client", "placement": "distributed", "epsilon": 0.001, "delta": 1e-6}
    cohort = {"max_clients": 200, "min_survivors": 4}
    plan = a_plan("ckks", privacy=privacy, encoding={"precision": 1e-4}, cohort=cohort)
    Assignment.recalled(plan, RUN, 1, Kept(bytes(32), np.zeros(1, "<u8"), 1 << 20))
    with pytest.raises(EncodingError, match="scheme-infeasible"):
        Assignment.recalled(plan, RUN, 1, Kept(bytes(32), np.zeros(1, "<u8"), 1 << 30))


# -- with differential privacy ----------------------------------------------------------------------------

NOISY = {**CLIENT, "noise_multiplier": 0.5}
PRIVACIES: dict[str, Any] = {
    "discrete gaussian": NOISY,
    "skellam": {**NOISY, "mechanism": "skellam"},
    "example": {"unit": "example", **LOCAL},
    "both": {**NOISY, "example": LOCAL},
    "adaptive clipping": {**NOISY, "noise_multiplier": 0.3, "adaptive_clipping": {"rate": 0.2}},
}


@pytest.mark.parametrize("privacy", PRIVACIES)
def test_noised_sums_and_their_account_are_those_of_masks_with_one_colluder_to_the_bit(
    begin: Begin, privacy: str
) -> None:
    """Who opens a sum of ciphertexts knows its own share of the noise, as a colluder under masks does."""
    changes: dict[str, Any] = {"privacy": PRIVACIES[privacy]}
    if privacy != "adaptive clipping":
        changes["metrics"] = {"loss": {**METRICS["loss"], "noise_multiplier": 20.0}}
    columns = (
        "round, attempt, unit, query, mechanism, placement, minimum, sampling, clip_norm, cohort, "
        "survivors, state"
    )
    found = []
    for kind in ("masks", *KINDS):
        colluding = {"cohort": {"colluders": 0.2}} if kind == "masks" else {}
        run = begin(plan=a_plan(kind, 2, **changes, **colluding), train=engine, run_id=b"same-run" * 2)
        coordinator = run.coordinator()
        assert [report.code for report in coordinator.rounds()] == ["", ""]
        own = [one.privacy() for one in run.link.participants.values()]
        found.append((run, rows(run, columns), coordinator.privacy(), own))
        assert [openings(run, name) for name in EVERYONE] == [2] * 5
    masked, *others = found
    assert masked[1]
    for other in others:
        assert_same_bits(masked[0].model, other[0].model)
        assert masked[1:] == other[1:]
    noise = masked[0].model["who"][5:]
    assert not noise.any() if privacy == "example" else noise.all()


@BOTH_KINDS
def test_the_epsilon_holds_against_who_opens_the_sum_and_takes_its_own_noise_out(
    begin: Begin, kind: str
) -> None:
    """Three shares of which the claim counts two are seen; less the opener's own, two of two."""
    run = begin(plan=a_plan(kind, privacy=NOISY))
    coordinator = run.coordinator()
    list(coordinator.rounds())
    (account,) = coordinator.privacy()
    (mechanism,) = (json.loads(row[0]) for row in rows(run, "mechanism"))
    assert mechanism["contributors"] == 2
    assert account.server.epsilon < account.colluders.epsilon
    total = NOISY["noise_multiplier"] ** -2 / 2
    assert account.colluders.rho == pytest.approx(total, rel=0.05)
    assert account.server.rho == pytest.approx(total * 2 / 3, rel=0.05)


@BOTH_KINDS
def test_the_cost_of_a_round_is_on_the_disk_before_its_sum_can_be_opened(begin: Begin, kind: str) -> None:
    run = begin(plan=a_plan(kind, recompute=True, privacy=NOISY))
    seen: dict[str, set[str]] = {}

    def look(frames: Mapping[str, Question], seconds: float, limit: int) -> None:
        question = next(iter(frames.values()))
        stage = question.stage if isinstance(question, Request) else "train"
        seen[stage] = {row[-1] for row in rows(run)}

    run.link.before = look
    run.play()
    assert seen.pop("train") == set()
    assert seen.pop("open") == {"opened"}
    assert set(map(frozenset, seen.values())) == {frozenset({"reserved"})}


def test_the_budget_ends_the_run_before_the_round_it_does_not_cover(begin: Begin) -> None:
    def cost(rounds: int) -> float:
        uses = Assignment.of(a_plan("bfv", privacy=NOISY), initial_weights(), RUN, 1).uses(1)
        return spent(uses * rounds, NOISY["delta"], "colluders").epsilon

    budget = (cost(2) + cost(3)) / 2
    run = begin(plan=a_plan("bfv", 9, privacy={**NOISY, "epsilon": budget}))
    coordinator = run.coordinator()
    played = coordinator.rounds()
    assert [report.code for report in islice(played, 2)] == ["", ""]
    with pytest.raises(BudgetError, match="round 3 would cost more"):
        next(played)
    (account,) = coordinator.privacy()
    assert account.colluders.epsilon <= budget
    assert [openings(run, name) for name in EVERYONE] == [2] * 5


def test_a_clients_own_floor_counts_its_uploads_against_its_epsilon(begin: Begin) -> None:
    plan = a_private_plan()
    one = participant(plan, floor=Floor(**LENIENT, max_openings=1))
    one.handle(task())
    Attempt(plan, 1, 1).play(one)
    with pytest.raises(FloorError) as caught:
        one.handle(task(2))
    assert caught.value.code == "floor-openings"


def test_under_poisson_sampling_whoever_was_drawn_the_sum_is_divided_by_rate_times_population(
    begin: Begin,
) -> None:
    cohort = {
        **{"sampling": "poisson", "rate": 0.5, "population": 12, "max_clients": 9, "min_survivors": 3},
        **HONEST,
    }
    run = begin(plan=a_plan("bfv", 6, privacy=QUIET, cohort=cohort), n=12)
    run.play()
    happened = {number for number, outcome, _ in run.outcomes() if outcome == "aggregated"}
    times = np.zeros(PLACES)
    for line in run.log("round-started"):
        for client in line["clients"] if line["round"] in happened else ():
            times[int(client[-3:])] += 1
    assert len(happened) >= 1 and {row[0] for row in rows(run)} == happened
    np.testing.assert_allclose(run.model["who"], times * STEP / 6, atol=5e-3)
