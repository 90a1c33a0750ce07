"""Measurements and a small table, made once: what verdicts, cells, pages and commands are tested on."""

from __future__ import annotations

from functools import cache
from typing import Any

from secagg_attacks.matrix.config import Scale
from secagg_attacks.matrix.play import Outcome, play
from secagg_attacks.results import Measurement
from secagg_attacks.views import ThreatModel

TINY = Scale(
    images=3,
    steps=30,
    iterations=20,
    restarts=1,
    cohorts=5,
    clients=4,
    per_client=10,
    local_steps=40,
    candidates=120,
    deals=2,
    canaries=30,
)
ATTACKS = ("analytic", "cosine-upload", "loss-upload", "loss-sum", "lira-upload", "audit")
DEFENCES = ("masks", "masks-client-8")


def measured(attack: str = "loss-sum", defence: str = "none", **changes: Any) -> Measurement:
    facts: dict[str, Any] = {
        "figure": "AUC",
        "value": 0.95,
        "low": 0.9,
        "high": 0.97,
        "n": 100,
        "chance": 0.5,
        "ceiling": 1.0,
        "p_value": 1e-20,
        "must_reach": 0.9,
        "leaks_at": 0.9,
        "view": "ab" * 32,
        "threat": ThreatModel(),
        "notes": ("a note",),
        "more": {"TPR at 1 % FPR": 0.3},
    }
    return Measurement(attack, defence, "measured", 0, **{**facts, **changes})


@cache
def small() -> Outcome:
    """Six attacks on three views of the digits, in a few seconds."""
    return play(defences=DEFENCES, attacks=ATTACKS, scale=TINY)
