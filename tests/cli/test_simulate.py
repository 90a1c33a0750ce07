"""`secagg simulate`: a whole run in one command."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file


@pytest.fixture
def simulate(secagg, here):
    def call(clients, *more, plan="plan.toml"):
        return secagg("simulate", plan, "--clients", clients, "--weights", "init.safetensors", *more)

    return call


def objects(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_run_is_a_line_per_round_and_a_model(simulate, here):
    done = simulate("lines:three", "--evaluate", "lines:evaluate", "--out", "final.safetensors")
    assert done.exit_code == 0, done.output
    first, second, last = done.stdout.splitlines()
    assert "round 1 of 2: 3 of 3 clients in the sum, loss 0.1235; evaluation: distance" in first
    assert "round 2 of 2" in second
    assert "final.safetensors" in last
    assert np.linalg.norm(load_file(here / "final.safetensors")["w"]) > 0.1


def test_with_json_it_is_an_object_per_line(simulate, here):
    *rounds, finished = objects(simulate("lines:three", "--json", "--runs", "kept"))
    assert [one["round"] for one in rounds] == [1, 2]
    assert rounds[0]["survivors"] == rounds[0]["cohort"] == 3
    assert rounds[0]["metrics"]["loss"] == pytest.approx(0.1234, abs=1e-3)
    assert finished["event"] == "finished"
    assert finished["masked"] is True
    assert (here / finished["run_dir"] / "metrics.jsonl").is_file()


def test_without_masks_it_says_so(simulate):
    assert "without masks" in simulate("lines:three", "--no-masks").stdout
    assert objects(simulate("lines:three", "--no-masks", "--json"))[-1]["masked"] is False


def test_over_ciphertexts_it_says_so_and_the_model_is_the_one_it_is_without_them(simulate, here):
    done = simulate("lines:three", "--out", "summed.safetensors", plan="ciphers.toml")
    assert done.exit_code == 0, done.output
    assert "the run is over, over bfv ciphertexts; the final model" in done.stdout
    assert "mask" not in done.stdout
    bare = simulate("lines:three", "--no-masks", "--out", "bare.safetensors", plan="ciphers.toml")
    assert "the run is over, without bfv ciphertexts; the final model" in bare.stdout
    one, other = (load_file(here / f"{name}.safetensors")["w"] for name in ("summed", "bare"))
    assert np.max(np.abs(one - other)) < 1e-5  # each client rounds as chance has it


def test_with_json_the_protection_is_named(simulate):
    def told(*arguments, **plan):
        last = objects(simulate("lines:three", "--json", *arguments, **plan))[-1]
        return last["masked"], last["protection"]

    assert told() == (True, "masks")
    assert told("--no-masks") == (False, "none")
    assert told(plan="ciphers.toml") == (False, "bfv")
    assert told("--no-masks", plan="ciphers.toml") == (False, "none")


def test_clients_may_have_names(simulate, here):
    (here / "named.toml").write_text(
        (here / "plan.toml").read_text().replace("[cohort]", '[cohort]\nclients = ["hospital-*"]')
    )
    assert simulate("lines:named", plan="named.toml").exit_code == 0
    done = simulate("lines:three", plan="named.toml")
    assert done.exit_code == 2
    assert "[clients-too-few]" in done.stderr
    assert "client-0" in done.stderr


def test_too_few_clients_are_counted_before_anything_runs(simulate):
    done = simulate("lines:two")
    assert done.exit_code == 2
    assert "a round needs 3" in done.stderr


def test_what_are_no_functions_is_refused(simulate):
    done = simulate("lines:numbers")
    assert done.exit_code == 2
    assert "[clients-not-functions]" in done.stderr


def test_a_train_function_that_raises_ends_it_with_its_traceback(simulate):
    done = simulate("lines:all_failing")
    assert done.exit_code == 1
    assert "no scanner today" in done.stderr
    assert "[train-failed]" in done.stderr


def test_an_evaluation_that_raises_is_named(simulate):
    done = simulate("lines:three", "--evaluate", "lines:failing")
    assert done.exit_code == 1
    assert "[function-raised]: lines:failing raised ValueError" in done.stderr


def test_a_run_that_never_moves_the_model_has_failed(simulate, here):
    plan = here / "plan.toml"
    plan.write_text(plan.read_text() + '[aggregation]\nweighting = "examples"\n')
    done = simulate("lines:nobodys")
    assert done.exit_code == 1
    assert "no client in the sum had any examples [example-weight-zero]" in done.stdout
    assert "[run-without-sum]" in done.stderr


@pytest.mark.parametrize(
    ("weights", "code"),
    [
        ({"w": np.zeros(3, dtype=np.int64)}, "weights-empty"),
        (None, "weights-malformed"),
    ],
)
def test_a_model_that_cannot_be_averaged_is_refused_at_the_start(simulate, here, weights, code):
    if weights is None:
        (here / "init.safetensors").write_text("not a model")
    else:
        save_file(weights, here / "init.safetensors")
    done = simulate("lines:three")
    assert done.exit_code == 2
    assert f"[{code}]: init.safetensors" in done.stderr


def test_where_the_model_goes_is_checked_before_the_run(simulate):
    done = simulate("lines:three", "--out", "nowhere/final.safetensors")
    assert done.exit_code == 2
    assert "'nowhere' is not there" in done.stderr


def test_a_missing_file_is_a_usage_error(simulate):
    assert simulate("lines:three", plan="nothing.toml").exit_code == 2


def test_under_a_unit_the_last_line_says_what_it_cost(simulate):
    done = simulate("lines:three", plan="private.toml")
    assert done.exit_code == 0, done.output
    last = done.stdout.splitlines()[-1]
    against = "against the server and the colluders that the plan tolerates"
    cost = f"epsilon 1.03 at delta 0.001 for one client, {against}"
    assert cost in last
    assert "epsilon" not in simulate("lines:three").stdout


def test_with_json_the_cost_is_told_for_each_audience(simulate):
    finished = objects(simulate("lines:three", "--json", plan="private.toml"))[-1]
    account = finished["epsilon"]["client"]
    assert account["delta"] == 1e-3
    assert 0 < account["public"] == account["server"] < account["colluders"] < 1.04
    assert finished["exhausted"] is False
    assert objects(simulate("lines:three", "--json"))[-1]["epsilon"] == {}


def test_where_the_server_adds_the_noise_nothing_is_said_to_be_proven_against_it(simulate, here):
    central = here / "central.toml"
    central.write_text((here / "private.toml").read_text().replace("distributed", "central"))
    last = simulate("lines:three", plan="central.toml").stdout.splitlines()[-1]
    assert "against the public, and none against the server" in last
    account = objects(simulate("lines:three", "--json", plan="central.toml"))[-1]["epsilon"]["client"]
    assert account["public"] > 0 and account["server"] is None and account["colluders"] is None


def test_a_budget_that_is_used_up_ends_with_3_and_the_model_is_there(simulate, here):
    done = simulate("lines:three", "--out", "final.safetensors", "--runs", "kept", plan="budget.toml")
    assert done.exit_code == 3, done.output
    assert "the plan's epsilon is used up after round 1 of 2" in done.stdout
    assert np.linalg.norm(load_file(here / "final.safetensors")["w"]) > 0


def test_a_round_that_was_not_drawn_says_so(simulate, here):
    """Three of three must be drawn. That no round of thirty is skipped, or all are: once in ten million."""
    drawing = here / "drawing.toml"
    cohort = 'min_survivors = 3\ncolluders = 0.0\nsampling = "poisson"\nrate = 0.75\npopulation = 4\n'
    drawing.write_text((here / "private.toml").read_text().replace("[cohort]\n", f"[cohort]\n{cohort}"))
    drawing.write_text(drawing.read_text().replace("rounds = 2", "rounds = 30"))
    done = simulate("lines:three", "--no-masks", plan="drawing.toml")
    assert done.exit_code == 0, done.output
    assert "no new model: too few clients were drawn [too-few-drawn]" in done.stdout


def test_a_budget_below_one_round_is_a_plan_that_is_refused(simulate, here):
    poor = here / "poor.toml"
    poor.write_text((here / "budget.toml").read_text().replace("epsilon = 1.0", "epsilon = 0.1"))
    done = simulate("lines:three", "--out", "final.safetensors", plan="poor.toml")
    assert done.exit_code == 2, done.output
    assert "one round alone costs" in done.stderr and "more noise" in done.stderr
    assert not (here / "final.safetensors").exists()
