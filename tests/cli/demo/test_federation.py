"""The first act, where it goes wrong; and what is drawn of it where it goes right."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from secagg.cli.demo.audiences import Baselines, Nobody
from secagg.cli.demo.curve import accuracy_picture
from secagg.cli.demo.federation import Federation, Killing, Round, federation, kill_round
from secagg.cli.demo.folder import AGGREGATOR, furnish, machine
from secagg.cli.demo.page import page
from secagg.errors import RunError

SVG = "{http://www.w3.org/2000/svg}"


def played(accuracies: list[float | None]) -> Federation:
    rounds = tuple(
        Round(number, "", 5, 4 if number == 2 else 5, 0.1, accuracy)
        for number, accuracy in enumerate(accuracies, 1)
    )
    return Federation(rounds, Killing("hospital-3", 2, "mask", "late", 4, 3), ("hospital-1",), Path("runs"))


def test_the_killing_is_in_a_round_that_the_run_has():
    assert [kill_round(rounds) for rounds in (1, 2, 4, 20, 200)] == [1, 1, 2, 5, 5]


def test_an_aggregator_that_cannot_start_is_told_with_the_place_of_its_log(tmp_path):
    furnish(tmp_path, seed=0, rounds=1)
    host = machine(tmp_path, AGGREGATOR)
    (host.credentials / "certificate.pem").unlink()
    with pytest.raises(RunError) as caught:
        federation(tmp_path, 0, 1, Nobody())
    assert caught.value.code == "demo-aggregator" and str(host.log) in caught.value.hint
    assert "credentials-missing" in host.log.read_text()


def test_the_curve_marks_each_round_and_leaves_hollow_those_without_the_victim():
    baselines = Baselines((0.9, 0.95, 0.96), (0.5, 0.6, 0.7))
    picture = accuracy_picture(played([0.5, 0.8, 0.95]), baselines)
    fills = [mark.get("fill") for mark in ElementTree.fromstring(picture.svg).iter(f"{SVG}circle")]
    assert len(fills) == 3 and fills[0] == fills[2] != fills[1]
    assert picture.figures == {"federated": 0.95, "pooled": 0.96, "alone": 0.7}


def test_a_round_without_a_model_is_a_gap_and_no_number():
    baselines = Baselines((0.9, 0.95), (0.5, 0.6))
    act = played([0.5, None])
    picture = accuracy_picture(act, baselines)
    assert len(list(ElementTree.fromstring(picture.svg).iter(f"{SVG}circle"))) == 1
    assert "<td>-</td>" in page(act, baselines, picture, (), (), "")


def test_the_page_takes_words_for_words():
    baselines = Baselines((0.9, 0.95), (0.5, 0.6))
    act = played([0.5, 0.6])
    document = page(act, baselines, accuracy_picture(act, baselines), (), ("<b>&",), "<i>")
    assert "<p>&lt;b&gt;&amp;</p>" in document and "&lt;i&gt;" in document
