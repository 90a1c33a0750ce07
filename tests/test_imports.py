"""What importing secagg brings in, and that a masked run needs nothing of torch, scipy, sklearn, tenseal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

HEAVY = ("torch", "scipy", "sklearn", "tenseal", "opacus", "matplotlib", "pandas", "secagg_attacks")

BLOCKED = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY!r}:
            raise ImportError(name + " must not be needed")

sys.meta_path.insert(0, Absent())
"""

RUN = """
import numpy as np
import secagg

plan = secagg.Plan(run={"name": "light", "rounds": 2}, cohort={"max_clients": 3})
start = {"layer": np.zeros(100, dtype=np.float32)}

def train(task):
    return secagg.Update({"layer": task.weights["layer"] + np.float32(0.01)})

result = secagg.simulate(start, plan, [train] * 3)
assert result.masked and [r.survivors for r in result.history] == [3, 3]
np.testing.assert_allclose(result.weights["layer"], 0.02, atol=1e-5)
"""


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_by(program: str) -> set[str]:
    return set(json.loads(run(f"{program}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))")))


def test_import_secagg_loads_nothing_heavy_and_no_grpc():
    assert not loaded_by("import secagg") & {*HEAVY, "grpc", "pydantic", "numpy"}


def test_all_public_names_load_nothing_heavy():
    modules = loaded_by("import secagg\nfor name in secagg.__all__: getattr(secagg, name)")
    assert not modules & set(HEAVY)
    assert {"grpc", "numpy"} <= modules


def test_a_simulation_loads_no_grpc():
    assert "grpc" not in loaded_by(RUN)


def test_a_masked_run_works_where_torch_and_its_kind_cannot_be_imported():
    run(BLOCKED + RUN)


def test_the_runtimes_load_where_torch_and_its_kind_cannot_be_imported():
    run(BLOCKED + "import secagg\nfor name in secagg.__all__: getattr(secagg, name)")
