"""privacy.json says what a run's ledger, plan and metrics say, in the committed schema's form."""

from __future__ import annotations

import json
import math
import sqlite3
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg import report
from secagg.errors import RunError
from secagg.plan import Plan
from secagg.plan_settings import deltas_of
from secagg.privacy.accountant import spent
from secagg.report.figures import bound, counted, guess, guess_bound, left
from secagg.runs import Run
from tests.report.runs import CLIENT, COHORT, KINDS, LOCAL, MODEL, plan_of, played

SCHEMA = jsonschema.Draft202012Validator(
    json.loads((files("secagg.report") / "privacy.schema.json").read_text())
)


def made(path: Path) -> dict[str, Any]:
    """The document of a run directory, held against the schema on the way."""
    document = report.document(report.read(path))
    SCHEMA.validate(json.loads(report.as_json(document)))
    return document


def unit_of(document: dict[str, Any], name: str) -> dict[str, Any]:
    (unit,) = [unit for unit in document["units"] if unit["unit"] == name]
    return unit


# The schema


def test_the_schema_is_one_and_admits_nothing_it_does_not_name():
    jsonschema.Draft202012Validator.check_schema(SCHEMA.schema)
    objects = []

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if "properties" in node and "if" not in node:
                objects.append(node)
            for inner in node.values():
                walk(inner)
        elif isinstance(node, list):
            for inner in node:
                walk(inner)

    walk(SCHEMA.schema["$defs"])
    assert len(objects) > 20
    assert all(node["additionalProperties"] is False for node in objects)
    assert all(sorted(node["required"]) == sorted(node["properties"]) for node in objects)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", ["finished", "going on", "lost", "failed"])
def test_the_document_of_every_kind_of_run_is_valid_and_verified(kind, ending, tmp_path):
    extra: dict[str, Any] = {
        "finished": {},
        "going on": {"rounds": 2, "finished": False},
        "lost": {"lost": 3},
        "failed": {"failed": 2},
    }[ending]
    path = played(tmp_path, plan_of(kind), **extra)
    document = report.write(path)
    SCHEMA.validate(json.loads((path / "privacy.json").read_bytes()))
    assert report.verify(path).findings == ()
    opened = {"finished": 5, "going on": 2, "lost": 3, "failed": 4}[ending]
    assert document["run"]["rounds_opened"] == opened


def test_a_value_that_the_schema_does_not_know_is_refused_by_it(tmp_path):
    document = made(played(tmp_path, plan_of("client")))
    for change in ({"surplus": 1}, {"format": 2}, {"attacks": {}}, {"claim": []}):
        assert not SCHEMA.is_valid({**document, **change})
    document["units"][0]["epsilon"]["public"]["epsilon"] = -1.0
    assert not SCHEMA.is_valid(document)


def test_the_same_directory_gives_the_same_bytes(tmp_path):
    path = played(tmp_path, plan_of("adaptive"))
    first = [report.as_json(made(path)), report.html(made(path)), report.markdown(made(path))]
    assert first == [report.as_json(made(path)), report.html(made(path)), report.markdown(made(path))]


# Epsilon


@pytest.mark.parametrize("kind", ["client", "skellam", "small ring", "central", "adaptive", "poisson"])
def test_epsilon_is_that_of_the_opened_rows_and_no_others(kind, tmp_path):
    plan = plan_of(kind)
    path = played(tmp_path, plan, failed=2)
    with sqlite3.connect(path / "ledger.sqlite") as ledger:
        (rows,) = ledger.execute("SELECT count(*) FROM ledger WHERE state = 'opened'").fetchone()
    record = report.read(path)
    uses = [row.use for row in record.spent]
    assert len(uses) == rows == 4 * len(record.rows) // 6  # two attempts of round 2 opened nothing
    unit = unit_of(made(path), "client")
    for audience in ("public", "server", "colluders"):
        expected = spent(uses, deltas_of(plan)["client"], audience)  # type: ignore[arg-type]
        entry = unit["epsilon"][audience]
        assert entry["epsilon"] == (expected.epsilon if math.isfinite(expected.epsilon) else None)
        assert entry["accountant"] == expected.accountant and entry["upper_bound"]


def test_a_round_that_was_opened_and_lost_counts(tmp_path):
    plan = plan_of("client")
    lost = unit_of(made(played(tmp_path / "a", plan, lost=3)), "client")
    whole = unit_of(made(played(tmp_path / "b", plan, rounds=3)), "client")
    assert lost["epsilon"] == whole["epsilon"]
    assert [total["round"] for total in lost["after_round"]] == [1, 2, 3]


def test_epsilon_grows_from_round_to_round_and_ends_where_the_run_does(tmp_path):
    unit = unit_of(made(played(tmp_path, plan_of("client"))), "client")
    for audience in ("public", "server", "colluders"):
        course = [total[audience] for total in unit["after_round"]]
        assert course == sorted(course) and len(set(course)) == 5
        assert course[-1] == unit["epsilon"][audience]["epsilon"]
    assert unit["epsilon"]["public"]["epsilon"] < unit["epsilon"]["colluders"]["epsilon"]


def test_a_long_run_shows_sixty_totals_the_first_and_the_last_among_them(tmp_path):
    document = made(played(tmp_path, plan_of("client", 62)))
    course = unit_of(document, "client")["after_round"]
    assert len(course) == 60 and (course[0]["round"], course[-1]["round"]) == (1, 62)
    assert len(document["rounds"]["list"]) == 62


def test_central_noise_proves_nothing_against_the_server(tmp_path):
    document = made(played(tmp_path, plan_of("central")))
    epsilon = unit_of(document, "client")["epsilon"]
    assert (epsilon["server"]["epsilon"], epsilon["server"]["says"]) == (None, "none")
    assert (epsilon["colluders"]["epsilon"], epsilon["colluders"]["guess"]) == (None, None)
    assert epsilon["public"]["epsilon"] > 0
    assert "against the server nothing is proven" in document["claim"][0]


def test_both_units_are_reported_each_at_its_own_delta(tmp_path):
    document = made(played(tmp_path, plan_of("both")))
    assert [unit["unit"] for unit in document["units"]] == ["example", "client"]
    assert unit_of(document, "example")["asserted"] and not unit_of(document, "client")["asserted"]
    assert len(document["claim"]) == 3


def test_the_epsilon_of_examples_is_the_target_and_is_said_to_be_asserted(tmp_path):
    document = made(played(tmp_path, plan_of("example")))
    unit = unit_of(document, "example")
    assert {entry and entry["epsilon"] for entry in unit["epsilon"].values()} == {LOCAL["epsilon"], None}
    assert unit["adjacency"]["name"] == "add/remove"
    assert "each client asserts that for itself" in document["claim"][0]
    assert "own ledger" in " ".join(document["limits"])


def test_a_metric_beside_private_training_rests_on_others_noise_and_the_claim_says_whose(tmp_path):
    alone = made(played(tmp_path, plan_of("example")))["claim"][0]
    shared = made(played(tmp_path, plan_of("example and metrics")))["claim"][0]
    central = made(played(tmp_path, plan_of("central, both and metrics")))["claim"][1]
    assert "the server and all other clients" in alone and "colludes" not in alone
    assert "the server and any 1 of its" in shared and "colludes" in shared
    assert "but not what the server sees" in central and "kept from nothing" not in central


def test_without_a_unit_the_claim_is_that_nothing_is_proven(tmp_path):
    document = made(played(tmp_path, plan_of("none")))
    assert document["units"] == [] and document["claim"][0].startswith("Nothing is proven")
    assert document["learns"][0]["party"] == "the server" and "masks" in document["learns"][0]["hidden"]


def test_a_run_that_opened_nothing_released_nothing(tmp_path):
    document = made(played(tmp_path, plan_of("client"), rounds=1, failed=1))
    assert document["claim"] == [
        "No sum was opened in this run: nothing that a client computed from its data was released."
    ]
    assert unit_of(document, "client")["epsilon"]["colluders"]["epsilon"] == 0


# What was asserted, spent and left


def test_the_noise_is_that_of_the_ledger_at_the_norm_of_each_round(tmp_path):
    document = made(played(tmp_path, plan_of("adaptive")))
    (update,) = [used for used in unit_of(document, "client")["mechanisms"] if used["query"] == "update"]
    assert update["rounds"] == "1-5" and update["uses"] == 5
    rounds = document["rounds"]["list"]
    ratio = [entry["noise"] / entry["clip_norm"] for entry in rounds]
    assert ratio == pytest.approx([ratio[0]] * 5)
    assert [entry["clip_norm"] for entry in rounds] == pytest.approx([math.exp(0.05 * k) for k in range(5)])
    assert update["noise_multiplier"] == pytest.approx(ratio[0], rel=1e-3)  # rounding lengthens a little
    assert [entry["unclipped"] for entry in rounds] == [0.25] * 5


def test_the_noise_in_the_sum_is_the_plans_multiplier_times_the_norm(tmp_path):
    document = made(played(tmp_path, plan_of("client")))
    assert document["rounds"]["list"][0]["noise"] == pytest.approx(CLIENT["noise_multiplier"])
    assert document["encoding"]["honest_contributors"] == 5


def test_the_budget_says_what_is_left_and_that_it_ended_the_run(tmp_path):
    plan = plan_of("budget")
    document = made(played(tmp_path, plan, rounds=3))
    budget = unit_of(document, "client")["budget"]
    assert document["run"]["ended"] == "budget exhausted"
    colluders = unit_of(document, "client")["epsilon"]["colluders"]["epsilon"]
    assert budget["left"] == pytest.approx(2.0 - colluders) and budget["ends_the_run"]
    assert made(played(tmp_path, plan, rounds=2, finished=False))["run"]["ended"] == "not yet"


def test_counts_under_poisson_sampling_stay_out_of_the_report(tmp_path):
    path = played(tmp_path, plan_of("poisson"))
    document = made(path)
    assert document["rounds"]["counts_private"] and "nobody knows" in document["rounds"]["why"]
    assert all(entry["cohort"] is entry["survivors"] is None for entry in document["rounds"]["list"])
    amplified = unit_of(document, "client")["epsilon"]["amplified"]["epsilon"]
    assert amplified < unit_of(document, "client")["epsilon"]["public"]["epsilon"]
    assert any("only if" in sentence for sentence in document["claim"])
    other = played(tmp_path, plan_of("poisson"), survivors=(9, 8, 7, 9, 8))
    assert {**made(other), "run": {}} == {**document, "run": {}}  # not even a digest tells the counts


def test_names_and_counts_are_in_the_ledgers_digest_elsewhere(tmp_path):
    first = made(played(tmp_path, plan_of("client")))
    other = made(played(tmp_path, plan_of("client"), survivors=(9, 8, 7, 9, 8)))
    assert first["digests"]["ledger"] != other["digests"]["ledger"]
    assert first["digests"]["metrics"] != other["digests"]["metrics"]
    assert first["digests"]["plan"] == other["digests"]["plan"]


@pytest.mark.parametrize("masked", [True, False])
def test_a_simulation_is_called_one(masked, tmp_path):
    document = made(played(tmp_path, plan_of("client"), simulated={"masked": masked}))
    assert document["run"]["simulated"] and document["run"]["protected"] == masked
    assert any("simulation" in sentence for sentence in document["claim"])
    assert any("nothing was masked" in sentence for sentence in document["claim"]) != masked
    assert ("masks" in document["learns"][0]["hidden"].split(":")[-1]) and (
        document["learns"][0]["hidden"].startswith("nothing") != masked
    )


def test_a_simulation_without_masks_says_whose_epsilon_against_the_server_it_is(tmp_path):
    document = made(played(tmp_path, plan_of("client"), simulated={"masked": False}))
    assert unit_of(document, "client")["epsilon"]["server"]["epsilon"] > 0
    server = document["learns"][0]["sees"]
    assert "hides nothing" not in server
    assert "epsilon against the server is that of the same run with them" in server
    assert "left out the masks" in report.markdown(document)
    for kind, twice in (("central", False), ("example and metrics", True), ("none", False)):
        other = made(played(tmp_path, plan_of(kind), simulated={"masked": False}))
        assert "left out the masks" in other["learns"][0]["sees"]
        assert ("epsilon against the server" in other["learns"][0]["sees"]) == twice


def test_a_plan_without_masks_is_never_said_to_have_any(tmp_path):
    tables = {**KINDS["central"], "protection": {"kind": "none"}}
    plan = Plan(run={"name": "open", "rounds": 5}, cohort=COHORT, **tables)
    document = made(played(tmp_path, plan, simulated={"masked": False}))
    said = " ".join((*document["claim"], *document["limits"]))
    assert "simulation" in said and "mask" not in said
    assert document["learns"][0]["sees"] == "every client's vector by itself; this run hides nothing from it"
    assert unit_of(document, "client")["epsilon"]["server"]["epsilon"] is None


def test_a_simulation_without_figures_speaks_of_none(tmp_path):
    document = made(played(tmp_path, plan_of("none"), simulated={"masked": True}))
    assert document["claim"][1] == "This was a simulation: one process held the data of every client."


@pytest.mark.parametrize("kind", KINDS)
def test_a_sum_can_wrap_where_clients_add_noise_and_nowhere_else(kind, tmp_path):
    plan = plan_of(kind)
    document = made(played(tmp_path, plan))
    shares = plan.privacy.placement == "distributed" or kind == "example and metrics"
    assert (document["encoding"]["wrap"] != "impossible") == shares
    assert any("wraps" in limit for limit in document["limits"]) == shares
    assert any("honest clients" in limit for limit in document["limits"]) == shares
    noised = shares or plan.privacy.placement == "central"
    assert any("samplers" in limit for limit in document["limits"]) == noised


# Files


def test_the_report_is_written_while_the_run_is_open(tmp_path):
    plan = plan_of("client")
    with Run.create(tmp_path, plan, MODEL) as run:
        assert report.write(run.path) == json.loads((run.path / "privacy.json").read_bytes())
        assert (run.path / "report.html").read_text().startswith("<!doctype html>")


def test_a_folder_without_a_run_is_no_run(tmp_path):
    with pytest.raises(RunError) as caught:
        report.read(tmp_path)
    assert caught.value.code == "run-missing"


def test_a_run_under_another_plan_than_it_began_with_is_refused(tmp_path):
    path = played(tmp_path, plan_of("client"))
    other = (path / "plan.toml").read_text().replace("noise_multiplier = 4.0", "noise_multiplier = 9.0")
    (path / "plan.toml").write_text(other)
    with pytest.raises(RunError) as caught:
        report.write(path)
    assert caught.value.code == "run-other-plan"
    assert not (path / "privacy.json").exists()


@pytest.mark.parametrize("gone", ["ledger.sqlite", "checkpoints/round-0005.safetensors"])
def test_a_run_that_lost_a_file_is_damaged(gone, tmp_path):
    path = played(tmp_path, plan_of("client"))
    for file in path.glob(gone.replace("0005", "*")):
        file.unlink()
    with pytest.raises(RunError) as caught:
        report.read(path)
    assert caught.value.code == "run-damaged"


def test_reading_leaves_the_directory_as_it_was(tmp_path):
    path = played(tmp_path, plan_of("client"))
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    made(path)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


QUICK = """
import json, sys
from secagg import report
report.write(sys.argv[1])
print(json.dumps(sorted(name.partition(".")[0] for name in sys.modules)))
"""


def test_the_report_of_a_run_without_privacy_loads_no_accountant(tmp_path):
    path = played(tmp_path, plan_of("none"))
    done = subprocess.run(
        [sys.executable, "-c", QUICK, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not {"scipy", "dp_accounting", "torch", "grpc"} & set(json.loads(done.stdout))
    assert (path / "report.html").is_file()


# Figures


@given(epsilon=st.floats(0, 60), delta=st.floats(0, 0.5))
def test_the_best_guess_is_never_understated(epsilon, delta):
    right = guess_bound(epsilon, delta)
    assert 0.5 <= right <= 1
    said = guess(epsilon, delta)
    assert said is None or float(said.removesuffix(" %")) / 100 >= right - 1e-12
    assert said is not None or right > 0.999998


@given(st.floats(1e-6, 1e6))
def test_an_epsilon_is_rounded_up_to_four_digits(epsilon):
    said = float(bound(epsilon))
    assert epsilon <= said <= epsilon * 1.0011


@given(st.floats(1e-6, 1e6))
def test_what_is_left_is_rounded_down_to_four_digits(epsilon):
    said = float(left(epsilon))
    assert epsilon / 1.0011 <= said <= epsilon


def test_one_is_counted_as_one():
    assert [counted(count, "use") for count in (0, 1, 2)] == ["0 uses", "1 use", "2 uses"]


def test_the_best_guess_at_no_privacy_loss_is_a_coins():
    assert guess_bound(0.0, 0.0) == 0.5 and guess(0.0, 0.0) == "50.0 %"
    assert guess_bound(math.log(3), 0.0) == pytest.approx(0.75)
