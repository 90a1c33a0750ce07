"""`secagg.server`: what it does beside its coordinator and its link."""

from __future__ import annotations

import logging

import numpy as np

import secagg
from secagg.enrolment import issue_credentials, new_authority


def test_an_event_that_the_run_s_log_cannot_hold_is_told_and_ends_nothing(tmp_path, caplog):
    credentials = issue_credentials("aggregator", "server", new_authority("authority"), hosts=("localhost",))
    plan = secagg.Plan(run={"name": "digits", "rounds": 1}, cohort={"max_clients": 5, "colluders": 0.1})
    with secagg.Server(
        {"w": np.zeros(4)}, plan, credentials=credentials, listen="127.0.0.1:0", runs=tmp_path
    ) as server:
        log = server.run_dir / "log.jsonl"
        log.unlink(missing_ok=True)
        log.mkdir()
        with caplog.at_level(logging.ERROR, "secagg.server"):
            server._event("client-gone", client="alice")
        log.rmdir()
    assert "run-unwritable" in caplog.text
