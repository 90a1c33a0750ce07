"""A config that a table wrote, read back to play it again."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg_attacks.matrix.again import other_versions, read_config
from secagg_attacks.matrix.config import QUICK, THOROUGH, Config, begin, versions
from secagg_attacks.matrix.errors import MatrixError

CONFIG = Config(
    7, "digits", 60.0, ("none", "masks"), ("loss-sum", "lira-sum"), QUICK, versions(), "ab" * 32, "a:b"
)


def written(folder, config=CONFIG):
    begin(config, folder)
    return folder / "config.json"


@pytest.mark.parametrize("change", [{}, {"budget": None}, {"scale": THOROUGH}, {"source": ""}, {"budget": 5}])
def test_a_config_is_read_as_it_was_written(tmp_path, change):
    config = replace(CONFIG, **change)
    assert read_config(written(tmp_path, config)) == config


def test_its_budget_may_be_edited(tmp_path):
    path = written(tmp_path)
    path.write_text(path.read_text().replace('"budget": 60.0', '"budget": 90'))
    assert read_config(path) == replace(CONFIG, budget=90.0)


@pytest.mark.parametrize(
    "name", ["seed", "defences", "attacks", "scale", "versions", "target_digest", "digest"]
)
def test_a_config_that_lacks_something_is_refused(tmp_path, name):
    path = written(tmp_path)
    document = json.loads(path.read_text())
    del document[name]
    path.write_text(json.dumps(document))
    with pytest.raises(MatrixError) as refused:
        read_config(path)
    assert refused.value.code == "matrix-config"


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ('"seed": 7', '"seed": 8'),
        ('"steps": 300', '"steps": 301'),
        ('"loss-sum"', '"rmia-sum"'),
        ("matrix/1", "matrix/0"),
    ],
)
def test_a_config_that_was_changed_is_refused(tmp_path, was, now):
    path = written(tmp_path)
    assert was in path.read_text()
    path.write_text(path.read_text().replace(was, now))
    with pytest.raises(MatrixError, match="was changed since") as refused:
        read_config(path)
    assert refused.value.code == "matrix-config"


@given(st.binary(max_size=40) | st.sampled_from([b"[]", b"{}", b"3", b'{"seed": []}', b"null"]))
def test_bytes_that_are_no_config_are_refused_by_name(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "no-config.json"
    path.write_bytes(data)
    with pytest.raises(MatrixError, match="is no config of a table") as refused:
        read_config(path)
    assert refused.value.code == "matrix-config"


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path):
    with pytest.raises(MatrixError, match="No such file") as refused:
        read_config(tmp_path / "config.json")
    assert refused.value.code == "matrix-config"


def test_packages_of_other_versions_are_listed_and_those_of_the_same_are_not():
    before = tuple((name, "0.1" if name == "torch" else number) for name, number in versions())
    (other,) = other_versions(replace(CONFIG, versions=(*before, ("abacus", "1"))))[:1]
    assert other == f"torch 0.1, here {dict(versions())['torch']}"
    assert other_versions(replace(CONFIG, versions=(("abacus", "1"),))) == ("abacus 1, here none",)
    assert other_versions(CONFIG) == ()
