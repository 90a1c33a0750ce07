"""Sums of ciphertexts in real processes: who may die when, and that no key to them is in the server."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest

from secagg.homomorphic.messages import KeyReply
from secagg.homomorphic.words import unpack_words
from secagg.journal import Journal
from secagg.plan import Plan
from secagg.protections import Assignment
from tests.integration.arena import plan_for
from tests.integration.model import assert_after, assert_same_bits, initial_weights, name_of
from tests.integration.process_memory import holds_any, loaded_libraries, windows
from tests.integration.test_dropouts import fate
from tests.integration.test_same_bits import simulated

HONEST = {"colluders": 0.0, "adversary": "semi-honest"}
FLOOR = {"protections": ["bfv", "ckks"], "adversary": ["semi-honest", "malicious"]}
BOTH_WAYS = pytest.mark.parametrize("recompute", [False, True], ids=["added", "recomputed"])


def a_plan(clients: int, rounds: int, kind: str = "bfv", *, recompute: bool = False, **cohort) -> Plan:
    protection = {"kind": kind, **({"recompute": True} if recompute else {})}
    adversary = "malicious" if recompute else "semi-honest"
    return plan_for(
        clients, rounds, cohort={**HONEST, "adversary": adversary, **cohort}, protection=protection
    )


def clients_of(arena, count: int, **orders) -> list:
    return [a_client(arena, index, **orders) for index in range(count)]


def a_client(arena, index: int, **orders):
    """One that keeps its journal in a folder, and accepts such plans."""
    return arena.client(index, floor=FLOOR, state=str(state_of(arena, index)), **orders)


def state_of(arena, index: int) -> Path:
    return arena.folder / "state" / name_of(index)


def openings(arena, index: int) -> int:
    """In how many sums a client that is gone may have been, by its own journal."""
    with Journal.open(state_of(arena, index), name_of(index)) as journal:
        return journal.openings()


def key_holders(server, round: int = 1, attempt: int = 1) -> list[int]:
    """Places of the clients that hold the key, the one that made it first."""
    line = server.wait_for_log("keys-held", round=round, attempt=attempt)
    return [int(name.rpartition("-")[2]) for name in line["clients"]]


# -- the same model ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "recompute"), [("bfv", False), ("bfv", True), ("ckks", False)])
def test_a_run_has_the_same_bits_as_one_under_masks_and_its_server_never_loads_seal(
    arena, kind: str, recompute: bool
) -> None:
    plan = a_plan(4, 2, kind, recompute=recompute)
    server = arena.server(plan)
    clients = clients_of(arena, 4, same_rounding=True)
    weights = server.weights()
    assert [(r["code"], r["attempts"], r["survivors"]) for r in server.rounds] == [("", 1, 4)] * 2
    assert_after(weights, [range(4)] * 2)
    masked = plan_for(4, 2, cohort=HONEST)
    assert_same_bits(simulated(masked, masks=True).weights, weights)
    for client in clients:
        assert_same_bits(client.weights(), weights)
        assert client.hear("done")["seal"] == ["tenseal", "backports.zstd"]
    assert server.hear("done")["seal"] == []
    for line in server.log("keys-held"):
        assert len(set(line["clients"])) == 3
    assert [(line["round"], line["attempt"]) for line in server.log("keys-held")] == [(1, 1), (2, 1)]
    assert f"who can open {kind} ciphertexts" in clients[0].stderr


def test_a_server_on_a_machine_without_seal_sums_ciphertexts_and_a_client_there_is_told_what_to_install(
    arena,
) -> None:
    missing = ["tenseal", "backports.zstd"]
    server = arena.server(a_plan(3, 1), without=missing)
    careless = a_client(arena, 3, without=missing)
    assert careless.exit_code() == 2
    assert "[extra-missing]" in careless.stderr and "pip install 'secagg[he]'" in careless.stderr
    assert not careless.said("training")
    server.wait_for_log("client-left", client=name_of(3))
    clients_of(arena, 3)
    assert_after(server.weights(), [range(3)])
    assert [(r["code"], r["survivors"]) for r in server.rounds] == [("", 3)]


def test_a_client_with_a_default_floor_ends_with_4_before_it_trains(arena) -> None:
    server = arena.server(a_plan(3, 1))
    careful = arena.client(3)
    assert careful.exit_code() == 4
    assert "[floor-protection]" in careful.stderr and "semi-honest" in careful.stderr
    assert not careful.said("training")
    server.wait_for_log("client-left", client=name_of(3))
    clients_of(arena, 3)
    assert_after(server.weights(), [range(3)])


# -- deaths -----------------------------------------------------------------------------------------------


def test_of_five_that_uploaded_one_decryptor_is_enough_to_open_the_sum(arena) -> None:
    server = arena.server(a_plan(5, 1), holds=[[1, "open"]])
    clients = clients_of(arena, 5)
    server.hear("held")
    last = key_holders(server)[2]
    for index, client in enumerate(clients):
        if index != last:
            client.kill()
    server.go_on()
    assert_after(server.weights(), [range(5)])
    assert [(r["code"], r["attempts"], r["survivors"]) for r in server.rounds] == [("", 1, 5)]
    assert_same_bits(clients[last].weights(), server.weights())


def test_a_key_maker_killed_at_its_request_costs_an_attempt_and_not_the_round(arena) -> None:
    server = arena.server(a_plan(5, 2), holds=[[1, "key"]])
    clients = clients_of(arena, 5)
    maker = int(server.hear("held")["receiver"].rpartition("-")[2])
    clients[maker].kill()
    server.go_on()
    others = [index for index in range(5) if index != maker]
    weights = server.weights()
    assert_after(weights, [others] * 2)
    assert [(r["code"], r["attempts"], r["survivors"]) for r in server.rounds] == [("", 2, 4), ("", 1, 4)]
    assert [line["code"] for line in server.log("attempt-failed")] == ["key-maker-lost"]
    assert maker not in key_holders(server, attempt=2)
    assert openings(arena, maker) == 0
    for index in others:
        assert_same_bits(clients[index].weights(), weights)
        assert clients[index].said("training") == [{"training": 1}, {"training": 2}]
        assert openings(arena, index) == 2


@BOTH_WAYS
def test_without_its_decryptors_a_round_is_over_and_the_next_one_draws_others(arena, recompute: bool) -> None:
    stage = "confirm" if recompute else "open"
    server = arena.server(a_plan(7, 2, recompute=recompute), holds=[[1, stage]])
    clients = clients_of(arena, 7)
    server.hear("held")
    holders = key_holders(server)
    for index in holders:
        clients[index].kill()
    server.go_on()
    others = [index for index in range(7) if index not in holders]
    assert_after(server.weights(), [others])
    assert [(r["code"], r["attempts"], r["survivors"]) for r in server.rounds] == [
        ("decryptors-lost", 1, 0),
        ("", 1, 4),
    ]
    for index in others:
        assert_same_bits(clients[index].weights(), server.weights())
        assert openings(arena, index) == 2


def test_a_server_killed_when_a_sum_may_have_been_opened_never_asks_for_that_sum_again(arena) -> None:
    plan = a_plan(4, 2)
    first = arena.server(plan, holds=[[1, "open"]])
    clients = clients_of(arena, 4)
    first.hear("held")
    first.kill()
    second = arena.server(plan)
    weights = second.weights()
    assert [line["round"] for line in second.log("round-lost")] == [1]
    assert [(r["round"], r["code"]) for r in second.rounds] == [(2, "")]
    assert_after(weights, [range(4)])
    for index, client in enumerate(clients):
        assert_same_bits(client.weights(), weights)
        assert openings(arena, index) == 2, "the upload of the round that was lost counts"


def test_a_server_killed_over_waiting_ciphertexts_gets_none_of_those_vectors_again(arena) -> None:
    """Nothing was opened. The clients cannot know that: who sent a vector sits the round out."""
    plan = a_plan(4, 2, recompute=True)
    first = arena.server(plan, holds=[[1, "confirm"]])
    clients = clients_of(arena, 4)
    first.hear("held")
    first.kill()
    second = arena.server(plan)
    weights = second.weights()
    assert [(r["round"], r["code"]) for r in second.rounds] == [(1, "too-few-trained"), (2, "")]
    assert_after(weights, [range(4)])
    for index, client in enumerate(clients):
        assert_same_bits(client.weights(), weights)
        assert client.said("training") == [{"training": 1}, {"training": 2}]
        assert openings(arena, index) == 2


@pytest.mark.parametrize("decrypts", [True, False], ids=["decryptor", "uploader"])
def test_a_client_killed_after_its_upload_and_started_again_sends_that_vector_no_second_time(
    arena, decrypts: bool
) -> None:
    """It is in the sum all the same; of the key it lost with its memory nobody needs more than one holder."""
    server = arena.server(a_plan(5, 2), holds=[[1, "open"]])
    clients = clients_of(arena, 5)
    server.hear("held")
    holders = key_holders(server)
    mortal = holders[0] if decrypts else next(index for index in range(5) if index not in holders)
    clients[mortal].kill()
    assert openings(arena, mortal) == 1
    assert list((state_of(arena, mortal) / "vectors").iterdir()) == []
    again = a_client(arena, mortal)
    server.wait_for_log("client-joined", client=name_of(mortal), count=2)
    server.go_on()
    weights = server.weights()
    assert_after(weights, [range(5)] * 2)
    assert [(r["code"], r["attempts"], r["survivors"]) for r in server.rounds] == [("", 1, 5)] * 2
    assert_same_bits(again.weights(), weights)
    assert again.said("training") == [{"training": 2}]
    assert openings(arena, mortal) == 2


def test_a_client_killed_before_its_upload_comes_back_with_its_vector_unspent(arena) -> None:
    """Its session is gone, so the others' sum is without it; it counts nothing for that round."""
    server = arena.server(a_plan(5, 2), grace=30.0, holds=[[2, "train"]])
    others = clients_of(arena, 4)
    mortal = a_client(arena, 4, signals=fate(1, "upload"))
    assert mortal.exit_code() == -signal.SIGKILL
    assert openings(arena, 4) == 0
    again = a_client(arena, 4)
    server.hear("held")
    server.go_on()
    weights = server.weights()
    assert_after(weights, [range(4), range(5)])
    assert again.said("training") == [{"training": 2}]
    assert_same_bits(again.weights(), weights)
    assert openings(arena, 4) == 1
    assert [openings(arena, index) for index in range(4) if others[index].exit_code() == 0] == [2] * 4


# -- who holds what ---------------------------------------------------------------------------------------


def test_the_servers_memory_never_holds_the_secret_key_and_its_decryptors_does(arena) -> None:
    """Two clients write down the key they hold; the others' memory is searched, and the server's, twice.

    Of four clients three decrypt: of either two, one does. The key is looked for as it is packed to be sealed
    and as the words that SEAL keeps. What the server must hold, the public key, is found there the same way.
    """
    plan = a_plan(4, 2)
    written, passed = arena.folder / "written", arena.folder / "passed"
    server = arena.server(plan, holds=[[1, "open"], [2, "train"]], records=str(passed))
    writing = [a_client(arena, index, records=str(written)) for index in (0, 1)]
    silent = [a_client(arena, index) for index in (2, 3)]
    server.hear("held", [1, "open"])
    holders = key_holders(server)

    terms = Assignment.of(plan, initial_weights(), b"r" * 16, 1).terms
    assert terms is not None
    primes = (*terms.scheme.primes, terms.scheme.special)
    packed = (written / "secret-key").read_bytes()
    words = unpack_words(packed, primes, terms.scheme.degree)
    assert all(len(np.unique(part)) > 100 for part in words), "a key and no zeros"
    as_sealed = windows(packed)
    as_kept = [window for part in words for window in windows(part.tobytes())]

    for index, client in enumerate(silent, 2):
        assert holds_any(client.pid, as_kept) == (index in holders), "only decryptors are given the key"
    assert "_sealapi_cpp" in str(loaded_libraries(writing[0].pid))
    assert not any("seal" in name or "zstd" in name for name in loaded_libraries(server.pid))

    (made,) = passed.glob(f"* 1 key {name_of(holders[0])} server")
    reply = KeyReply.from_bytes(made.read_bytes())
    assert [position for position, _ in reply.sealed] == sorted(holders[1:])
    assert holds_any(server.pid, windows(reply.public_key))
    assert not holds_any(server.pid, as_sealed + as_kept)
    frames = [path.read_bytes() for path in passed.iterdir()]
    assert any(window in frame for frame in frames for window in windows(reply.public_key))
    assert not any(window in frame for frame in frames for window in as_sealed + as_kept)

    server.go_on()
    server.hear("held", [2, "train"])
    assert not holds_any(server.pid, as_sealed + as_kept), "nor after the sum was opened"
    server.go_on()
    assert_after(server.weights(), [range(4)] * 2)
