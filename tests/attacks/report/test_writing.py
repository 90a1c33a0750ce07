"""The three files of a table, and a disk that does not take them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from secagg_attacks.matrix.attacks import COLUMNS
from secagg_attacks.matrix.errors import MatrixError
from secagg_attacks.report import document, html, write
from tests.attacks.report.whole_table import of

ATTACKS = ("analytic", "cosine-upload", "audit")
DEFENCES = ("none", "masks")


def test_the_three_files_are_of_the_same_table(tmp_path):
    outcome = of(ATTACKS, DEFENCES)
    path = write(outcome, tmp_path / "new" / "folder")
    written = json.loads((path.parent / "results.json").read_text())
    assert written == json.loads(json.dumps(document(outcome)))
    with np.load(path.parent / "scores.npz", allow_pickle=False) as scores:
        assert bytes(scores["config"].astype(np.uint8)).hex() == written["config"]["digest"]
        for row in DEFENCES:
            assert f"{row}/cosine-upload/scores" in scores.files
        assert scores["none/cosine-upload/scores"].shape == scores["none/cosine-upload/is_member"].shape
    assert path.read_text() == html(outcome)


def test_the_document_says_of_each_attack_what_it_is_given_and_its_method():
    written = document(of(ATTACKS, DEFENCES))
    assert {each["attack"] for each in written["findings"]} == set(ATTACKS)
    for each in written["attacks"]:
        column = COLUMNS[each["name"]]
        assert (each["seen"], each["method"]) == (column.seen, column.method)
    assert all(each["method"] for each in written["findings"] if each["status"] == "measured")


def test_a_folder_that_is_a_file_is_refused_by_name(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MatrixError, match="no table can be written to") as refused:
        write(of(ATTACKS, DEFENCES), tmp_path / "file")
    assert refused.value.code == "matrix-out" and refused.value.hint


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_full_disk_is_refused_by_name(tmp_path):
    for name in ("scores.npz", "results.json", "report.html"):
        (tmp_path / f".{name}.part").symlink_to("/dev/full")
    with pytest.raises(MatrixError, match="No space left") as refused:
        write(of(ATTACKS, DEFENCES), tmp_path)
    assert refused.value.code == "matrix-out"
    assert [path.name for path in tmp_path.iterdir() if not path.is_symlink()] == []
