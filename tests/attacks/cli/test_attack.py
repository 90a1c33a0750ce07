"""`secagg attack`, called as the command calls it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner

from secagg.cli.group import Lazy, LazyGroup
from secagg_attacks.cli.group import attack
from secagg_attacks.matrix.again import read_config
from secagg_attacks.matrix.config import begin

MODULE = """
from dataclasses import replace

import numpy as np
import torch
from secagg_attacks import Target
from torch import nn

rng = np.random.default_rng(0)
images, labels = rng.random((300, 1, 4, 4)).astype("float32"), rng.integers(0, 3, 300)


def made():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3))
    return Target(model, (images[:200], labels[:200]), (images[200:], labels[200:]), name="mine")


mine = made()


def nothing():
    return 3


def broken():
    def fit(x, y, seed):
        raise ValueError("no beds left for Anna")

    return replace(mine, fit=fit)
"""


SMALL = ("--defence", "masks", "--attack", "loss-sum", "--budget", "20s", "--target", "attacked:mine")


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    (tmp_path / "attacked.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield tmp_path
    sys.modules.pop("attacked", None)


def call(*arguments: Any) -> Any:
    group = LazyGroup("secagg", lazy=[Lazy("attack", "secagg_attacks.cli", "")])
    return CliRunner().invoke(group, ["attack", *map(str, arguments)])


def test_there_are_four_commands():
    names = attack.list_commands(click.Context(attack))
    assert set(names) == {"inversion", "membership", "audit", "matrix"}
    for name in names:
        done = call(name, "--help")
        assert done.exit_code == 0
        for option in (
            "--defence",
            "--attack",
            "--budget",
            "--seed",
            "--json",
            "--out",
            "--target",
            "--config",
        ):
            assert option in done.stdout


def test_torch_is_loaded_once_a_command_has_begun():
    code = "import sys, secagg_attacks.cli; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_without_torch_a_command_says_how_to_install_it(tmp_path):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('there is none', name='torch')")
    done = subprocess.run(
        [sys.executable, "-m", "secagg", "attack", "matrix"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 2
    assert "error [extra-missing]: this needs torch" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_table_says_verdict_figure_and_chance_and_each_note_once_and_writes_its_report(here):
    done = call("membership", *SMALL, "--out", "out")
    assert done.exit_code == 0, done.output
    assert "masks: accuracy" in done.stdout and "chance 0.5" in done.stdout
    assert done.stdout.splitlines()[-1] == "out/report.html"
    notes = [line for line in done.stdout.splitlines() if line.startswith("note: ")]
    assert len(notes) == len(set(notes)) >= 1
    assert any(line.startswith("note: Loss, sum (none, masks): ") for line in notes)
    assert all(len(line) <= 110 for line in notes)
    assert {path.name for path in (here / "out").iterdir()} == {
        "cells",
        "config.json",
        "report.html",
        "results.json",
        "scores.npz",
    }
    config = json.loads((here / "out" / "config.json").read_text())
    assert (config["target"], config["source"]) == ("mine", "attacked:mine")
    assert len(config["target_digest"]) == 64


def test_why_attacks_are_none_is_said_once_and_whole_in_lines_of_the_terminal(here, monkeypatch):
    monkeypatch.setitem(sys.modules, "tenseal.sealapi", None)
    monkeypatch.setenv("COLUMNS", "60")
    three = ("--attack", "loss-sum", "--attack", "lira-sum", "--attack", "norm-upload")
    done = call("membership", "--defence", "bfv", "--defence", "ckks", *three, *SMALL[4:])
    assert done.exit_code == 0, done.output
    assert " ".join(done.stdout.split()).count("hint: install it with: pip install 'secagg[he]'") == 1
    assert done.stdout.count("not applicable\n") == 6
    assert all(len(line) <= 60 for line in done.stdout.partition("note: ")[2].splitlines())


def test_with_json_it_is_one_object_on_one_line(here):
    done = call("membership", *SMALL, "--budget", "10ms", "--json")
    (line,) = done.stdout.splitlines()
    written = json.loads(line)
    assert written["format"] == "secagg-attacks/1"
    assert {each["defence"] for each in written["findings"]} == {"none", "masks"}
    assert [each["name"] for each in written["attacks"]] == ["loss-sum"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--defence", "hope"], "defence-unknown"),
        (["--attack", "telepathy"], "attack-unknown"),
        (["--attack", "loss-sum"], "attack-unknown"),
        (["--config", "attacked.py"], "matrix-config"),
        (["--target", "attacked:nothing"], "target-missing"),
        (["--target", "attacked:labels"], "target-missing"),
        (["--target", "nowhere:made"], "function-module-missing"),
        (["--target", "attacked:absent"], "function-missing"),
        (["--budget", "soon"], "usage"),
        (["--budget", "0s"], "matrix-budget"),
        (["--seed", "-1"], "usage"),
        (["--seed", str(2**31)], "usage"),
    ],
)
def test_what_is_asked_wrongly_is_exit_code_2_with_its_code(here, arguments, code):
    done = call("audit", "--json", *arguments)
    assert done.exit_code == 2, done.output
    assert json.loads(done.stdout)["error"] == code


def test_a_fit_that_raises_ends_the_command_with_exit_code_1_and_nothing_is_kept_of_it(here):
    arguments = ("membership", *SMALL[:-1], "attacked:broken", "--out", "o")
    done = call(*arguments)
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.startswith(
        "error [target-training]: the target's own training failed: ValueError: no "
    )
    assert done.stderr.count("no beds left for Anna") == 1
    assert list((here / "o" / "cells").iterdir()) == []
    assert not (here / "o" / "report.html").exists()


def test_a_bound_that_beats_its_account_is_exit_code_5(here):
    """The cell of an earlier call says so: what is there is gone on with."""
    arguments = (
        "audit",
        "--defence",
        "masks-client-50",
        "--attack",
        "audit",
        "--budget",
        "30s",
        "--target",
        "attacked:mine",
        "--out",
        "o",
    )
    first = call(*arguments)
    assert first.exit_code == 0, first.output
    (cell,) = (
        path
        for path in (here / "o" / "cells").glob("*.json")
        if (known := json.loads(path.read_text())).get("attack") == "audit"
        and known["defence"] == "masks-client-50"
    )
    document = json.loads(cell.read_text())
    document["more"]["accounted epsilon"] = 0.0
    document["more"]["epsilon at least, at 99.9 %"] = 0.5
    cell.write_text(json.dumps(document))
    again = call(*arguments)
    assert again.exit_code == 5
    assert "FAILURE: masks-client-50: epsilon is at least 0.5 and is accounted as 0" in again.stderr
    assert 'role="alert"' in (here / "o" / "report.html").read_text()


def test_another_seed_does_not_go_on_with_a_table(here):
    assert (
        call(
            "audit", "--defence", "none", "--budget", "20s", "--target", "attacked:mine", "--out", "o"
        ).exit_code
        == 0
    )
    done = call(
        "audit", "--defence", "none", "--target", "attacked:mine", "--out", "o", "--seed", "1", "--json"
    )
    assert (done.exit_code, json.loads(done.stdout)["error"]) == (2, "matrix-other-config")


def results(folder):
    """What a table found, without its times."""
    document = json.loads((folder / "results.json").read_text())
    cells = [
        {name: value for name, value in each.items() if name not in ("seconds", "share", "view")}
        for each in document["findings"]
    ]
    return cells, [{**each, "seconds": 0, "view": ""} for each in document["rows"]]


def test_a_table_is_played_again_from_its_config_and_comes_out_the_same(here):
    first = call("matrix", *SMALL, "--attack", "lira-sum", "--seed", "5", "--out", "one")
    again = call("matrix", "--config", "one/config.json", "--out", "two")
    assert (first.exit_code, again.exit_code) == (0, 0), again.output
    assert again.stdout.splitlines()[:-1] == first.stdout.splitlines()[:-1]
    assert again.stderr == ""
    assert results(here / "two") == results(here / "one")
    one, two = (np.load(here / name / "scores.npz") for name in ("one", "two"))
    assert set(one.files) == set(two.files) and len(one.files) > 6
    assert all(np.array_equal(one[name], two[name]) for name in one.files)
    assert (here / "one" / "config.json").read_text() == (here / "two" / "config.json").read_text()


def test_options_beside_a_config_come_before_what_it_says(here):
    assert call("audit", *SMALL[:2], "--budget", "10ms", *SMALL[-2:], "--out", "one").exit_code == 0
    done = call("audit", "--config", "one/config.json", "--seed", "2", "--defence", "bfv", "--out", "two")
    assert done.exit_code == 0
    before, after = (json.loads((here / name / "config.json").read_text()) for name in ("one", "two"))
    assert (after["seed"], after["defences"]) == (2, ["none", "bfv"])
    for name in ("attacks", "budget", "scale", "source", "target_digest"):
        assert after[name] == before[name]


def test_a_config_of_other_versions_is_played_with_a_warning(here):
    assert call("audit", "--budget", "10ms", *SMALL[-2:], "--out", "one").exit_code == 0
    config = read_config(here / "one" / "config.json")
    begin(replace(config, versions=(("torch", "0.1"),)), here / "old")
    done = call("audit", "--config", "old/config.json")
    assert done.exit_code == 0
    assert "warning: old/config.json was played with torch 0.1, here " in done.stderr


def test_a_config_whose_target_is_another_by_now_is_refused(here):
    assert call("audit", "--budget", "10ms", *SMALL[-2:], "--out", "one").exit_code == 0
    config = read_config(here / "one" / "config.json")
    begin(replace(config, target_digest="cd" * 32), here / "changed")
    begin(replace(config, source="", target="scans"), here / "given")
    for name, says in (("changed", "attacked:mine gives another target"), ("given", "'scans', and does not")):
        done = call("audit", "--config", f"{name}/config.json", "--json")
        error = json.loads(done.stdout)
        assert (done.exit_code, error["error"]) == (2, "matrix-config")
        assert says in error["message"]
        assert call("audit", "--config", f"{name}/config.json", *SMALL[-2:]).exit_code == 0
