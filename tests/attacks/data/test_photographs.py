"""The crops: fixed for a seed, none of them flat, each where it says it is."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from secagg.errors import MissingExtraError
from secagg_attacks.data.digits import DataError
from secagg_attacks.data.photographs import PHOTOGRAPHS, SIDE, photographs
from secagg_attacks.images.chance import best_constant


def test_ten_crops_are_images_of_three_channels_from_0_to_1() -> None:
    crops = photographs(10)

    assert (crops.x.shape, crops.x.dtype) == ((10, 3, SIDE, SIDE), np.float32)
    assert crops.x.min() >= 0 and crops.x.max() <= 1
    assert set(crops.y.tolist()) <= {0, 1}


def test_the_same_seed_gives_the_same_crops_and_another_seed_others() -> None:
    one, again, other = photographs(10, 0), photographs(10, 0), photographs(10, 1)

    assert one.corners.tolist() == again.corners.tolist()
    assert one.x.tobytes() == again.x.tobytes()
    assert one.corners.tolist() != other.corners.tolist()


def test_no_crop_is_drawn_twice() -> None:
    crops = photographs(200)

    assert len({(int(y), *corner) for y, corner in zip(crops.y, crops.corners.tolist(), strict=True)}) == 200


def test_a_crop_is_the_photograph_at_its_corner() -> None:
    from sklearn.datasets import load_sample_image

    crops = photographs(3, seed=5)
    for crop, which, (row, column) in zip(crops.x, crops.y, crops.corners, strict=True):
        pixels = load_sample_image(PHOTOGRAPHS[which])[row : row + SIDE, column : column + SIDE]
        assert np.array_equal(np.round(crop.transpose(1, 2, 0) * 255), pixels)


def test_a_constant_colour_comes_within_27_db_of_none() -> None:
    assert best_constant(photographs(100).x).psnr.max() < 27


@pytest.mark.parametrize("count", [0, -1, 521])
def test_more_crops_than_there_are_is_refused(count: int) -> None:
    with pytest.raises(DataError) as refused:
        photographs(count)

    assert refused.value.code == "crops-invalid"


@pytest.mark.parametrize(("module", "package"), [("PIL", "Pillow"), ("sklearn.datasets", "scikit-learn")])
def test_a_missing_package_is_named_with_its_fix(
    module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(MissingExtraError) as missing:
        photographs(1)

    assert package in missing.value.message
    assert "secagg[attacks]" in missing.value.hint
