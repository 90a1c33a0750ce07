"""A run directory with what an attack harness measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from secagg.plan import Plan

VIEW = "ab" * 32
FINDING = {
    "attack": "cosine-sum",
    "view": VIEW,
    "figure": "AUC",
    "value": 0.512,
    "low": 0.48,
    "high": 0.54,
    "n": 160,
    "chance": 0.5,
    "verdict": "at chance",
}
BOUND = {
    "unit": "client",
    "method": "one-run",
    "view": VIEW,
    "epsilon": 0.25,
    "delta": 1e-5,
    "confidence": 0.95,
    "trials": 100,
    "assumes": "fair-coins",
}
SURE = {**BOUND, "confidence": 0.999}


def attacked(path: Path, plan: Plan, *, findings: Any = (FINDING,), bounds: Any = (BOUND,)) -> Path:
    document = {"format": 1, "plan": plan.digest.hex(), "findings": list(findings), "bounds": list(bounds)}
    (path / "attacks.json").write_text(json.dumps(document))
    return path
