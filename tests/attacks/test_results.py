"""A measurement as JSON, there and back."""

import json
from dataclasses import asdict

import pytest

from secagg_attacks.results import ACCOUNTED, SURE_BOUND, as_json, from_document
from tests.attacks.measured import measured


def test_a_measurement_survives_json():
    one = measured()
    assert from_document(json.loads(as_json(one))) == one


def test_the_same_measurement_is_the_same_text_with_sorted_names():
    text = as_json(measured())
    assert text == as_json(measured())
    names = list(json.loads(text))
    assert names == sorted(asdict(measured()))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_written(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        as_json(measured(value=value))


def test_an_attack_wins_where_it_reaches_what_it_must():
    assert measured(value=0.9).wins
    assert not measured(value=0.89).wins
    assert not measured(value=None).wins
    assert not measured(must_reach=None).wins


def test_an_account_is_beaten_by_a_sure_bound_and_by_nothing_less():
    beaten = {ACCOUNTED: 1.0, SURE_BOUND: 1.01}
    assert measured(more=beaten).beats_account
    assert not measured(more={**beaten, SURE_BOUND: 1.0}).beats_account
    assert not measured(more={SURE_BOUND: 9.0}).beats_account
    assert not measured(value=9.0, more={ACCOUNTED: 1.0}).beats_account
