"""The table of breast masses."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from secagg.errors import MissingExtraError
from secagg_attacks.data.errors import DataError
from secagg_attacks.data.tabular import CLASSES, FEATURES, breast_cancer


def test_every_column_has_mean_0_and_deviation_1() -> None:
    data = breast_cancer()

    assert (data.x.shape, data.x.dtype) == ((569, FEATURES), np.float32)
    assert np.allclose(data.x.mean(axis=0), 0, atol=1e-5)
    assert np.allclose(data.x.std(axis=0), 1, atol=1e-5)
    assert np.bincount(data.y, minlength=CLASSES).tolist() == [212, 357]


def test_the_share_asked_for_is_flipped_to_the_other_class() -> None:
    data = breast_cancer(0.2, seed=1)

    assert (data.y != data.clean).sum() == round(0.2 * 569)
    assert data.clean.tolist() == breast_cancer().y.tolist()
    assert data.y.tolist() == breast_cancer(0.2, seed=1).y.tolist()
    assert data.y.tolist() != breast_cancer(0.2, seed=2).y.tolist()


def test_a_share_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(DataError) as refused:
        breast_cancer(1.5)

    assert refused.value.code == "flipped-invalid"


def test_without_scikit_learn_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)

    with pytest.raises(MissingExtraError) as missing:
        breast_cancer()

    assert "secagg[attacks]" in missing.value.hint
