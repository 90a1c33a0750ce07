"""Which images a page opens with, and how many of a strip."""

import numpy as np

from secagg_attacks.report.pictures import best_of_uploads, strip, strips, three_pictures
from tests.attacks.report.whole_table import COLUMNS, of


def test_it_opens_with_the_true_image_the_bare_one_and_ours():
    true, bare, ours = three_pictures(of(("inverting", "mean-2"), ("none", "none-example-8", "masks")))
    assert true.words == "A client's image"
    assert "without protection" in bare.words
    assert "under masks:" in ours.words
    assert true.uri == bare.uri != ours.uri


def test_a_mean_is_no_upload_and_noise_alone_protects_none():
    assert best_of_uploads(of(("mean-2",), ("none", "masks"))) is None
    assert three_pictures(of(("inverting",), ("none", "none-example-8"))) == ()
    assert three_pictures(of(("audit",), ("none", "masks"))) == ()


def test_a_strip_has_eight_small_images_or_fewer_large_ones():
    small, large = strip("s", np.zeros((9, 1, 8, 8))), strip("l", np.zeros((9, 3, 64, 64)))
    assert (small.width, large.width) == (480, 60)
    assert strip("m", np.zeros((9, 3, 32, 32))).width == 120


def test_strips_show_the_clients_images_once_and_then_each_defence():
    shown = strips(of(("inverting",), ("none", "masks")), COLUMNS["inverting"])
    assert [each.words for each in shown] == [
        "the clients' images",
        "none: 31.5 dB, leaks",
        "masks: 9.1 dB, at chance",
    ]
    assert strips(of(("audit",), ("none",)), COLUMNS["audit"]) == ()
