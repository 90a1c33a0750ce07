"""One table in a folder at a time."""

import pytest

from secagg_attacks.matrix.alone import alone_in
from secagg_attacks.matrix.errors import MatrixError


def test_a_second_table_in_the_same_folder_is_refused_until_the_first_is_over(tmp_path):
    folder = tmp_path / "new" / "table"
    with alone_in(folder), pytest.raises(MatrixError, match="another command") as refused, alone_in(folder):
        pass
    assert refused.value.code == "matrix-in-use"
    with alone_in(folder), alone_in(tmp_path), alone_in(None):
        assert not any(folder.iterdir())


def test_a_file_where_the_folder_should_be_is_said(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(MatrixError) as refused, alone_in(tmp_path / "taken"):
        pass
    assert refused.value.code == "matrix-out"
