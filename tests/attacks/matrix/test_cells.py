"""A cell on the disk: whole, or played again."""

import numpy as np

from secagg_attacks.matrix.cells import cell_path, read_cell, write_cell
from secagg_attacks.matrix.config import QUICK, Config, versions
from tests.attacks.measured import measured

CONFIG = Config(0, "digits", 60.0, ("none", "masks"), ("loss-sum",), QUICK, versions(), "ab" * 32)
ARRAYS = {"scores": np.arange(6.0).reshape(2, 3), "is_member": np.array([[True, False, True]] * 2)}


def test_a_cell_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "cell.json"
    write_cell(path, (measured(), ARRAYS))
    measurement, arrays = read_cell(path)
    assert measurement == measured()
    assert all(np.array_equal(arrays[name], array) for name, array in ARRAYS.items())


def test_what_is_absent_torn_or_of_another_cell_is_none(tmp_path):
    path = tmp_path / "cell.json"
    assert read_cell(path) is None
    write_cell(path, (measured(), ARRAYS))
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert read_cell(path) is None
    path.write_bytes(whole)
    write_cell(tmp_path / "other.json", (measured(), {}))
    path.with_suffix(".npz").write_bytes((tmp_path / "other.npz").read_bytes())
    assert read_cell(path) is None
    path.with_suffix(".npz").unlink()
    assert read_cell(path) is None


def test_every_cell_has_a_file_of_its_own(tmp_path):
    paths = {
        cell_path(tmp_path, CONFIG, row, attack)
        for row in ("none", "masks")
        for attack in ("loss-sum", "lira-sum")
    }
    assert len(paths) == 4
