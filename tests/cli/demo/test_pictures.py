"""The three pictures: whole documents, true figures."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from secagg.cli.demo.pictures import Picture, attack_picture, masked_picture, update_picture
from tests.cli.demo.victim import Victim, victim

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def target() -> Victim:
    return victim()


def pictures(target: Victim) -> list[Picture]:
    return [
        masked_picture(target.masked, target.bits, "hospital-1"),
        update_picture(target.update, target.bits, "hospital-1"),
        attack_picture(target.example, target.update, target.masked, target.bits, target.layout),
    ]


def words(picture: Picture) -> list[str]:
    return [text.text or "" for text in ElementTree.fromstring(picture.svg).iter(f"{SVG}text")]


def test_each_is_one_titled_document_that_fetches_nothing(target: Victim) -> None:
    for picture in pictures(target):
        root = ElementTree.fromstring(picture.svg)
        assert root.tag == f"{SVG}svg" and root.get("viewBox") == "0 0 640 480"
        assert root.findtext(f"{SVG}title") == words(picture)[0]
        assert "href" not in picture.svg and "url(" not in picture.svg and "<script" not in picture.svg


def test_the_histograms_share_an_axis_and_name_it(target: Victim) -> None:
    masked, update, _ = pictures(target)
    for picture in (masked, update):
        assert {"coordinates", "value of a coordinate, modulo 2²⁶", "−2²⁵", "0", "2²⁵"} <= set(words(picture))


def test_the_masked_vector_is_consistent_with_uniform_and_the_update_is_not(target: Victim) -> None:
    masked, update, _ = pictures(target)
    assert masked.figures["p_value"] > 1e-4 and "consistent with uniform noise" in masked.sentence
    assert update.figures["p_value"] < 1e-99 and "anything but uniform" in update.sentence


def test_a_mask_that_failed_is_called_by_its_name(target: Victim) -> None:
    assert "NOT uniform" in masked_picture(target.update, target.bits, "hospital-1").sentence


def test_the_attack_prints_its_score_beside_chance(target: Victim) -> None:
    attack = pictures(target)[2]
    assert attack.figures["update_mse"] < 1e-8 < attack.figures["chance_mse"] < attack.figures["masked_mse"]
    assert attack.figures["chance_mse"] == pytest.approx(float(target.example.var()), rel=1e-5)
    assert attack.figures["update_right_fraction"] == 1 and "64 of 64 pixels" in words(attack)
    assert "worse than a plain square" in attack.sentence
    assert {"The example", "Bare update", "Masked update"} <= set(words(attack))


def test_the_attack_draws_the_example_twice_and_noise_once(target: Victim) -> None:
    root = ElementTree.fromstring(pictures(target)[2].svg)
    example, bare, masked = (
        [square.get("fill") for square in group.iter(f"{SVG}rect")] for group in root.iter(f"{SVG}g")
    )
    assert len(example) == 64 and example == bare != masked


def test_wide_rings_are_drawn_as_well() -> None:
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 1 << 40, 3000, dtype=np.uint64)
    assert "2³⁹" in words(masked_picture(wide, 40, "a"))
    narrow = rng.integers(0, 4, 3000, dtype=np.uint64)
    assert "anything but uniform" in update_picture(narrow, 40, "a").sentence


def test_a_name_with_markup_stays_text(target: Victim) -> None:
    assert words(masked_picture(target.masked, target.bits, "<b>&"))[0] == "What the server held of <b>&"


def test_a_picture_is_written_under_its_name(target: Victim, tmp_path: Path) -> None:
    for picture in pictures(target):
        path = picture.write(tmp_path)
        assert path == tmp_path / f"{picture.name}.svg"
        assert path.read_text(encoding="utf-8") == picture.svg
