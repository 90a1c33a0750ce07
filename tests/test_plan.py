"""A plan is read strictly, refused whole, and equal plans are equal bytes."""

from __future__ import annotations

import copy
import json
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from secagg.errors import PlanError
from secagg.plan import Plan, policy_of

MINIMAL = """
[run]
name = "digits"
rounds = 20

[cohort]
max_clients = 10
"""

WHOLE = """
[run]
name = "digits"
rounds = 20
interval = "0s"

[cohort]
clients = ["hospital-*"]
max_clients = 10
min_survivors = 4
sampling = "fixed"
colluders = 0.1
dropouts = 0.2
adversary = "malicious"
join_deadline = "10m"
train_deadline = "30m"
stage_deadline = "30s"
min_rate = "1MB/s"

[training]
epochs = 2
local = ["head.*"]

[aggregation]
method = "fedavg"
weighting = "uniform"
max_examples = 1000

[encoding]
clip_norm = 1.0
precision = 1e-6

[[encoding.group]]
match = "bias"
clip_norm = 2

[metrics]
loss = { min = 0.0, max = 10.0 }

[protection]
kind = "masks"

[privacy]
unit = "none"
"""


def problems(text: str) -> dict[str, str]:
    with pytest.raises(PlanError) as caught:
        Plan.parse(text)
    assert caught.value.code == "plan-invalid"
    assert caught.value.exit_code == 2
    return {problem.path: f"{problem.message} ({problem.hint})" for problem in caught.value.problems}


def changed(section: str, **fields: Any) -> dict[str, Any]:
    """The minimal plan's document with some fields of one section set."""
    document: dict[str, Any] = {"run": {"name": "digits", "rounds": 20}, "cohort": {"max_clients": 10}}
    document[section] = document.get(section, {}) | fields
    return document


def refused(section: str, **fields: Any) -> dict[str, str]:
    with pytest.raises(PlanError) as caught:
        Plan(**changed(section, **fields))
    return {problem.path: f"{problem.message} ({problem.hint})" for problem in caught.value.problems}


def test_the_whole_example_is_a_plan() -> None:
    plan = Plan.parse(WHOLE)
    assert plan.run.name == "digits"
    assert plan.cohort.train_deadline == 1800.0
    assert plan.cohort.min_rate == 1_000_000
    assert plan.encoding.group[0].clip_norm == 2.0
    assert plan.metrics["loss"].max == 10.0
    assert plan.task_config() == {"epochs": 2}
    assert plan.cohort.admits("hospital-3")
    assert not plan.cohort.admits("aggregator")


def test_three_lines_are_a_plan_and_every_default_is_safe() -> None:
    plan = Plan.parse(MINIMAL)
    cohort = plan.cohort
    assert (cohort.adversary, cohort.min_survivors, cohort.colluders, cohort.dropouts) == (
        "malicious",
        3,
        0.1,
        0.2,
    )
    assert (cohort.join_deadline, cohort.train_deadline, cohort.stage_deadline) == (600.0, 1800.0, 30.0)
    assert (cohort.min_rate, cohort.clients, plan.run.interval) == (1_000_000, ("*",), 0.0)
    assert (plan.protection.kind, plan.privacy.unit, plan.training.local) == ("masks", "none", ())
    assert (plan.encoding.clip_norm, plan.encoding.precision, plan.encoding.group) == (1.0, 1e-6, ())
    assert (plan.aggregation.method, plan.aggregation.weighting) == ("fedavg", "uniform")
    assert (plan.aggregation.max_examples, plan.aggregation.momentum) == (1000, 0.9)
    assert dict(plan.metrics) == {}


def test_a_file_is_loaded_with_or_without_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(WHOLE)
    (tmp_path / "notepad.toml").write_bytes(b"\xef\xbb\xbf" + WHOLE.replace("\n", "\r\n").encode())
    assert Plan.load(tmp_path / "plan.toml") == Plan.load(str(tmp_path / "notepad.toml"))


def test_a_missing_file_and_bytes_that_are_no_text_are_plan_errors(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="cannot be read: No such file"):
        Plan.load(tmp_path / "plan.toml")
    (tmp_path / "plan.toml").write_bytes(b'[run]\nname = "\xff"')
    with pytest.raises(PlanError, match="byte 14: is not UTF-8"):
        Plan.load(tmp_path / "plan.toml")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("[run]\nname = = 3", "line 2, column 8"),
        ("[run]\nname", "end of document"),
        ("a = " + "[" * 5000, "document"),
        ("a = " + "1" * 5000, "document"),
    ],
)
def test_what_is_not_toml_is_refused_with_its_line(text: str, path: str) -> None:
    (only,) = problems(text).items()
    assert only[0] == path
    assert only[1].startswith("is not TOML: ")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not JSON"),
        ("[1]", "a table is expected, and a list came"),
        ("null", "a table is expected, and nothing came"),
        ('{"run": 1, "run": 2}', "a key is given twice"),
        ("[" * 100_000, "nested too deeply"),
        ("1" * 5000, "cannot be read"),
        ('{"run": {"name": "\\ud800", "rounds": 1}, "cohort": {"max_clients": 9}}', "not text"),
        ('{"run": null, "cohort": {"max_clients": 9}}', "is null"),
        ('{"run": {"name": "a", "rounds": NaN}, "cohort": {"max_clients": 9}}', "is nan, and must be finite"),
        ('{"training": {"a": ' + "[" * 90 + "]" * 90 + "}}", "nested deeper than"),
    ],
)
def test_whatever_a_server_sends_is_a_plan_or_a_plan_error(text: str, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        Plan.from_json(text)


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
keys = st.sampled_from(["run", "cohort", "training", "metrics", "name", "x"])


@given(st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=12))
def test_no_json_value_whatever_makes_anything_but_a_plan_error(value: Any) -> None:
    with pytest.raises(PlanError):
        Plan.from_json(json.dumps(value))


def test_every_problem_is_listed_at_once_fields_and_contradictions_together() -> None:
    found = problems(
        """
        stray = 1
        [run]
        name = "di gits"
        rouns = 20
        [cohort]
        max_clients = 2
        min_survivors = 5
        rounds = 3
        colluders = nan
        dropouts = "x"
        join_deadline = 3
        min_rate = "1MB"
        clients = [1, ""]
        adversary = "nice"
        [training]
        day = 1979-05-27
        lr.warm = inf
        [metrics]
        loss = { min = 3, max = 1 }
        clipped_fraction = { min = 0, max = 1 }
        "a b" = { min = 0 }
        [encoding]
        clip_norm = 0
        precision = 1
        [[encoding.group]]
        match = "x*"
        [protection]
        kind = "paillier"
        [privacy]
        unit = "record"
        """
    )
    assert set(found) == {
        "stray",
        "run.name",
        "run.rounds",
        "run.rouns",
        "cohort.min_survivors",
        "cohort.rounds",
        "cohort.colluders",
        "cohort.dropouts",
        "cohort.join_deadline",
        "cohort.min_rate",
        "cohort.clients.0",
        "cohort.clients.1",
        "cohort.adversary",
        "training.day",
        "training.lr.warm",
        "metrics.loss",
        "metrics.clipped_fraction",
        "metrics.a b",
        "metrics.a b.max",
        "encoding.clip_norm",
        "encoding.group.0.clip_norm",
        "protection.kind",
        "privacy.unit",
    }
    assert found["run.rounds"] == "is missing (for example: rounds = 20)"
    assert found["run.rouns"].endswith("(did you mean rounds?)")
    assert found["cohort.rounds"].endswith("(rounds belongs into [run])")
    assert found["cohort.dropouts"].startswith('a number is expected, and "x" came')
    assert found["protection.kind"] == (
        "is \"paillier\" (this version accepts 'masks', 'bfv', 'ckks' or 'none')"
    )
    assert "no round could ever open" in found["cohort.min_survivors"]


def test_an_empty_plan_is_told_what_to_write() -> None:
    assert problems("") == {
        "run.name": 'is missing (for example: name = "digits")',
        "run.rounds": "is missing (for example: rounds = 20)",
        "cohort.max_clients": "is missing (for example: max_clients = 10)",
    }


@pytest.mark.parametrize(
    ("section", "field", "value", "says"),
    [
        ("run", "rounds", 0, "must be at least 1, and is 0"),
        ("run", "rounds", 2.0, "a whole number is expected, and 2.0 came"),
        ("run", "rounds", True, "a whole number is expected, and true came"),
        ("run", "rounds", "3", 'a whole number is expected, and "3" came'),
        ("run", "rounds", 2**31, "must be less than"),
        ("run", "rounds", 10**400, "is beyond 64 bits"),
        ("run", "name", "", "a name is 1 to 64"),
        ("run", "name", "a/b", "a name is 1 to 64"),
        ("run", "name", "digits\n", "a name is 1 to 64"),
        ("run", "name", 3, "a string is expected, and 3 came"),
        ("run", "interval", 5, "a duration with units"),
        ("run", "interval", "367d", "at most 366d"),
        ("cohort", "max_clients", 1, "must be at least 2"),
        ("cohort", "min_survivors", 1, "must be at least 2"),
        ("cohort", "clients", [], "admits nobody"),
        ("cohort", "clients", "hospital-*", "a list is expected"),
        ("cohort", "sampling", "all", "this version accepts 'fixed' or 'poisson'"),
        ("cohort", "colluders", 1.0, "must be less than 1"),
        ("cohort", "colluders", -0.1, "must be at least 0"),
        ("cohort", "dropouts", math.inf, "is inf, and must be finite"),
        ("cohort", "stage_deadline", "0s", "must be longer than 0s"),
        ("cohort", "min_rate", "0MB/s", "must be at least 1B/s"),
        ("training", "local", "head", "a list is expected"),
        ("aggregation", "method", "fedadam", "this version accepts 'fedavg' or 'fedavgm'"),
        ("aggregation", "weighting", "size", "this version accepts 'uniform', 'examples' or 'public'"),
        ("aggregation", "max_examples", 0, "must be at least 1"),
        ("aggregation", "momentum", 1, "must be less than 1"),
        ("aggregation", "server_learning_rate", 0, "must be greater than 0"),
        ("encoding", "clip_norm", -1.0, "must be at least 1e-30"),
        ("encoding", "precision", 0, "must be greater than 0"),
        ("encoding", "group", {}, "a list is expected, and a table came"),
        ("metrics", "loss", 3, "a table is expected, and 3 came"),
        ("protection", "kind", "BFV", "this version accepts 'masks', 'bfv', 'ckks' or 'none'"),
        ("protection", "recompute", 1, "true or false is expected, and 1 came"),
        ("privacy", "unit", "record", "this version accepts 'none', 'example' or 'client'"),
        ("privacy", "sigma", 8.0, "is not a key this version knows"),
    ],
)
def test_a_bad_field_is_named_in_plain_words(section: str, field: str, value: object, says: str) -> None:
    (only,) = refused(section, **{field: value}).items()
    assert only[0] == f"{section}.{field}"
    assert says in only[1]


def test_a_section_that_is_no_table_is_named() -> None:
    assert problems('cohort = 3\nrun = "x"') == {
        "cohort": "a table is expected, and 3 came ()",
        "run": 'a table is expected, and "x" came ()',
    }


def test_more_survivors_than_clients_is_a_contradiction() -> None:
    assert "no round could ever open" in refused("cohort", min_survivors=11)["cohort.min_survivors"]


@pytest.mark.parametrize(("colluders", "dropouts"), [(0.1, 0.45), (0.6, 0.2), (0.0, 0.5)])
def test_two_quorums_that_could_share_no_honest_client_are_refused(colluders: float, dropouts: float) -> None:
    found = refused("cohort", colluders=colluders, dropouts=dropouts)
    assert "must exceed colluders" in found["cohort.dropouts"]


def test_shares_are_compared_as_they_were_written_not_as_floats() -> None:
    assert 1 - 2 * 0.35 > 0.3 - 1e-16  # in floats this is 0.30000000000000004
    assert "cohort.dropouts" in refused("cohort", colluders=0.3, dropouts=0.35)
    Plan(**changed("cohort", colluders=0.29, dropouts=0.35, max_clients=1000))


def test_a_plan_without_masks_has_no_quorum_to_contradict() -> None:
    document = changed("cohort", colluders=0.5, dropouts=0.5) | {"protection": {"kind": "none"}}
    assert Plan(**document).protection.kind == "none"


def test_a_semi_honest_plan_must_outnumber_its_colluders_by_two() -> None:
    found = refused("cohort", adversary="semi-honest", max_clients=100, min_survivors=11)
    assert "at least 12" in found["cohort.min_survivors"]
    Plan(**changed("cohort", adversary="semi-honest", max_clients=100, min_survivors=12))
    assert "cohort.dropouts" in refused("cohort", adversary="semi-honest", colluders=0.5, dropouts=0.5)


def test_the_tolerated_colluders_are_counted_exactly() -> None:
    for share, clients, expected in [
        (0.1, 10, 1),
        (0.1, 11, 2),
        (0.07, 100, 7),
        (0.0, 10, 0),
        (0.29, 100, 29),
    ]:
        plan = Plan(**changed("cohort", colluders=share, max_clients=clients))
        assert policy_of(plan).c == expected


def test_a_rounding_step_as_large_as_a_norm_is_refused() -> None:
    found = refused("encoding", precision=1.0, group=[{"match": "a", "clip_norm": 0.5}])
    assert set(found) == {"encoding.clip_norm", "encoding.group.0.clip_norm"}


def test_two_groups_with_one_pattern_are_refused() -> None:
    group = {"match": "a*", "clip_norm": 1.0}
    assert set(refused("encoding", group=[group, group])) == {"encoding.group.1.match"}


def test_a_broken_field_silences_only_the_rules_that_read_it() -> None:
    assert set(refused("cohort", max_clients="x", min_survivors=99)) == {"cohort.max_clients"}
    found = refused("cohort", max_clients="x", dropouts=0.5)
    assert set(found) == {"cohort.max_clients", "cohort.dropouts"}


def test_equal_plans_give_equal_bytes_however_they_were_written() -> None:
    short = Plan.parse(MINIMAL)
    spelled = Plan.parse(
        'cohort = { max_clients = 10, join_deadline = "600s", min_rate = "1000kB/s", dropouts = 0.20 }\n'
        'encoding.clip_norm = 1\nrun.rounds = 20\nrun.name = "digits"\n'
    )
    assert short == spelled
    assert hash(short) == hash(spelled)
    assert short.to_json() == spelled.to_json()
    assert short.digest == spelled.digest
    assert len(short.digest) == 32


def test_the_digest_of_a_plan_is_a_known_answer() -> None:
    assert (
        Plan.parse(MINIMAL).digest.hex() == "a2addd463b7e6a1214590a0ca222ef32b63e4eb9631adcb11bcd260f744b3b6a"
    )


def test_any_difference_makes_another_plan_and_another_digest() -> None:
    plan, other = Plan.parse(WHOLE), Plan.parse(WHOLE.replace("epochs = 2", "epochs = 2.0"))
    assert plan != other
    assert plan.digest != other.digest
    assert plan != "plan"


def test_canonical_json_is_sorted_compact_and_complete() -> None:
    text = Plan.parse(WHOLE).to_json()
    document = json.loads(text)
    assert json.dumps(document, sort_keys=True, separators=(",", ":")) == text
    assert document["training"] == {"epochs": 2, "local": ["head.*"]}
    assert document["cohort"]["join_deadline"] == "10m"
    assert document["aggregation"]["momentum"] == 0.9


scalars = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(codec="utf-8"), max_size=8)
configs = st.dictionaries(
    texts.filter(lambda key: key != "local"),
    st.recursive(
        scalars | texts, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
    ),
    max_size=4,
)


@given(
    config=configs,
    precision=st.floats(1e-15, 0.99),
    interval=st.floats(0, 1e6).map(lambda x: round(x, 3)),
    metrics=st.dictionaries(
        st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True), st.just({"min": 0, "max": 1}), max_size=3
    ),
)
def test_a_plan_survives_json_and_toml_to_the_last_bit(
    config: dict[str, Any], precision: float, interval: float, metrics: dict[str, Any]
) -> None:
    document = changed("encoding", precision=precision) | {"training": config, "metrics": metrics}
    document["run"]["interval"] = f"{interval:.3f}s"
    plan = Plan(**document)
    assert Plan.from_json(plan.to_json()).to_json() == plan.to_json()
    assert Plan.parse(plan.to_toml()).to_json() == plan.to_json()
    assert plan.task_config() == config


def test_a_plan_cannot_be_changed_and_what_it_hands_out_is_a_copy() -> None:
    plan = Plan.parse(WHOLE)
    with pytest.raises(ValidationError):
        plan.cohort = plan.cohort  # type: ignore[misc]
    with pytest.raises(ValidationError):
        plan.cohort.max_clients = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        plan.metrics["loss"] = plan.metrics["loss"]  # type: ignore[index]
    plan.task_config()["epochs"] = 99
    assert plan.task_config() == {"epochs": 2}


def test_a_plan_can_be_copied_and_sent_to_another_process() -> None:
    plan = Plan.parse(WHOLE)
    assert pickle.loads(pickle.dumps(plan)) == plan
    assert copy.deepcopy(plan) is plan
    assert copy.copy(plan) is plan


def test_python_values_without_a_toml_spelling_are_refused() -> None:
    assert "is a bytes" in refused("training", key=b"x")["training.key"]
    assert "a key that is not a string" in refused("training", table={1: 2})["training.table"]
    assert refused("training", empty=None)["training.empty"] == "is null (leave the key out)"


def test_a_full_cohort_that_could_never_lose_as_many_as_expected_is_refused_with_what_it_can_lose() -> None:
    found = refused("cohort", max_clients=10, min_survivors=9, dropouts=0.2)
    assert "2 of 10 clients may vanish, and 9 must stay" in found["cohort.dropouts"]
    Plan(**changed("cohort", max_clients=10, min_survivors=9, dropouts=0.1))


def test_colluders_that_leave_no_threshold_are_refused_with_the_nearest_cohort_that_has_one() -> None:
    found = refused("cohort", max_clients=3, colluders=0.5, dropouts=0.0)
    assert "at least 4 clients" in found["cohort.max_clients"]


def test_a_sum_that_could_wrap_in_the_widest_ring_is_refused() -> None:
    assert "2^52 steps" in refused("encoding", precision=1e-15, clip_norm=100.0)["encoding.precision"]


# -- homomorphic summation --------------------------------------------------------------------------------

HONEST = {"max_clients": 10, "colluders": 0.0}


def homomorphic(kind: str = "bfv", *, recompute: bool = False, **cohort: Any) -> dict[str, Any]:
    """With `recompute`, against a server that may lie."""
    protection = {"kind": kind} | ({"recompute": True} if recompute else {})
    adversary = "malicious" if recompute else "semi-honest"
    return changed("cohort", **HONEST | {"adversary": adversary} | cohort) | {"protection": protection}


def refusals(document: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(PlanError) as caught:
        Plan(**document)
    assert all(problem.hint for problem in caught.value.problems)
    return {problem.path: f"{problem.message} ({problem.hint})" for problem in caught.value.problems}


@pytest.mark.parametrize("kind", ["bfv", "ckks"])
@pytest.mark.parametrize("recompute", [False, True])
def test_a_homomorphic_plan_survives_toml_and_json(kind: str, recompute: bool) -> None:
    plan = Plan(**homomorphic(kind, recompute=recompute))
    assert plan.protection.homomorphic and bool(plan.protection.recompute) == recompute
    assert Plan.parse(plan.to_toml()) == Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize("kind", ["masks", "none"])
def test_nothing_is_recomputed_where_no_ciphertexts_are_summed(kind: str) -> None:
    document = changed("cohort") | {"protection": {"kind": kind, "recompute": True}}
    assert refusals(document)["protection.recompute"] == (
        f'is true, and kind is "{kind}" (kind = "bfv" or "ckks", or leave it out)'
    )


def test_recompute_that_is_false_says_what_leaving_it_out_says() -> None:
    said = homomorphic() | {"protection": {"kind": "bfv", "recompute": False}}
    assert Plan(**said) == Plan(**homomorphic())
    assert Plan(**said).digest == Plan(**homomorphic()).digest


@pytest.mark.parametrize("kind", ["bfv", "ckks"])
def test_only_with_recompute_does_a_homomorphic_plan_take_on_a_malicious_server(kind: str) -> None:
    found = refusals(homomorphic(kind, adversary="malicious"))
    assert set(found) == {"cohort.adversary"}
    assert "nobody notices what the server added" in found["cohort.adversary"]
    assert "recompute = true" in found["cohort.adversary"]
    Plan(**homomorphic(kind, recompute=True))


@pytest.mark.parametrize("kind", ["bfv", "ckks"])
def test_recompute_is_refused_where_the_server_is_assumed_not_to_lie(kind: str) -> None:
    """It lets a decryptor open every update, and buys nothing there but that."""
    found = refusals(homomorphic(kind, recompute=True, adversary="semi-honest"))
    assert set(found) == {"cohort.adversary"}
    assert "any one decryptor can open every update" in found["cohort.adversary"]
    assert 'adversary = "malicious", or no recompute' in found["cohort.adversary"]


@pytest.mark.parametrize("recompute", [False, True])
def test_a_homomorphic_plan_tolerates_no_colluder_and_promises_none(recompute: bool) -> None:
    found = refusals(homomorphic(recompute=recompute, colluders=0.1))
    assert set(found) == {"cohort.colluders"}
    assert "any one decryptor" in found["cohort.colluders"] and "masks" in found["cohort.colluders"]
    del (default := homomorphic(recompute=recompute))["cohort"]["colluders"]
    assert set(refusals(default)) == {"cohort.colluders"}


def test_ciphertexts_of_at_most_32_clients_are_added_by_their_decryptors() -> None:
    Plan(**homomorphic(recompute=True, max_clients=32))
    found = refusals(homomorphic(recompute=True, max_clients=33))
    assert set(found) == {"cohort.max_clients"} and "at most 32" in found["cohort.max_clients"]
    Plan(**homomorphic(max_clients=33))


def test_a_ring_that_ckks_cannot_add_exactly_is_refused_with_what_can() -> None:
    fine = {"encoding": {"precision": 1e-11}}
    assert 'kind = "bfv"' in refusals(homomorphic("ckks") | fine)["encoding.precision"]
    Plan(**homomorphic("bfv") | fine)


def test_every_contradiction_of_a_homomorphic_plan_is_listed_at_once() -> None:
    document = homomorphic("ckks", adversary="malicious", colluders=0.2, min_survivors=11)
    found = refusals(document | {"encoding": {"precision": 1e-11}})
    assert set(found) == {
        "cohort.adversary",
        "cohort.colluders",
        "cohort.min_survivors",
        "encoding.precision",
    }


def test_dropouts_do_not_bind_a_homomorphic_plan() -> None:
    """There is no threshold to keep: whoever uploaded may be gone."""
    Plan(**homomorphic(dropouts=0.9))
