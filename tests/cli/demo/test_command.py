"""The demonstration as a user runs it, in processes of its own; and that it leaves none behind."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import psutil
import pytest
from click.testing import CliRunner

from secagg.cli import main
from secagg.cli.demo import setting
from secagg.cli.demo.digits import digits
from secagg.cli.demo.federation import VICTIM
from secagg.credentials import Credentials
from secagg.weights import load

ROUNDS = 4
PICTURES = ("accuracy", "masked", "update", "attack")


def command(out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "secagg", "demo", "--out", str(out), *more]


def started(out: Path, *more: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command(out, *more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A whole demo: what it printed, and its folder. Ends with nobody left of its processes."""
    out = tmp_path_factory.mktemp("whole") / "demo"
    done = subprocess.run(command(out, "--rounds", str(ROUNDS)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert not [process for process in psutil.process_iter(["cmdline"]) if str(out) in _words(process)]
    return done.stdout, out


def _words(process: psutil.Process) -> str:
    return " ".join(process.info["cmdline"] or ())


def test_every_round_is_told_beside_the_pooled_model_and_the_client_alone(demo):
    lines = [line for line in demo[0].splitlines() if line.startswith("round ") and "in the sum" in line]
    assert len(lines) == ROUNDS
    for line in lines:
        for part in ("federated", "pooled", "alone"):
            assert f"{part} " in line and line.count("%") == 3


def test_the_round_of_the_killing_is_opened_over_the_four_that_are_left(demo):
    said, out = demo
    result = json.loads((out / "result.json").read_text())
    killed = result["killed"]
    assert killed["client"] == VICTIM and killed["stage"] == "mask" and killed["survivors"] == 4
    broken = result["rounds"][killed["round"] - 1]
    assert (broken["code"], broken["cohort"], broken["survivors"]) == ("", 5, 4)
    assert f"{VICTIM} is killed (SIGKILL) in round {killed['round']}" in said
    assert f"round {killed['round']} finished by recovery, over 4 of 5" in said


def test_the_log_of_the_server_names_who_vanished_and_at_which_stage(demo):
    result = json.loads((demo[1] / "result.json").read_text())
    entries = [json.loads(line) for line in (Path(result["run_dir"]) / "log.jsonl").read_text().splitlines()]
    named = [(entry["stage"], entry["client"]) for entry in entries if entry["event"] in ("late", "refused")]
    assert ("mask", VICTIM) in named and {client for _, client in named} == {VICTIM}
    assert result["killed"]["logged"] in demo[0]


def test_the_final_model_comes_home_to_all_who_stayed_and_is_the_servers(demo):
    _, out = demo
    result = json.loads((out / "result.json").read_text())
    assert set(setting.NAMES) - {VICTIM} <= set(result["home"])
    models = [load(out / "machines" / name / "final.safetensors") for name in result["home"]]
    for model in models:
        assert setting.test_accuracy(model) == pytest.approx(result["rounds"][-1]["accuracy"])


def test_the_pictures_are_whole_documents_and_the_page_holds_all_of_them(demo):
    _, out = demo
    page = (out / "index.html").read_text()
    for name in PICTURES:
        svg = (out / f"{name}.svg").read_text()
        assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
        assert svg in page
    assert "<script" not in page and "src=" not in page and "href=" not in page


def test_the_attack_reads_the_update_and_not_what_the_server_held(demo):
    result = json.loads((demo[1] / "result.json").read_text())
    figures = result["figures"]
    assert figures["masked"]["p_value"] > 1e-6 > figures["update"]["p_value"]
    assert figures["attack"]["update_right_fraction"] == 1
    assert figures["attack"]["update_mse"] < 1e-6 < figures["attack"]["chance_mse"]
    assert figures["attack"]["masked_right_fraction"] < 0.7
    assert result["same_model_without_masks"] is True


def test_every_party_has_a_machine_of_its_own_and_the_authoritys_key_is_on_no_others(demo):
    machines = demo[1] / "machines"
    assert {path.name for path in machines.iterdir()} == {"authority", "aggregator", *setting.NAMES}
    keys = [path.relative_to(machines).parts[0] for path in machines.rglob("authority-key.pem")]
    assert keys == ["authority"]
    assert Credentials.load(machines / "aggregator" / "credentials").warnings == ()


def test_it_ends_with_what_it_does_not_show_and_how_long_it_took(demo):
    *_, caveat, _, seconds = demo[0].splitlines()
    assert "Nothing is proven here" in caveat and "differential privacy" in caveat
    assert seconds.endswith(" s in all")


def test_a_second_demo_replaces_the_first_and_leaves_what_is_not_its_own(demo):
    _, out = demo
    before = (out / "machines" / "authority" / "credentials" / "authority.pem").read_bytes()
    (out / "notes.txt").write_text("mine")
    done = subprocess.run(
        command(out, "--rounds", "1", "--seed", "7", "--json"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["seed"] == 7 and [closed["survivors"] for closed in result["rounds"]] == [4]
    assert (out / "notes.txt").read_text() == "mine"
    assert (out / "machines" / "authority" / "credentials" / "authority.pem").read_bytes() != before


@pytest.mark.parametrize(("ending", "after"), [(signal.SIGINT, "round "), (signal.SIGKILL, "aggregator on ")])
def test_a_demo_that_is_stopped_leaves_no_process(tmp_path, ending, after):
    with started(tmp_path / "demo", "--rounds", "10") as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith(after):
            assert process.poll() is None
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 6
        os.kill(process.pid, ending)
        _, complaint = process.communicate(timeout=20)
        assert psutil.wait_procs(children, timeout=20)[1] == []
    if ending is not signal.SIGKILL:
        assert process.returncode == 128 + ending
        assert complaint.startswith("stopped; no process is left")


def test_a_folder_with_anything_else_in_it_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    done = CliRunner().invoke(main, ["demo", "--out", str(tmp_path), "--json"])
    assert done.exit_code == 1 and json.loads(done.stdout)["error"] == "demo-folder"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_without_scikit_learn_it_says_what_to_install_and_makes_nothing(tmp_path, monkeypatch):
    digits.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    done = CliRunner().invoke(main, ["demo", "--out", str(tmp_path / "demo"), "--json"])
    assert done.exit_code == 2
    assert json.loads(done.stdout)["hint"] == "install it with: pip install 'secagg[demo]'"
    assert not (tmp_path / "demo").exists()
