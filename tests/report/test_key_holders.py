"""Homomorphic sums in the report: who can open what, on what the claims rest, and who held the keys."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secagg import Update, report, simulate
from secagg.errors import RunError
from secagg.plan import Plan
from secagg.update import Task
from tests.report.runs import CLIENT, HOMOMORPHIC, LOCAL, LOSS, MODEL, holders, plan_of, played
from tests.report.test_document import made, unit_of

BFV, RECOMPUTED = "bfv", "ckks with recompute"


def plan_with(**tables: Any) -> Plan:
    both = {"cohort": HOMOMORPHIC, "protection": {"kind": "bfv"}, **tables}
    return Plan(run={"name": "report", "rounds": 5}, **both)


def tables_for(kind: str, recompute: bool, **cohort: Any) -> dict[str, Any]:
    """[cohort] and [protection]; with `recompute`, against a server that may lie."""
    adversary = {"adversary": "malicious" if recompute else "semi-honest"}
    protection = {"kind": kind, **({"recompute": True} if recompute else {})}
    return {"cohort": {**HOMOMORPHIC, **adversary, **cohort}, "protection": protection}


def parties(document: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {seen["party"]: seen for seen in document["learns"]}


def texts(document: dict[str, Any]) -> tuple[str, ...]:
    """The page in both its forms, as it is read."""
    page = re.sub(r"<[^>]+>", " ", report.html(document)).replace("&#39;", "'")
    return page, report.markdown(document).replace("\\", "")


# Who can open what


def test_the_server_and_any_one_key_holder_open_every_update_and_every_form_says_so(tmp_path):
    document = made(played(tmp_path, plan_of(BFV)))
    seen = parties(document)["the server together with any one that holds the key"]
    assert seen["sees"].startswith("every client's vector by itself") and seen["hidden"] == "nothing"
    assert "attempts that opened no sum" in seen["sees"]
    for text in texts(document):
        assert "the server together with any one of them can open every update" in text
        assert "a server that lies about what it added is not noticed" in text
        assert "takes it for honest but curious" in text


def test_each_key_holder_is_a_party_of_its_own_that_alone_sees_a_sum(tmp_path):
    seen = parties(made(played(tmp_path, plan_of(BFV))))
    holder = seen["each client that holds the key: up to 3, drawn anew in each attempt"]
    assert "the exact sum of its attempt and who is in it" in holder["sees"]
    assert "no ciphertext but its own and the one that the server hands it" in holder["sees"]
    assert "as long as the server hands it the sum and nothing else" in holder["hidden"]
    assert holder["sees"].endswith("; and, of the noise in the sum, its own share")
    alone = parties(made(played(tmp_path / "b", plan_of("bfv and example"))))
    assert "noise" not in alone["each client that holds the key: up to 3, drawn anew in each attempt"]["sees"]


def test_a_lying_server_gets_the_key_itself_with_bfv_and_single_vectors_with_ckks(tmp_path):
    liar = "the server, if it lies about what it added"
    bfv = parties(made(played(tmp_path / "bfv", plan_of(BFV))))[liar]
    assert "gives it the key" in bfv["sees"] and "every client's vector by itself" in bfv["sees"]
    ckks = plan_with(protection={"kind": "ckks"}, privacy=CLIENT)
    seen = parties(made(played(tmp_path / "ckks", ckks)))[liar]
    assert "up to 3 times an attempt: single clients' vectors" in seen["sees"]
    assert bfv["hidden"] == seen["hidden"] == "nothing that is claimed; no client notices"


def test_with_recompute_any_one_key_holder_alone_opens_every_update(tmp_path):
    document = made(played(tmp_path, plan_of(RECOMPUTED)))
    seen = parties(document)
    holder = seen["each client that holds the key: up to 3, drawn anew in each attempt"]
    assert "every client's ciphertext, and the key to all of them" in holder["sees"]
    assert holder["hidden"].startswith("nothing but by its own software")
    assert "the server, if it lies about what it added" not in seen
    assert "if it keeps to the protocol" not in seen["the server"]["hidden"]
    for text in texts(document):
        assert "any one of them can open every update, alone" in text
        assert "honest but curious" not in text


@pytest.mark.parametrize("kind", ["bfv", "ckks"])
@pytest.mark.parametrize("recompute", [True, False])
def test_any_client_that_helps_the_server_breaks_it_and_the_limits_say_why_none_may(
    kind, recompute, tmp_path
):
    document = made(played(tmp_path, plan_with(**tables_for(kind, recompute))))
    helped = parties(document)["the server together with any other client"]
    assert helped["hidden"] in ("nothing", "nothing that is claimed")
    assert document["cohort"]["colluders"] == 0 and document["cohort"]["recompute"] == recompute
    (limit,) = [limit for limit in document["limits"] if limit.startswith("No client may work together")]
    assert "a server can try until it is that one" in limit


def test_only_ckks_speaks_of_rounding_what_is_decrypted(tmp_path):
    said = {
        kind: any(
            "raw decryptions would give its key away" in limit
            for limit in made(played(tmp_path / kind, plan_with(protection={"kind": kind})))["limits"]
        )
        for kind in ("bfv", "ckks")
    }
    assert said == {"bfv": False, "ckks": True}


def test_masks_know_of_no_keys(tmp_path):
    document = made(played(tmp_path, plan_of("client")))
    assert document["key_holders"] is None and not document["cohort"]["recompute"]
    assert all(entry["key_holders"] is None for entry in document["rounds"]["list"])
    assert "holds the key" not in " ".join(texts(document))


# What the claims rest on


def test_the_claim_for_a_client_rests_on_nobody_working_with_the_server(tmp_path):
    claim = made(played(tmp_path, plan_of(BFV)))["claim"][0]
    assert "no client, and so none that holds the key, works together with the server" in claim
    assert "that the server keeps to the protocol" in claim and "that every client runs" in claim


def test_with_recompute_the_claim_rests_on_key_holders_that_open_the_sum_alone(tmp_path):
    claim = made(played(tmp_path, plan_of(RECOMPUTED)))["claim"][0]
    assert "that none that holds the key opens more than the sum" in claim
    assert "the server keeps to the protocol" not in claim


def test_under_masks_a_semi_honest_plan_is_claimed_for_on_that_condition(tmp_path):
    kept = "that the server keeps to the protocol"
    semi = plan_with(protection={"kind": "masks"}, privacy=CLIENT)
    assert kept in made(played(tmp_path / "a", semi))["claim"][0]
    assert kept not in made(played(tmp_path / "b", plan_of("client")))["claim"][0]


def test_the_epsilon_is_that_of_masks_with_one_colluder(tmp_path):
    """Who opens a sum knows its own share of the noise in it, as a colluder does."""
    ours = made(played(tmp_path / "a", plan_of(BFV)))
    cohort = {**HOMOMORPHIC, "colluders": 0.1}
    theirs = made(
        played(tmp_path / "b", plan_with(protection={"kind": "masks"}, privacy=CLIENT, cohort=cohort))
    )
    assert (ours["cohort"]["colluders"], theirs["cohort"]["colluders"]) == (0, 1)
    assert unit_of(ours, "client")["epsilon"] == unit_of(theirs, "client")["epsilon"]


@pytest.mark.parametrize("kind", [BFV, RECOMPUTED])
def test_the_claim_holds_against_one_that_opens_the_sums_and_the_table_has_its_column(kind, tmp_path):
    document = made(played(tmp_path, plan_of(kind)))
    epsilon = unit_of(document, "client")["epsilon"]
    assert epsilon["server"]["epsilon"] < epsilon["colluders"]["epsilon"]
    assert "even the server or a client that opens the sums," in document["claim"][0]
    assert f"epsilon {epsilon['colluders']['says']} at delta" in document["claim"][0]
    assert "another given client took part" in document["claim"][0]
    (limit,) = [limit for limit in document["limits"] if limit.startswith("The claim counts")]
    assert "as few as a sum may hold beside one that opens it and knows its own share" in limit
    assert "collud" not in limit
    for text in texts(document):
        assert "a client that opens the sum" in text and "0 colluding" not in text


def test_a_clients_own_share_of_the_noise_is_one_of_h_and_no_epsilon_is_claimed_for_it(tmp_path):
    document = made(played(tmp_path, plan_of(BFV)))
    honest = document["encoding"]["honest_contributors"]
    assert honest == HOMOMORPHIC["min_survivors"] - 1
    (limit,) = [limit for limit in document["limits"] if "its own share of the noise" in limit]
    share = float(re.search(r"([\d.]+) of its standard deviation", limit)[1])  # type: ignore[index]
    assert f"1/{honest} of the variance" in limit and share == pytest.approx(honest**-0.5, rel=2e-3)
    assert "no epsilon here holds against them" in limit
    for party in ("any one that holds the key", "if it lies about what it added"):
        (seen,) = [seen for name, seen in parties(document).items() if name.endswith(party)]
        assert f"1/{honest} of the variance" in seen["sees"]
    assert "No epsilon of this table holds against the server together with any client" in texts(document)[0]


def test_private_training_is_claimed_for_whoever_decrypts(tmp_path):
    alone = made(played(tmp_path / "a", plan_of("bfv and example")))
    assert "even together with the server and all other clients" in alone["claim"][0]
    assert alone["claim"][1].endswith("What is claimed for an example holds even so.")
    assert not any("share of the noise" in limit for limit in alone["limits"])
    assert "No epsilon of this table" not in texts(alone)[0]
    shared = plan_with(privacy={"unit": "example", **LOCAL}, metrics=LOSS)
    document = made(played(tmp_path / "b", shared))
    assert "no client, and so none that holds the key" in document["claim"][0]
    assert "holds even so" not in document["claim"][1]
    assert any("its own share of the noise of the metrics" in limit for limit in document["limits"])


def test_a_run_that_opened_nothing_still_says_who_could_have(tmp_path):
    document = made(played(tmp_path, plan_of(BFV), rounds=1, failed=1))
    assert len(document["claim"]) == 2 and "hold the key" in document["claim"][1]
    assert document["rounds"]["list"][0]["key_holders"] == [{"attempt": 2, "clients": holders(1)}]


@pytest.mark.parametrize("masked", [True, False])
def test_a_simulation_says_whether_it_encrypted(masked, tmp_path):
    document = made(played(tmp_path, plan_of(BFV), simulated={"masked": masked}))
    assert document["run"]["protected"] == masked and (document["key_holders"] is not None) == masked
    said = " ".join(document["claim"])
    assert ("nothing was encrypted" in said) != masked and "masked" not in said and "masks" not in said
    assert ("the same run among separate clients, with encryption" in said) != masked
    hidden = parties(document)["the server"]["hidden"]
    assert (hidden == "nothing: nothing was encrypted") != masked
    assert ("left out the encryption that the plan asks for" in texts(document)[1]) != masked
    assert ("held the key" in texts(document)[1]) == masked


@pytest.mark.parametrize("kind", [BFV, RECOMPUTED, "bfv and example"])
def test_a_prospect_says_what_the_run_will_say(kind, tmp_path):
    plan = plan_of(kind)
    before, after = report.prospect(plan, 15), made(played(tmp_path, plan))
    for part in ("learns", "limits", "cohort"):
        assert before[part] == after[part]
    assert before["claim"][-1] == after["claim"][-1]
    kept = "No epsilon of this table holds" in texts(before)[0]
    assert kept == ("No epsilon of this table holds" in texts(after)[0]) == (kind != "bfv and example")


# Who held the keys


def test_every_round_names_who_held_its_key_and_every_client_has_its_count(tmp_path):
    document = made(played(tmp_path, plan_of(BFV), failed=2))
    rounds = document["rounds"]["list"]
    assert [entry["key_holders"] for entry in rounds] == [
        [{"attempt": 2 if number == 2 else 1, "clients": holders(number)}] for number in range(1, 6)
    ]
    counts = {held["client"]: (held["attempts"], held["rounds"]) for held in document["key_holders"]["list"]}
    assert counts == {
        "client-0": (3, "3-5"),
        "client-1": (3, "1, 4-5"),
        "client-2": (3, "1-2, 5"),
        "client-3": (3, "1-3"),
        "client-4": (3, "2-4"),
    }
    assert document["key_holders"]["unlogged"] == ""


def test_the_page_shows_them_in_both_forms(tmp_path):
    document = made(played(tmp_path, plan_of(BFV)))
    for text in texts(document):
        assert "Who held the key, its maker first" in text and "How often each client held a key" in text
        assert all(", ".join(holders(number)) in text for number in range(1, 6))


def test_where_who_was_drawn_is_secret_no_name_is_told(tmp_path):
    path = played(tmp_path, plan_of("bfv and poisson"))
    document = report.write(path)
    assert document["key_holders"]["private"] and document["key_holders"]["list"] is None
    assert all(entry["key_holders"] is None for entry in document["rounds"]["list"])
    for text in (report.as_json(document), *texts(document)):
        assert "client-" not in text
    assert "Who held keys is left out: the amplified epsilon holds only while nobody knows" in text
    assert report.verify(path).findings == ()


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]


def rewritten(path: Path, change: Callable[[dict[str, Any]], Sequence[dict[str, Any]]]) -> None:
    """log.jsonl with every event about keys changed, and the report written anew."""
    lines = [
        new for line in lines_of(path) for new in (change(line) if line["event"] == "keys-held" else [line])
    ]
    (path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    report.write(path)


def found(path: Path) -> list[str]:
    return [str(finding) for finding in report.verify(path).findings]


@pytest.fixture
def path(tmp_path) -> Path:
    return played(tmp_path, plan_of(BFV))


def test_what_nobody_touched_is_as_claimed_and_says_what_was_held_against_what(path):
    report.write(path)
    verdict = report.verify(path)
    assert verdict.findings == () and verdict.remarks == ()
    assert "log.jsonl names the key holders of 5 attempts, each of them of its cohort" in verdict.checked


def in_round(number: int, **change: Any) -> Callable[[dict[str, Any]], Sequence[dict[str, Any]]]:
    return lambda line: [line | change if line["round"] == number else line]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (in_round(3, clients=["client-1", "client-2", "stranger"]), "who was not in the cohort"),
        (in_round(3, clients=["client-1", "client-2"]), "2 held one, and 3 are drawn"),
        (in_round(3, clients=["client-1"]), "1 held one, and 3 are drawn"),
        (in_round(3, attempt=2), "the ledger has no such attempt"),
        (in_round(3, round=9), "the ledger has no such attempt"),
        (in_round(3, round=4), "are told of twice"),
        (in_round(5, clients=["client-7", "client-8", "client-9"]), "opened with fewer than 1 of those"),
    ],
)
def test_key_holders_that_cannot_have_been_are_found_under_a_new_report(path, change, words):
    rewritten(path, change)
    assert any(finding.startswith("log.jsonl, keys of round") and words in finding for finding in found(path))


@pytest.mark.parametrize("told", [1, 2])
def test_fewer_key_holders_than_were_drawn_from_those_in_the_sum_are_found(told, tmp_path):
    """The plan's least sum is over two, of whom both would hold the key; this one is over eight."""
    path = played(
        tmp_path,
        plan_with(cohort={**HOMOMORPHIC, "min_survivors": 2}),
        rounds=1,
        survivors=(8,),
        finished=False,
    )
    report.write(path)
    assert found(path) == []
    rewritten(path, in_round(1, clients=holders(1)[:told]))
    assert found(path) == [
        f"log.jsonl, keys of round 1, attempt 1: {told} held one, and 3 are drawn from a cohort of this plan"
    ]


def test_with_recompute_two_of_them_are_in_the_sum(tmp_path):
    path = played(tmp_path, plan_of(RECOMPUTED))
    report.write(path)
    assert found(path) == []
    rewritten(path, in_round(5, clients=["client-0", "client-8", "client-9"]))
    assert found(path) == [
        "log.jsonl, keys of round 5, attempt 1: the sum was opened with fewer than 2 of those who held one "
        "in it"
    ]


def test_keys_of_a_run_under_masks_are_found(tmp_path):
    path = played(tmp_path, plan_of("client"))
    with (path / "log.jsonl").open("a") as log:
        log.write('{"event": "keys-held", "round": 1, "attempt": 1, "clients": ["client-0"]}\n')
    report.write(path)
    assert found(path) == ["log.jsonl: names who held a key, and no sum of this run was homomorphic"]


def test_a_line_about_keys_that_is_missing_is_remarked_and_shown(path):
    rewritten(path, lambda line: [] if line["round"] in (2, 3) else [line])
    verdict = report.verify(path)
    assert verdict.findings == ()
    assert verdict.remarks == ("log.jsonl does not say who held the key in round 2-3, whose sum was opened",)
    document = made(path)
    assert document["key_holders"]["unlogged"] == "2-3"
    assert all("does not say who held the key in round 2-3" in text for text in texts(document))


def test_other_names_in_the_report_than_in_the_log_are_found(path):
    report.write(path)
    document = json.loads((path / "privacy.json").read_bytes())
    document["rounds"]["list"][2]["key_holders"][0]["clients"][0] = "client-9"
    (path / "privacy.json").write_text(report.as_json(document))
    assert any("privacy.json, rounds.list[2].key_holders" in finding for finding in found(path))


@pytest.mark.parametrize(
    "fields",
    [
        {"round": "1"},
        {"round": True},
        {"round": 0},
        {"attempt": -1},
        {"attempt": None},
        {"clients": "client-0"},
        {"clients": []},
        {"clients": ["client-0", "client-0", "client-1"]},
        {"clients": ["client-0", 1]},
        {"clients": [f"client-{number}" for number in range(4)]},
        {"clients": ["client-0\u001b[2J"]},
        {"clients": ["<script>"]},
        {"clients": ["x" * 65]},
        {"clients": {"client-0": 1}},
    ],
)
def test_a_line_about_keys_that_no_server_writes_is_refused(path, fields):
    line = {"event": "keys-held", "round": 1, "attempt": 1, "clients": ["client-0"], **fields}
    with (path / "log.jsonl").open("a") as log:
        log.write(json.dumps(line) + "\n")
    for command in (report.read, report.verify):
        with pytest.raises(RunError) as caught:
            command(path)
        assert caught.value.code == "run-damaged" and caught.value.message.isprintable()


def test_half_a_line_about_keys_at_the_end_of_the_log_is_no_fault(path):
    report.write(path)
    with (path / "log.jsonl").open("a") as log:
        log.write('{"event": "keys-held", "round": 1, "att')
    assert found(path) == []


# A real run


@pytest.mark.parametrize("recompute", [True, False])
def test_a_run_of_real_sessions_is_reported_and_verified(recompute, tmp_path):
    def train(task: Task) -> Update:
        return Update({name: array + np.float32(0.01) for name, array in task.weights.items()}, 1)

    tables = tables_for("bfv", recompute, max_clients=4, min_survivors=3)
    plan = Plan(run={"name": "real", "rounds": 2}, **tables)
    result = simulate(MODEL, plan, [train] * 4, runs=tmp_path)
    assert result.run_dir is not None and report.verify(result.run_dir).findings == ()
    document = made(result.run_dir)
    logged = [line["clients"] for line in lines_of(result.run_dir) if line["event"] == "keys-held"]
    shown = [entry["key_holders"] for entry in document["rounds"]["list"]]
    assert shown == [[{"attempt": 1, "clients": clients}] for clients in logged] and len(logged) == 2
    assert document["run"]["protected"] and document["run"]["simulated"]
