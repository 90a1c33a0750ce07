"""Tables played for real, on digits, small."""

import json
import resource
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from secagg.errors import SecaggError
from secagg_attacks.begun import Begun
from secagg_attacks.defences import DefenceError
from secagg_attacks.matrix.attacks import COLUMNS
from secagg_attacks.matrix.clock import kept_back
from secagg_attacks.matrix.config import MOST_SEED
from secagg_attacks.matrix.errors import MatrixError
from secagg_attacks.matrix.play import play
from secagg_attacks.results import as_json
from secagg_attacks.target import Target
from tests.attacks.measured import ATTACKS, DEFENCES, TINY, small


def verdict(defence, attack):
    return small().finding(defence, attack).verdict


def test_the_table_has_a_finding_for_every_pair_and_a_row_for_every_defence():
    outcome = small()
    pairs = {(each.measurement.defence, each.measurement.attack) for each in outcome.findings}
    assert pairs == {(row, attack) for row in ("none", *DEFENCES) for attack in ATTACKS}
    assert [row.defence for row in outcome.rows] == ["none", *DEFENCES]


def test_the_analytic_attack_wins_without_protection_and_is_at_chance_with_it():
    assert verdict("none", "analytic") == "leaks"
    assert small().finding("none", "analytic").measurement.value > 100
    # Masks are drawn anew each time: one reading in a hundred is above chance by luck.
    assert {verdict(row, "analytic") for row in DEFENCES} <= {"at chance", "not shown"}


def test_the_gradients_of_uploads_tell_members_apart_only_without_masks():
    assert verdict("none", "cosine-upload") in ("leaks", "partial")
    bare, masked = (small().finding(row, "cosine-upload").measurement for row in ("none", "masks"))
    assert bare.value > 0.85
    assert masked.p_value > 1e-5


def test_a_clients_own_model_gives_more_away_than_the_sums():
    own, mean = (small().finding("none", name).measurement.value for name in ("loss-upload", "loss-sum"))
    assert own > mean


def test_every_measured_cell_says_what_it_was_measured_on():
    for each in small().findings:
        measurement = each.measurement
        if measurement.status == "measured":
            assert len(measurement.view) == 64
            assert measurement.threat is not None
            assert measurement.n > 0
            assert measurement.chance is not None and measurement.ceiling is not None
            assert measurement.low <= measurement.value


def test_the_audit_is_made_of_noise_on_clients_and_of_the_bare_run_and_stays_below_the_account():
    outcome = small()
    assert verdict("masks", "audit") == "not applicable"
    noised = outcome.finding("masks-client-8", "audit").measurement
    assert noised.value <= noised.more["accounted epsilon"] == pytest.approx(8, abs=0.01)
    assert outcome.finding("none", "audit").measurement.value > 0
    assert outcome.failures == ()


def test_a_row_says_what_its_defence_costs():
    none, masks, noised = small().rows
    assert none.accuracy == pytest.approx(masks.accuracy, abs=0.02)
    assert none.epsilon is None and masks.epsilon is None
    assert noised.epsilon == pytest.approx(8, abs=0.01)
    assert (noised.unit, noised.delta) == ("client", 1e-5)
    assert noised.lower_bound is not None and masks.lower_bound is None


def test_an_outcome_is_strict_json():
    from secagg_attacks.report import document

    written = json.loads(as_json(document(small())))
    assert len(written["findings"]) == len(small().findings)


def test_cells_and_rows_that_are_there_are_not_played_again(tmp_path):
    options = {"defences": ("masks",), "attacks": ("analytic",), "scale": TINY, "out": tmp_path}
    first = play(**options)
    cells = {path: path.read_bytes() for path in (tmp_path / "cells").glob("*.json")}
    assert len(cells) == 4
    gone = next(path for path, text in cells.items() if json.loads(text).get("attack") == "analytic")
    gone.unlink()
    again = play(**options)
    assert gone.exists()
    assert all(path.read_bytes() == text for path, text in cells.items() if path != gone)
    assert again.rows == first.rows
    assert first.finding("none", "analytic").verdict == "leaks"


def test_what_every_defence_costs_is_known_before_the_first_attack_is_played(tmp_path):
    there = []

    def on_cell(row, attack, done, most):
        written = [json.loads(path.read_text()) for path in (tmp_path / "cells").glob("*.json")]
        there.append({each.get("accuracy") for each in written})

    outcome = play(defences=("masks",), attacks=("analytic",), scale=TINY, out=tmp_path, on_cell=on_cell)
    assert there[0] == {row.accuracy for row in outcome.rows}
    assert None not in there[0]


def test_the_seconds_of_a_table_are_those_of_all_its_sessions(tmp_path):
    options = {"defences": ("none",), "attacks": ("analytic", "loss-sum"), "scale": TINY, "out": tmp_path}
    first = play(**options)
    assert first.seconds == pytest.approx(
        sum(each.measurement.seconds for each in first.findings) + first.rows[0].seconds
    )
    assert first.seconds > 0
    assert play(**options).seconds == first.seconds


@pytest.mark.parametrize(("full", "code"), [("none", "run-damaged"), ("masks", "matrix-out")])
def test_a_disk_that_fills_under_a_run_or_a_cell_ends_the_table_and_is_named(tmp_path, full, code):
    """The audit makes a run of the row without protection, and none of one without noise."""
    options = {"defences": ("masks",), "attacks": ("audit",), "scale": TINY, "out": tmp_path}

    def on_cell(row, attack, done, most):
        if row == full:
            resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(SecaggError) as refused:
            play(**options, on_cell=on_cell)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert refused.value.code == code
    assert code != "matrix-out" or str(tmp_path) in refused.value.message
    assert play(**options).finding("none", "audit").measurement.status == "measured"


def test_the_same_config_gives_the_same_figures_without_protection():
    again = play(defences=("none",), attacks=("analytic", "loss-sum", "lira-upload"), scale=TINY)
    for attack in ("analytic", "loss-sum", "lira-upload"):
        one, other = (each.finding("none", attack).measurement for each in (small(), again))
        assert one.value == pytest.approx(other.value, rel=1e-3)


def test_a_cell_that_has_no_time_is_not_run_and_not_kept(tmp_path):
    outcome = play(
        defences=("masks",), attacks=("analytic", "loss-sum"), scale=TINY, budget=1e-3, out=tmp_path
    )
    assert {each.verdict for each in outcome.findings} == {"not run"}
    assert {each.measurement.notes for each in outcome.findings} == {("no time left",)}
    assert {row.notes for row in outcome.rows} == {("no time left",)}
    assert list((tmp_path / "cells").iterdir()) == []


def test_a_search_that_is_cut_short_says_so_and_leaves_time_to_write_it_down():
    long = replace(TINY, images=1, steps=10**6)
    assert small().findings  # what a process does once is not of this budget
    outcome = play(defences=("none",), attacks=("inverting",), scale=long, budget=3.2)
    cell = outcome.finding("none", "inverting").measurement
    assert cell.cut_short
    assert "cut short" in cell.notes[-1]
    assert 0 < cell.share < 3.2 - kept_back(1)


def test_a_budget_is_spent_from_when_the_command_began():
    begun = Begun(time.monotonic() - 30.0, 0.0)
    outcome = play(defences=("none",), attacks=("analytic",), scale=TINY, budget=30.0, begun=begun)
    assert outcome.finding("none", "analytic").verdict == "not run"


def test_what_was_cut_short_is_kept_under_the_same_budget_and_played_again_under_a_larger_one(tmp_path):
    assert small().findings
    options = {"defences": ("none",), "attacks": ("fedavg",), "out": tmp_path}
    long = replace(TINY, images=1, steps=4000)
    first = play(scale=long, budget=2.8, **options).finding("none", "fedavg").measurement
    assert first.cut_short
    assert play(scale=long, budget=2.8, **options).finding("none", "fedavg").measurement == first
    again = play(scale=long, budget=3.6, **options).finding("none", "fedavg").measurement
    assert again.share > first.share


def test_tabular_data_are_attacked_like_images():
    x = np.random.default_rng(0).normal(size=(400, 6)).astype(np.float32)
    y = np.random.default_rng(1).integers(0, 3, 400)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3))
    target = Target(model, (x[:200], y[:200]), (x[200:], y[200:]), domain="tabular", name="noise")
    outcome = play(target, defences=("none",), attacks=("analytic", "loss-sum"), scale=TINY)
    assert outcome.finding("none", "analytic").verdict == "leaks"
    assert outcome.finding("none", "loss-sum").measurement.status == "measured"


def test_an_attack_that_a_model_does_not_suit_is_not_applicable_and_says_why():
    images = np.random.default_rng(0).random((60, 1, 8, 8)).astype(np.float32)
    y = np.random.default_rng(1).integers(0, 3, 60)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, 3))
    target = Target(model, (images[:30], y[:30]), (images[30:], y[30:]))
    found = play(target, defences=("none",), attacks=("analytic",), scale=TINY).finding("none", "analytic")
    assert found.verdict == "not applicable"
    assert "analytic-needs-linear" in found.measurement.notes[0]


@pytest.mark.parametrize(
    ("options", "error", "code"),
    [
        ({"attacks": ("telepathy",)}, MatrixError, "attack-unknown"),
        ({"attacks": ("loss-sum",), "family": "audit"}, MatrixError, "attack-unknown"),
        ({"defences": ("hope",)}, DefenceError, "defence-unknown"),
        ({"seed": -1}, MatrixError, "matrix-seed"),
        ({"seed": 2**31}, MatrixError, "matrix-seed"),
        ({"seed": 0.5}, MatrixError, "matrix-seed"),
        ({"budget": "60s"}, MatrixError, "matrix-budget"),
    ],
)
def test_what_there_is_not_is_refused_by_name(options, error, code):
    with pytest.raises(error) as refused:
        play(**options)
    assert refused.value.code == code


def test_every_column_names_its_source_and_says_what_its_figure_means():
    for column in COLUMNS.values():
        assert column.source and column.says and column.title and column.weight > 0


class Counting(ThreadPoolExecutor):
    """How much it was given to do."""

    given = 0

    def submit(self, *task, **named):
        self.given += 1
        return super().submit(*task, **named)


def test_shadows_of_a_model_that_cannot_be_trained_side_by_side_are_trained_one_by_one_or_by_an_executor():
    data = np.random.default_rng(0).random((300, 1, 8, 8)).astype(np.float32)
    y = np.random.default_rng(1).integers(0, 3, 300)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Dropout(0.5), nn.ReLU(), nn.Linear(16, 3))
    target = Target(model, (data[:100], y[:100]), (data[100:], y[100:]))
    few = replace(TINY, local_steps=2, candidates=60)
    options = {"defences": ("none",), "attacks": ("lira-sum",), "scale": few}
    alone = play(target, **options).finding("none", "lira-sum").measurement
    with Counting(1) as executor:
        helped = play(target, executor=executor, **options).finding("none", "lira-sum").measurement
    assert alone.status == "measured"
    assert helped.value == alone.value
    assert executor.given > 0


class Once(torch.autograd.Function):
    """ReLU, in the older form of such functions, which `vmap` and `grad` refuse."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope):
        (x,) = ctx.saved_tensors
        return slope * (x > 0)


class OnceDifferentiable(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(64, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.last(Once.apply(self.first(x.flatten(1))))


class Attentive(nn.Module):
    """A fully connected layer over each row of an image, then attention with a fused kernel."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(8, 32), nn.Linear(32, 3)
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)

    def forward(self, x):
        rows = self.first(x[:, 0])
        return self.last((rows + self.attention(rows, rows, rows, need_weights=False)[0]).mean(1))


def of_images(kind):
    data = np.random.default_rng(0).random((300, 1, 8, 8)).astype(np.float32)
    y = np.random.default_rng(1).integers(0, 3, 300)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = kind()
    return Target(model, (data[:100], y[:100]), (data[100:], y[100:]))


@pytest.mark.filterwarnings("ignore:There is a performance drop because:UserWarning")
def test_a_model_that_cannot_be_differentiated_twice_costs_cells_and_not_the_table():
    attacks = ("inverting", "idlg", "fedavg", "mean-2", "cosine-upload")
    few = replace(TINY, local_steps=2)
    outcome = play(of_images(Attentive), defences=("none",), attacks=attacks, scale=few)
    for attack in ("inverting", "idlg", "fedavg", "mean-2"):
        found = outcome.finding("none", attack)
        assert found.verdict == "not applicable"
        assert "[model-not-attackable]; hint: " in found.measurement.notes[0]
    assert outcome.finding("none", "cosine-upload").measurement.status == "measured"


def test_a_function_that_cannot_be_vectorised_is_differentiated_example_by_example():
    attacks = ("analytic", "cosine-upload", "loss-sum")
    few = replace(TINY, local_steps=2)
    outcome = play(of_images(OnceDifferentiable), defences=("none",), attacks=attacks, scale=few)
    assert {each.measurement.status for each in outcome.findings} == {"measured"}


def test_a_model_that_needs_a_batch_costs_attacks_on_one_example_and_not_the_table():
    def normalised():
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))

    plain = of_images(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 3)))
    target = replace(plain, model=normalised(), buffers="known")
    outcome = play(target, defences=("none",), attacks=("analytic", "loss-sum"), scale=TINY)
    assert outcome.finding("none", "analytic").measurement.notes == (
        "the model's BatchNorm cannot train on one example at a time, which this attack needs",
    )
    assert outcome.finding("none", "loss-sum").measurement.status == "measured"


def test_the_largest_seed_there_is_makes_a_table():
    few = replace(TINY, cohorts=2, clients=2, local_steps=1)
    outcome = play(defences=("masks",), attacks=("loss-sum", "audit"), scale=few, seed=MOST_SEED)
    assert {outcome.finding("none", name).measurement.status for name in ("loss-sum", "audit")} == {
        "measured"
    }


def test_a_layer_that_sees_rows_of_an_image_is_no_first_layer_for_the_analytic_attack():
    found = play(of_images(Attentive), defences=("none",), attacks=("analytic",), scale=TINY)
    assert "analytic-needs-linear" in found.finding("none", "analytic").measurement.notes[0]


def test_a_table_is_not_gone_on_with_on_another_model_of_the_same_name(tmp_path):
    options = {"defences": ("none",), "attacks": ("analytic",), "scale": TINY, "out": tmp_path}
    play(of_images(OnceDifferentiable), **options)
    play(of_images(OnceDifferentiable), **options)
    with pytest.raises(MatrixError, match="another target_digest") as refused:
        play(of_images(Attentive), **options)
    assert refused.value.code == "matrix-other-config"


def test_means_of_few_clients_are_of_several_cohorts():
    outcome = play(defences=("none",), attacks=("mean-2", "mean-4"), scale=replace(TINY, images=4, steps=5))
    assert outcome.finding("none", "mean-2").measurement.n == 4
    assert outcome.finding("none", "mean-4").measurement.n == 4
