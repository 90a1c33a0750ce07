"""The commands as functions."""

import subprocess
import sys

import pytest

import secagg_attacks
from secagg_attacks.matrix.choice import columns_for


@pytest.mark.parametrize("family", ["inversion", "membership", "audit", "matrix"])
def test_each_function_plays_its_columns_and_writes_its_report(tmp_path, family):
    run = getattr(secagg_attacks, f"run_{family}")
    outcome = run(defences=("none",), budget=0.01, out=tmp_path)
    assert outcome.config.attacks == columns_for(0.01, None if family == "matrix" else family)
    assert (tmp_path / "report.html").exists()


def test_rows_and_columns_may_be_chosen():
    outcome = secagg_attacks.run_matrix(
        defences=("ckks",), attacks=("loss-sum", "analytic"), seed=3, budget=0.01
    )
    assert (outcome.config.defences, outcome.config.attacks) == (("none", "ckks"), ("analytic", "loss-sum"))
    assert (outcome.config.seed, outcome.config.budget) == (3, 0.01)


def test_what_is_there_is_listed_and_what_is_not_is_refused():
    assert set(secagg_attacks.__all__) <= set(dir(secagg_attacks))
    assert all(getattr(secagg_attacks, name) for name in secagg_attacks.__all__)
    with pytest.raises(AttributeError, match="no attribute 'telepathy'"):
        secagg_attacks.telepathy  # noqa: B018


def test_importing_it_loads_no_torch():
    code = "import sys, secagg_attacks; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
