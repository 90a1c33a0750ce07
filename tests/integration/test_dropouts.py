"""Clients that vanish, at every stage of a round. The others' sum comes out, and the run goes on."""

from __future__ import annotations

import signal

from tests.integration.arena import plan_for
from tests.integration.model import assert_after, assert_same_bits

STAGES = ("train", "advertise", "share", "mask", "confirm", "reveal")
SUMMED = ("confirm", "reveal")
"""Whoever vanishes in these has sent its vector, and is in the sum."""


def fate(round: int, stage: str, number: str = "SIGKILL") -> list[dict]:
    return [{"round": round, "stage": stage, "signal": number}]


def test_a_client_killed_at_each_stage_is_named_and_the_sum_over_the_others_is_right(arena):
    server = arena.server(plan_for(clients=10, rounds=7))
    mortals = [arena.client(index, signals=fate(index + 1, stage)) for index, stage in enumerate(STAGES)]
    others = arena.clients(range(6, 10))
    weights = server.weights()

    living, history = set(range(10)), []
    for index, stage in enumerate(STAGES):
        survivors = living if stage in SUMMED else living - {index}
        history.append(sorted(survivors))
        assert server.log("late", round=index + 1) == server.log(
            "late", round=index + 1, stage=stage, client=f"hospital-{index}"
        )
        assert len(server.log("late", round=index + 1)) == 1
        living -= {index}
    history.append(sorted(living))
    assert_after(weights, history)
    assert [(r["code"], r["attempts"], r["survivors"]) for r in server.rounds] == [
        ("", 1, len(survivors)) for survivors in history
    ]
    assert [mortal.exit_code() for mortal in mortals] == [-signal.SIGKILL] * len(STAGES)
    for client in others:
        assert_same_bits(client.weights(), weights)


def test_a_client_that_is_silent_and_still_connected_is_late_at_the_deadline(arena):
    """Stopped, not killed: nothing but the stage's deadline ends the waiting."""
    server = arena.server(plan_for(clients=5, rounds=1, cohort={"stage_deadline": "3s"}))
    arena.clients(range(4))
    silent = arena.client(4, signals=fate(1, "mask", "SIGSTOP"))
    assert server.hear("round", 1)["attempts"] == 1
    silent.kill()
    assert [line["client"] for line in server.log("late", stage="mask")] == ["hospital-4"]
    assert not server.log("client-gone")
    assert_after(server.weights(), [range(4)])


def test_too_few_for_a_recovery_are_tried_again_under_fresh_keys(arena):
    """Of four, one of them a colluder, none may vanish; the three who are left can start anew."""
    server = arena.server(plan_for(clients=4, rounds=2))
    arena.client(3, signals=fate(1, "share"))
    others = arena.clients(range(3))
    weights = server.weights()
    assert [(r["code"], r["attempts"], r["survivors"]) for r in server.rounds] == [("", 2, 3), ("", 1, 3)]
    assert [line["code"] for line in server.log("attempt-failed")] == ["too-few-clients"]
    assert_after(weights, [range(3), range(3)])
    assert [len(client.said("training")) for client in others] == [2, 2, 2]


def test_with_too_few_left_nothing_is_opened_and_the_next_round_waits_for_a_client_to_return(arena):
    server = arena.server(plan_for(clients=4, rounds=3, cohort={"min_survivors": 4}))
    others = arena.clients(range(3))
    arena.client(3, signals=fate(1, "mask")).exit_code()
    server.hear("round", 1)
    arena.client(3, signals=fate(2, "confirm")).exit_code()
    server.hear("round", 2)
    last = arena.client(3)
    weights = server.weights()
    assert [(r["code"], r["survivors"]) for r in server.rounds] == [
        ("too-few-clients", 0),
        ("too-few-clients", 0),
        ("", 4),
    ]
    assert_after(weights, [range(4)])
    for client in (*others, last):
        assert_same_bits(client.weights(), weights)
