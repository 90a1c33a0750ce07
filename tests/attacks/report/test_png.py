"""Images as PNG, read back by another decoder."""

import base64
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from secagg_attacks.report.png import data_uri, grid, png


@given(arrays(np.uint8, st.tuples(st.sampled_from([1, 3]), st.integers(1, 9), st.integers(1, 9))))
def test_another_decoder_reads_the_same_pixels(pixels):
    read = np.asarray(Image.open(io.BytesIO(png(pixels / 255.0))))
    expected = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
    assert np.array_equal(read, expected)


def test_what_lies_outside_of_black_and_white_is_clipped():
    image = np.array([[[-3.0, 0.5, np.nan, 7.0]]])
    read = np.asarray(Image.open(io.BytesIO(png(image))))
    assert read.tolist() == [[0, 128, 0, 255]]


@pytest.mark.parametrize("shape", [(8, 8), (2, 8, 8), (1, 1, 8, 8)])
def test_what_is_no_image_is_refused(shape):
    with pytest.raises(ValueError, match="an image of shape"):
        png(np.zeros(shape))


def test_a_data_uri_holds_the_png():
    image = np.eye(4)[None]
    head, body = data_uri(image).split(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(body) == png(image)


def test_a_grid_stands_side_by_side_with_white_between():
    whole = grid(np.zeros((3, 1, 2, 2)))
    assert whole.shape == (1, 2, 8)
    assert whole[0, 0].tolist() == [0, 0, 1, 0, 0, 1, 0, 0]
