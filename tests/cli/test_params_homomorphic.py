"""`secagg params` of BFV and CKKS: held against the scheme and real rounds, and its refusals tried out."""

import json
import math
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import secagg as library
from secagg.cli.choice import planned, terms_of
from secagg.cli.homomorphic_cost import cpu, table, traffic
from secagg.cli.prospect import prospect
from secagg.errors import PlanError
from secagg.frames import Reply, Request
from secagg.homomorphic.scheme import MAX_MODULUS_BITS, scheme_for
from secagg.plan import Plan, settings_of
from secagg.tap import SERVER
from tests.cli.test_params import refused, said, told

KINDS = ("bfv", "ckks")


@pytest.mark.parametrize("kind", KINDS)
def test_the_scheme_is_the_one_that_sessions_will_use(secagg, kind):
    found = told(secagg, "--protection", kind, "--clients", 50, "--dim", 30_000)
    scheme = scheme_for(kind, 50, found["ring_bits"], 30_002)
    assert found["scheme"] == {
        "degree": scheme.degree,
        "prime_bits": [prime.bit_length() for prime in scheme.primes],
        "special_prime_bits": scheme.special.bit_length(),
        "modulus_bits": scheme.modulus_bits,
        "modulus_bits_bound": MAX_MODULUS_BITS[scheme.degree],
        "security_bits": 128,
        "plain_modulus": scheme.plain_modulus or None,
        "scale": scheme.scale or None,
        "integers_per_slot": scheme.per_slot,
        "ciphertexts": scheme.blocks,
    }
    assert found["ciphertext_bytes"] == scheme.size
    assert found["inexact_below"] == 2**-40


@pytest.mark.parametrize("kind", KINDS)
def test_security_error_and_exactness_are_said_in_words(secagg, kind):
    words = said(secagg, "--protection", kind, "--clients", 20)
    modulus = told(secagg, "--protection", kind, "--clients", 20)["scheme"]["modulus_bits"]
    assert "128-bit security by the Homomorphic Encryption Standard" in words
    assert f"log Q = {modulus} bits, of 109 that degree 4096 allows" in words
    margin = {"bfv": "keeps 2 bits of noise budget or more", "ckks": "a quarter of an integer off, or more"}
    assert margin[kind] in words
    assert "below 2^-40 a vector" in words
    assert "to the bit the sum that masks would give" in words


def test_without_a_plan_it_chooses_what_such_a_plan_must_say_and_says_that_it_did(secagg):
    found = told(secagg, "--protection", "bfv", "--clients", 10)
    assert found["chosen"] == {"colluders": 0.0, "adversary": "semi-honest"}
    words = said(secagg, "--protection", "bfv", "--clients", 10)
    assert words.startswith('chosen here\n  colluders = 0.0, adversary = "semi-honest"')
    recomputed = told(secagg, "--protection", "bfv", "--clients", 10, "--recompute")
    assert recomputed["chosen"] == {"colluders": 0.0}
    assert recomputed["adversary"] == "malicious"


def test_what_is_given_is_not_chosen(secagg):
    given = ["--protection", "ckks", "--clients", 10, "--colluders", 0, "--adversary", "semi-honest"]
    assert told(secagg, *given)["chosen"] == {}
    assert "chosen here" not in said(secagg, *given)
    assert terms_of({"protection": {"kind": "masks"}}) == {}


@pytest.mark.usefixtures("here")
def test_a_plan_with_ciphertexts_is_where_the_options_begin(secagg):
    from_plan = told(secagg, "--plan", "ciphers.toml", "--dim", 3)
    assert (from_plan["protection"], from_plan["clients"], from_plan["ring_bits"]) == ("bfv", 3, 25)
    assert from_plan["chosen"] == {}
    assert told(secagg, "--plan", "ciphers.toml", "--clients", 7)["clients"] == 7
    assert told(secagg, "--plan", "ciphers.toml", "--protection", "ckks")["protection"] == "ckks"
    assert told(secagg, "--plan", "ciphers.toml", "--protection", "masks")["t"] == 2


def test_who_can_open_what_is_said_plainly(secagg):
    words = said(secagg, "--protection", "bfv", "--clients", 10)
    assert "the server together with any one of the 3 decryptors: every client's update" in words
    assert "a server that lies about what it added: any update" in words and "nobody notices" in words
    recomputed = said(secagg, "--protection", "bfv", "--clients", 10, "--recompute")
    assert "any one of the 3 decryptors, alone: every client's update" in recomputed
    assert "the server together with any other client: any update" in recomputed
    assert "the server alone, even if it lies: one sum over 3 clients or more" in recomputed
    assert "nobody notices" not in recomputed


@pytest.mark.parametrize(
    ("more", "decryptors", "needed", "quorum", "words"),
    [
        ([], 3, 1, 0, "one of the three decryptors must stay"),
        (["--recompute"], 3, 2, 2, "two of the three decryptors must confirm"),
        (["--clients", 2, "--min-survivors", 2], 2, 1, 0, "one of the two decryptors must stay"),
        (["--clients", 2, "--min-survivors", 2, "--recompute"], 2, 2, 2, "two of the two decryptors"),
    ],
)
def test_who_must_stay_is_counted(secagg, more, decryptors, needed, quorum, words):
    given = ["--protection", "bfv", "--clients", 10, *more]
    found = told(secagg, *given)
    assert (found["decryptors"], found["decryptors_needed"], found["quorum"]) == (decryptors, needed, quorum)
    assert words in said(secagg, *given)


def test_the_floor_that_a_client_needs_is_said_and_accepts_the_plan(secagg):
    for more, floor in (([], {"adversary": ["semi-honest"]}), (["--recompute"], {})):
        words = said(secagg, "--protection", "bfv", "--clients", 10, *more)
        assert 'accepts it with protections = ["bfv"]' in words
        assert ('adversary = ["semi-honest"]' in words.split("accepts it")[1].split("\n")[0]) == bool(floor)
        protection = {"kind": "bfv", "recompute": bool(more)}
        changes = {"cohort": {"max_clients": 10}, "protection": protection}
        changes["cohort"] |= terms_of(changes)
        plan = planned(None, changes)
        library.Floor(protections={"bfv"}, **floor).check_plan(plan)
        with pytest.raises(library.errors.FloorError):
            library.Floor().check_plan(plan)


@pytest.mark.parametrize(
    ("given", "ways"),
    [
        (["--protection", "bfv", "--clients", 10, "--colluders", 0.1], ["--colluders 0"]),
        (
            ["--protection", "ckks", "--clients", 10, "--adversary", "malicious"],
            ["--adversary semi-honest", "--recompute"],
        ),
        (
            ["--protection", "bfv", "--plan", "plan.toml"],
            ["--colluders 0 --adversary semi-honest", "--colluders 0 --recompute"],
        ),
        (["--protection", "bfv", "--clients", 33, "--recompute"], ["--clients 32"]),
        (
            ["--protection", "bfv", "--clients", 33, "--recompute", "--adversary", "semi-honest"],
            ["--no-recompute"],
        ),
        (
            ["--protection", "ckks", "--clients", 10, "--recompute", "--adversary", "semi-honest"],
            ["--adversary malicious", "--no-recompute"],
        ),
        (["--plan", "ciphers.toml", "--recompute"], ["--adversary malicious", "--no-recompute"]),
        (
            ["--protection", "ckks", "--clients", 100, "--precision", 1e-9],
            ["--precision 2e-08", "--protection bfv"],
        ),
        (
            ["--protection", "ckks", "--plan", "plan.toml", "--precision", 1e-10],
            [
                "--colluders 0 --adversary semi-honest --precision 5e-10",
                "--colluders 0 --recompute --protection bfv",
            ],
        ),
        (["--protection", "bfv", "--clients", 2], ["--clients 3", "--min-survivors 2"]),
        (["--plan", "ciphers.toml", "--protection", "masks", "--recompute"], []),
    ],
    ids=lambda given: " ".join(map(str, given)),
)
@pytest.mark.usefixtures("here")
def test_what_cannot_work_is_refused_with_the_nearest_that_does(secagg, given, ways):
    error = refused(secagg, *given)
    assert error["problems"]
    for way in ways:
        assert way in error["hint"]
        told(secagg, *given, *way.split())  # and it does
    assert bool(ways) == ("nearest" in (error["hint"] or ""))


@given(precision=st.floats(1e-12, 1e-5), clients=st.integers(3, 2000))
def test_the_precision_that_fits_is_the_finest_of_one_digit(precision, clients):
    changes = {
        "protection": {"kind": "ckks"},
        "cohort": {"max_clients": clients, "colluders": 0.0, "adversary": "semi-honest"},
        "encoding": {"precision": precision},
    }
    try:
        planned(None, changes)
    except PlanError as error:
        offered = float(error.hint.split("--precision ")[1].split(",")[0])
        planned(None, {**changes, "encoding": {"precision": offered}})
        digit = int(f"{offered:e}"[0])
        finer = offered / (2.5 if digit == 5 else 2)
        assume(finer > precision)
        with pytest.raises(PlanError):
            planned(None, {**changes, "encoding": {"precision": finer}})


def test_the_largest_cohort_of_a_precision_is_the_largest(secagg):
    given = ["--protection", "ckks", "--precision", 3e-8, "--clients"]
    most = told(secagg, *given, 10)["most_clients"]
    assert 10 < most < 10_000
    assert f"widen by themselves, up to {most} clients" in said(secagg, *given, 10)
    assert told(secagg, *given, most)["most_clients"] == most
    assert "no CKKS parameters" in refused(secagg, *given, most + 1)["message"]


def test_under_privacy_the_ring_is_said_to_be_noised_and_no_largest_cohort_is_looked_for(secagg, here):
    terms = '[protection]\nkind = "bfv"\n[cohort]\ncolluders = 0.0\nadversary = "semi-honest"'
    (here / "both.toml").write_text((here / "private.toml").read_text().replace("[cohort]", terms))
    assert told(secagg, "--plan", "both.toml")["most_clients"] is None
    assert "a sum wraps with a probability below 2^-40" in said(secagg, "--plan", "both.toml")


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_bytes_are_those_of_a_real_round_within_two_per_cent(kind, recompute, tmp_path):
    n, size = 5, 5000
    plan = Plan(
        run={"name": "bytes", "rounds": 1},
        cohort={"max_clients": n, "colluders": 0.0, "adversary": "malicious" if recompute else "semi-honest"},
        protection={"kind": kind, "recompute": recompute},
    )
    down, up = (defaultdict(lambda: defaultdict(int)) for _ in range(2))

    def tap(sender, receiver, frame):
        if isinstance(frame, Request | Reply):
            stage = frame.stage.partition("-")[0]
            (up[sender] if receiver == SERVER else down[receiver])[stage] += len(frame.body)

    clients = {
        f"client-{number:05d}": lambda task: library.Update({"w": task.weights["w"] + 1})
        for number in range(n)
    }
    library.simulate({"w": np.zeros(size)}, plan, clients, tap=tap, runs=tmp_path)
    (log,) = tmp_path.glob("*/log.jsonl")
    events = map(json.loads, log.read_text().splitlines())
    (holders,) = (event["clients"] for event in events if event["event"] == "keys-held")
    bits, length = settings_of(plan, size).bits, settings_of(plan, size).length(size)
    expected = traffic(scheme_for(kind, n, bits, length), table(n, recompute))
    for name in clients:
        role = "uploader" if name not in holders else "key_maker" if "key" in up[name] else "decryptor"
        assert list(expected[role]) == list(up[name])
        for stage, exchange in expected[role].items():
            assert math.isclose(exchange.down, down[name][stage], rel_tol=0.02, abs_tol=4), (role, stage)
            assert math.isclose(exchange.up, up[name][stage], rel_tol=0.02, abs_tol=4), (role, stage)
    assert {"key" in up[name] for name in holders} == {True, False}


def test_the_totals_of_a_role_are_those_of_its_stages(secagg):
    found = told(secagg, "--protection", "bfv", "--clients", 10, "--recompute")
    for role, stages in found["stages"].items():
        assert found["upload_bytes"][role] == sum(stage["up"] for stage in stages.values())
        assert found["download_bytes"][role] == sum(stage["down"] for stage in stages.values())
    assert found["download_bytes"]["decryptor"] > 10 * found["ciphertext_bytes"]


def test_more_clients_parameters_and_recomputing_cost_more():
    def cost(n, length, recompute=False):
        return cpu(scheme_for("bfv", n, 25, length), table(n, recompute))

    base = cost(10, 10**5)
    assert base.uploader < base.decryptor < base.key_maker
    assert cost(20, 10**5).server > base.server
    assert cost(10, 10**6).uploader > base.uploader
    recomputing = cost(10, 10**5, recompute=True)
    assert recomputing.decryptor > base.decryptor
    assert recomputing.uploader == base.uploader


@given(
    kind=st.sampled_from(KINDS),
    clients=st.integers(3, 10**6),
    clip_norm=st.floats(0.01, 100),
    precision=st.floats(1e-9, 1e-3),
    dim=st.integers(1, 10**7),
)
def test_whatever_is_accepted_keeps_within_the_bound_of_its_security(
    kind, clients, clip_norm, precision, dim
):
    changes = {
        "protection": {"kind": kind},
        "cohort": {"max_clients": clients, "colluders": 0.0, "adversary": "semi-honest"},
        "encoding": {"clip_norm": clip_norm, "precision": precision},
    }
    try:
        plan = planned(None, changes)
    except PlanError:
        return
    found = prospect(plan, dim)
    assert found.scheme.modulus_bits <= MAX_MODULUS_BITS[found.scheme.degree]
    assert sum(found.scheme.prime_bits) * 2 * found.scheme.degree / 8 <= found.ciphertext_bytes
    assert clients <= found.most_clients
    assert all(sentence for sentences in found.words.values() for sentence in sentences)
