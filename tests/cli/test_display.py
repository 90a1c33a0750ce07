"""What a command says while it works: lines, objects, sentences of the log."""

import json
import logging
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.cli.display import display, report_round
from secagg.cli.logs import logging_to_stderr
from secagg.coordinator import RoundReport


def report(**changes):
    fields = {
        "round": 3,
        "rounds": 20,
        "code": "",
        "attempts": 1,
        "cohort": 5,
        "survivors": 4,
        "metrics": {"clipped_fraction": 0.25, "loss": 0.4123},
        "evaluation": {"accuracy": 0.9},
    }
    return RoundReport(**(fields | changes))


def line_of(capsys, as_json=False, **changes):
    with display(as_json=as_json, rounds=20) as out:
        report_round(out, report(**changes))
    return capsys.readouterr().out.strip()


def test_a_rounds_line_has_survivors_metrics_and_evaluation(capsys):
    assert line_of(capsys).endswith(
        "round 3 of 20: 4 of 5 clients in the sum, 25% clipped, loss 0.4123; evaluation: accuracy 0.9"
    )
    assert line_of(capsys, metrics={"clipped_fraction": 0.0}, evaluation={}).endswith(
        "4 of 5 clients in the sum"
    )
    assert "2 attempts" in line_of(capsys, attempts=2)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("too-few-trained", "too few clients finished training in time"),
        ("too-few-clients", "too few clients stayed"),
        ("example-weight-zero", "had any examples"),
        ("anything-else", "did not come to its end"),
    ],
)
def test_a_round_without_a_new_model_says_why(capsys, code, said):
    line = line_of(capsys, code=code)
    assert "no new model: " in line
    assert said in line
    assert f"[{code}]" in line


@given(loss=st.floats(), name=st.text(max_size=5))
def test_every_json_line_is_json(loss, name):
    from contextlib import redirect_stdout
    from io import StringIO

    text = StringIO()
    with redirect_stdout(text), display(as_json=True, rounds=1) as out:
        report_round(out, report(metrics={name: loss}))
        out.say("fact", "words", nested=[{name: loss}])
    first, second = text.getvalue().splitlines()
    value = json.loads(first, parse_constant=pytest.fail)["metrics"][name]
    assert value == loss or (value is None and not math.isfinite(loss))
    assert json.loads(second)["event"] == "fact"


def test_events_become_sentences_with_a_time_and_a_level(capsys):
    with logging_to_stderr():
        log = logging.getLogger("secagg.server")
        log.info("x", extra={"event": "client-joined", "fields": {"client": "hospital-1"}})
        log.warning("round %d, stage %s: '%s' late", 3, "mask", "hospital-2")
        log.info("y", extra={"event": "client-left", "fields": {}})
        log.debug("not shown")
    lines = [line.partition(" ")[2] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["'hospital-1' is here", "warning: round 3, stage mask: 'hospital-2' late", "y"]


def test_the_same_line_in_a_row_is_said_once(capsys):
    with logging_to_stderr():
        log = logging.getLogger("secagg.client")
        for seconds in (0.2, 0.4, 0.8):
            fields = {"code": "unreachable", "message": "host:1 cannot be reached", "seconds": seconds}
            log.info("connection-lost %s", seconds, extra={"event": "connection-lost", "fields": fields})
        log.info("joined")
        log.info("connection-lost", extra={"event": "connection-lost", "fields": fields})
    lines = capsys.readouterr().err.splitlines()
    assert ["host:1" in line for line in lines] == [True, False, True]


def test_afterwards_the_logger_is_as_it_was(capsys):
    logger = logging.getLogger("secagg")
    before = (logger.level, logger.propagate, list(logger.handlers))
    with pytest.raises(RuntimeError), logging_to_stderr():
        raise RuntimeError
    assert (logger.level, logger.propagate, list(logger.handlers)) == before
