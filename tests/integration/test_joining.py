"""Who comes late, is slow, comes twice, or will not take part."""

from __future__ import annotations

import signal

from secagg.credentials import Credentials
from tests.integration.arena import plan_for
from tests.integration.model import assert_after, assert_same_bits
from tests.integration.test_dropouts import fate


def test_a_straggler_costs_nothing_and_who_comes_late_enters_the_next_round(arena):
    """One is stopped while it trains, another comes when the round has begun: the round is the others'."""
    plan = plan_for(clients=6, rounds=3, cohort={"train_deadline": "3s"})
    server = arena.server(plan, holds=[[1, "share"]])
    others = arena.clients(range(4))
    arena.client(4, signals=fate(1, "train"))
    straggler = arena.client(5, signals=fate(1, "train", "SIGSTOP"))
    server.hear("held")
    assert {(line["client"], line["stage"]) for line in server.log("late", round=1)} == {
        ("hospital-4", "train"),
        ("hospital-5", "train"),
    }
    late = arena.client(4)
    late.hear("started")
    straggler.signal(signal.SIGCONT)
    server.wait_for_log("late-answer", client="hospital-5", kind="refusal")
    server.wait_for_log("client-joined", client="hospital-4", count=2)
    server.go_on()

    weights = server.weights()
    assert_after(weights, [range(4), range(6), range(6)])
    assert [(r["attempts"], r["cohort"], r["survivors"]) for r in server.rounds] == [
        (1, 4, 4),
        (1, 6, 6),
        (1, 6, 6),
    ]
    assert len(server.log("late")) == 2
    assert [line["training"] for line in late.said("training")] == [2, 3]
    for client in (*others, late, straggler):
        assert_same_bits(client.weights(), weights)


def test_of_two_processes_with_one_certificate_the_newest_counts_and_the_other_is_told(arena):
    server = arena.server(plan_for(clients=3, rounds=1))
    first = arena.client(0)
    server.wait_for_log("client-joined", client="hospital-0")
    second = arena.client(0)
    assert first.exit_code() == 1
    assert "[replaced]" in first.stderr and "somebody else holds your key" in first.stderr
    assert server.wait_for_log("client-replaced", client="hospital-0")
    arena.clients((1, 2))
    weights = server.weights()
    assert_after(weights, [range(3)])
    assert_same_bits(second.weights(), weights)


def test_a_client_whose_floor_refuses_a_member_ends_with_4_and_shares_nothing_with_the_others(arena):
    """The plan is fine; the roster, in the middle of the round, is not."""
    known = [
        Credentials.load(arena.enrolment.credentials(f"hospital-{index}")).identity.fingerprint
        for index in (0, 3)
    ]
    server = arena.server(plan_for(clients=5, rounds=2))
    arena.clients((0, 1, 2, 4))
    choosy = arena.client(3, floor={"members": known})
    assert choosy.exit_code() == 4
    assert "[floor-member" in choosy.stderr
    weights = server.weights()
    assert_after(weights, [(0, 1, 2, 4)] * 2)
    assert [(line["stage"], line["client"]) for line in server.log("refused")] == [("share", "hospital-3")]
