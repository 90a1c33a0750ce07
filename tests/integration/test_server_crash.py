"""A server that is killed in the middle of a run, and the same command again."""

from __future__ import annotations

import signal

from tests.integration.arena import plan_for
from tests.integration.model import assert_after, assert_same_bits


def test_after_a_kill_the_same_command_goes_on_and_clients_return_with_what_they_trained(arena):
    """Killed before any masked vector was asked for, before the sum was confirmed, before it was opened."""
    plan = plan_for(clients=4, rounds=5)
    first = arena.server(plan, holds=[[2, "mask"]])
    clients = arena.clients(range(4))
    first.hear("held")
    assert [report["round"] for report in first.rounds] == [1]
    first.kill()

    second = arena.server(plan, holds=[[3, "confirm"]])
    second.hear("held")
    assert second.run_dir == first.run_dir
    assert [(r["round"], r["code"], r["survivors"]) for r in second.rounds] == [(2, "", 4)]
    assert [client.said("training") for client in clients] == [
        [{"training": 1}, {"training": 2}, {"training": 3}]
    ] * 4, "round 2 was trained once"
    second.kill()

    third = arena.server(plan, holds=[[4, "reveal"]])
    third.hear("held")
    assert [(r["round"], r["code"]) for r in third.rounds] == [(3, "too-few-trained")], (
        "masked once is enough"
    )
    third.kill()

    fourth = arena.server(plan)
    weights = fourth.weights()
    assert [report["round"] for report in fourth.rounds] == [5]
    assert [line["round"] for line in fourth.log("round-lost")] == [4]
    assert [line["next_round"] for line in fourth.log("run-resumed")] == [2, 3, 5]
    assert_after(weights, [range(4)] * 3)
    for client in clients:
        assert_same_bits(client.weights(), weights)
        assert [line["training"] for line in client.said("training")] == [1, 2, 3, 4, 5]
    assert {server.exit_code() for server in (first, second, third)} == {-signal.SIGKILL}
