"""The demo's folder: nobody else's files are lost to it."""

from pathlib import Path

import pytest

from secagg.cli.demo.folder import made_fresh
from secagg.errors import RunError


def refused(folder: Path) -> str:
    with pytest.raises(RunError) as caught, made_fresh(folder):
        pass
    return caught.value.code


def test_a_new_or_an_empty_folder_is_taken(tmp_path):
    for folder in (tmp_path / "a" / "b", tmp_path / "a" / "b"):
        with made_fresh(folder):
            assert folder.is_dir()
    (tmp_path / "empty").mkdir()
    with made_fresh(tmp_path / "empty"):
        pass


def test_an_earlier_demos_machines_and_pages_are_removed_and_nothing_else(tmp_path):
    with made_fresh(tmp_path):
        (tmp_path / "machines" / "hospital-1").mkdir(parents=True)
        (tmp_path / "index.html").touch()
        (tmp_path / "notes.txt").touch()
    with made_fresh(tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == {".secagg-demo", "notes.txt"}


def test_a_link_in_the_place_of_the_machines_is_removed_and_not_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept.txt").touch()
    with made_fresh(tmp_path / "demo"):
        (tmp_path / "demo" / "machines").symlink_to(tmp_path / "elsewhere")
    with made_fresh(tmp_path / "demo"):
        assert not (tmp_path / "demo" / "machines").exists()
    assert (tmp_path / "elsewhere" / "kept.txt").exists()


def test_a_folder_that_is_not_an_earlier_demos_is_refused(tmp_path):
    (tmp_path / "machines").mkdir()
    assert refused(tmp_path) == "demo-folder"
    assert (tmp_path / "machines").is_dir()


def test_a_file_in_its_place_is_refused(tmp_path):
    (tmp_path / "demo").touch()
    assert refused(tmp_path / "demo") == "demo-folder"


def test_two_demos_do_not_share_a_folder(tmp_path):
    with made_fresh(tmp_path):
        (tmp_path / "machines").mkdir()
        assert refused(tmp_path) == "demo-running"
        assert (tmp_path / "machines").is_dir()
