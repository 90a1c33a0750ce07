"""Clients that send nonsense, or whose training does: the run survives, and the right one is named."""

from __future__ import annotations

from tests.integration.arena import plan_for
from tests.integration.model import assert_after, assert_same_bits

STAGES = ("advertise", "share", "mask", "confirm", "reveal")


def test_garbage_in_any_stage_is_blamed_on_its_sender_who_is_told_and_left_out(arena):
    server = arena.server(plan_for(clients=10, rounds=6))
    others = arena.clients(range(5, 10))
    liars = [
        arena.client(index, spoils={"round": index + 1, "stage": stage, "bytes": 40})
        for index, stage in enumerate(STAGES)
    ]
    weights = server.weights()
    honest, history = set(range(10)), []
    for index, stage in enumerate(STAGES):
        history.append(honest if stage in ("confirm", "reveal") else honest - {index})
        honest = honest - {index}
        (line,) = server.log("excluded", round=index + 1)
        assert (line["client"], line["stage"]) == (f"hospital-{index}", stage)
        assert liars[index].exit_code() == 1
        assert "[excluded]" in liars[index].stderr and line["code"] in liars[index].stderr
    assert_after(weights, [*history, honest])
    assert [(r["code"], r["attempts"]) for r in server.rounds] == [("", 1)] * 6
    for client in others:
        assert_same_bits(client.weights(), weights)


def test_a_reply_larger_than_its_stage_allows_is_refused_and_the_round_goes_on(arena):
    """Below 64 KiB a reply lies in its frame; above, its announcement is refused before a byte is held."""
    server = arena.server(plan_for(clients=6, rounds=2))
    arena.clients(range(4))
    greedy = [
        arena.client(4, spoils={"round": 1, "stage": "confirm", "bytes": 60_000}),
        arena.client(5, spoils={"round": 2, "stage": "mask", "bytes": 3_000_000}),
    ]
    for index, client in enumerate(greedy, 4):
        assert client.exit_code() == 1
        assert "[frame-oversized]" in client.stderr
        assert server.wait_for_log("client-rejected", client=f"hospital-{index}")["code"] == "frame-oversized"
    assert_after(server.weights(), [range(6), range(4)])


FLAWS = {
    "nan": "update-not-finite",
    "shape": "update-shape",
    "missing": "update-missing",
    "extra": "update-extra",
    "integer": "update-dtype",
    "overflow": "update-not-finite",
    "no-update": "update-type",
    "raises": "patient 4711",
}


def test_a_bad_update_is_named_on_the_client_and_one_opaque_code_at_the_server(arena):
    """Each flaw twice, so that no client fails three times in a row."""
    flaws = list(FLAWS)
    server = arena.server(plan_for(clients=7, rounds=4))
    arena.clients(range(3))
    careless = [arena.client(3 + at, bad={"1": flaws[2 * at], "3": flaws[2 * at + 1]}) for at in range(4)]
    weights = server.weights()
    assert_after(weights, [range(3), range(7), range(3), range(7)])
    for at, client in enumerate(careless):
        assert_same_bits(client.weights(), weights)
        for flaw in flaws[2 * at : 2 * at + 2]:
            assert FLAWS[flaw] in client.stderr

    refusals = server.log("refused")
    assert {line["code"] for line in refusals} == {"update-refused"}
    assert sorted((line["round"], line["client"]) for line in refusals) == [
        (number, f"hospital-{index}") for number in (1, 3) for index in range(3, 7)
    ]
    known = (server.run_dir / "log.jsonl").read_text() + server.stderr
    known += (server.run_dir / "metrics.jsonl").read_text()
    for word in (*FLAWS.values(), "NaN", "layer", "who", "Traceback"):
        assert word not in known


def test_a_client_whose_training_fails_three_times_in_a_row_ends_with_1_and_the_others_go_on(arena):
    server = arena.server(plan_for(clients=4, rounds=4))
    others = arena.clients(range(3))
    failing = arena.client(3, bad={"*": "raises"})
    weights = server.weights()
    assert failing.exit_code() == 1
    assert "[train-failed]" in failing.stderr and "Traceback" in failing.stderr
    assert [line["training"] for line in failing.said("training")] == [1, 2, 3]
    assert_after(weights, [range(3)] * 4)
    codes = [line["code"] for line in server.log("refused", client="hospital-3")]
    assert codes == ["update-refused", "update-refused", "client-left"]
    for client in others:
        assert_same_bits(client.weights(), weights)
