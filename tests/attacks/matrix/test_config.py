"""What is written beside a table, and when a table can be gone on with."""

import json
from dataclasses import replace

import pytest

from secagg_attacks.matrix.config import (
    MOST_SEED,
    QUICK,
    THOROUGH,
    Config,
    begin,
    check_seed,
    is_quick,
    scale_for,
    versions,
)
from secagg_attacks.matrix.errors import MatrixError

CONFIG = Config(0, "digits", 60.0, ("none", "masks"), ("loss-sum",), QUICK, versions(), "ab" * 32)


@pytest.mark.parametrize(
    ("budget", "scale"), [(60.0, QUICK), (299.9, QUICK), (300.0, THOROUGH), (None, THOROUGH)]
)
def test_the_scale_follows_from_the_budget(budget, scale):
    assert scale_for(budget) == scale
    assert is_quick(budget) == (scale == QUICK)


def test_a_table_is_gone_on_with_under_another_budget(tmp_path):
    assert not begin(CONFIG, tmp_path)
    assert not begin(CONFIG, tmp_path)
    assert begin(replace(CONFIG, budget=120.0), tmp_path)
    assert not begin(replace(CONFIG, budget=60.0), tmp_path)
    assert begin(replace(CONFIG, budget=None), tmp_path)
    assert not begin(replace(CONFIG, budget=120.0), tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert (written["budget"], written["seed"], written["defences"]) == (120.0, 0, ["none", "masks"])
    assert dict(written["versions"]).keys() >= {"torch", "numpy", "secagg"}


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"defences": ("none",)},
        {"scale": THOROUGH},
        {"target": "mine"},
        {"target_digest": "cd" * 32},
        {"source": "mine:target"},
    ],
)
def test_another_table_is_refused_where_one_was_begun(tmp_path, change):
    begin(CONFIG, tmp_path)
    with pytest.raises(MatrixError) as refused:
        begin(replace(CONFIG, **change), tmp_path)
    assert refused.value.code == "matrix-other-config"
    assert refused.value.message.endswith(f"of another table: another {next(iter(change))}")


@pytest.mark.parametrize("text", ["[", "[]", "{}", "[" * 10**5], ids=["cut", "list", "empty", "deep"])
def test_a_config_that_cannot_be_read_is_another_one(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(MatrixError, match="another table: it cannot be read"):
        begin(CONFIG, tmp_path)


@pytest.mark.parametrize(
    "budget",
    ["soon", "60", [60], {}, True, 0, -1, float("nan"), float("inf"), 10**400],
    ids=lambda given: repr(given)[:9],
)
def test_a_budget_there_that_is_no_time_makes_it_another_table(tmp_path, budget):
    begin(CONFIG, tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "budget": budget}))
    with pytest.raises(MatrixError, match="of another table: its budget is no time") as refused:
        begin(CONFIG, tmp_path)
    assert refused.value.code == "matrix-other-config"


def test_a_file_in_place_of_the_folder_is_refused_by_name(tmp_path):
    (tmp_path / "out").write_text("a note")
    with pytest.raises(MatrixError) as refused:
        begin(CONFIG, tmp_path / "out")
    assert refused.value.code == "matrix-out"
    assert str(tmp_path / "out") in refused.value.message


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan"), float("inf"), "60s", True])
def test_a_budget_is_a_time(budget):
    with pytest.raises(MatrixError) as refused:
        replace(CONFIG, budget=budget)
    assert refused.value.code == "matrix-budget"


@pytest.mark.parametrize("seed", [-1, 2**31, 2**64 - 1, 1.0, True, "1", None])
def test_a_seed_is_a_whole_number_that_leaves_room_for_those_made_of_it(seed):
    check_seed(0)
    check_seed(MOST_SEED)
    with pytest.raises(MatrixError) as refused:
        check_seed(seed)
    assert refused.value.code == "matrix-seed"
