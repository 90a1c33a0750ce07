"""What is measured of reconstructions and of examples found, on images made for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from secagg_attacks.defences import NONE
from secagg_attacks.inversion.errors import InversionError
from secagg_attacks.inversion.reconstruction import Reconstruction, Restart
from secagg_attacks.inversion.through_sum.found import Met, nearest_of
from secagg_attacks.matrix.case import Case, Memory
from secagg_attacks.matrix.examples_found import ALIKE, EXACTLY, share_found
from secagg_attacks.matrix.norms import clip_norm_for
from secagg_attacks.matrix.pictures import Pictures
from secagg_attacks.matrix.reconstructions import MOST_DB, Group, measured, reconstructed, too_few
from secagg_attacks.matrix.world import World, world_of
from secagg_attacks.models import mlp
from secagg_attacks.target import Target
from secagg_attacks.views import ThreatModel
from tests.attacks.measured import TINY

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.random((60, 1, 6, 6))
LABELS = RANDOM.integers(0, 3, 60)


def of_images() -> Target:
    return Target(mlp((36, 8, 3), 0), (IMAGES[:20], LABELS[:20]), (IMAGES[20:], LABELS[20:]))


def of_numbers(scale: float = 1.0) -> Target:
    x = scale * RANDOM.normal(size=(60, 5))
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    return Target(model, (x[:20], LABELS[:20]), (x[20:], LABELS[20:]), domain="tabular")


def case(target: Target) -> Case:
    world: World = world_of(target)
    return Case(world, NONE, "an attack", TINY, 0, Memory())


def shown(target: Target, images: np.ndarray, rule=EXACTLY, conceded: int = 0):
    x = target.members[0][:8]
    return share_found(case(target), target, x, images, rule, "ab" * 32, ThreatModel(), conceded=conceded)


def gave(images: np.ndarray, steps: int = 0) -> Reconstruction:
    restarts = (Restart(0, 0.0, steps, "steps"),) if steps else ()
    return Reconstruction(images, LABELS[: len(images)], 0.0, restarts, 0, "steps", True)


def group(target: Target, found: Reconstruction | InversionError) -> Group:
    def invert(*_):
        if isinstance(found, InversionError):
            raise found
        return found

    x, y = (part[:4].numpy() for part in target.members)
    return reconstructed(target, {}, x, y, 0, None, invert)


def test_images_that_are_met_in_another_order_are_counted_as_found():
    target = of_images()
    images = target.members[0][:8].numpy()[::-1]
    measurement, arrays = shown(target, images)
    assert measurement.value == 1.0
    assert measurement.wins and measurement.p_value < 1e-8
    assert measurement.chance == 0.0
    assert np.array_equal(arrays["images"], arrays["originals"])
    assert (arrays["psnr"] == MOST_DB).all()


def test_images_of_nobody_find_nothing_and_an_attack_without_any_has_a_grey_picture():
    target = of_images()
    measurement, _ = shown(target, RANDOM.random((30, 1, 6, 6)))
    assert (measurement.value, measurement.p_value) == (0.0, 1.0)
    nothing, arrays = shown(target, np.zeros((0, 1, 6, 6)))
    assert (nothing.value, nothing.p_value, nothing.more["images given"]) == (0.0, 1.0, 0.0)
    assert (arrays["images"] == 0.5).all()


def test_who_finds_non_members_as_often_as_members_knows_nothing():
    target = of_images()
    everything = np.concatenate([target.members[0].numpy(), target.nonmembers[0].numpy()])
    measurement, _ = shown(target, everything)
    assert measurement.value == measurement.chance == 1.0
    assert measurement.p_value == 1.0


def test_what_is_blurred_is_not_found_and_is_not_called_chance_either():
    target = of_images()
    blurred = target.members[0][:8].numpy() + 0.01 * RANDOM.standard_normal((8, 1, 6, 6))
    measurement, _ = shown(target, blurred)
    assert measurement.value == 0.0
    assert measurement.more["found at 27 dB"] == 1.0
    assert measurement.p_value < 1e-6
    assert measurement.notes[-1] == "more found at 27 dB than by luck; at 58.9 dB no more"


def test_a_negative_is_alike_and_brightness_and_contrast_are_not_looked_at():
    target = of_images()
    faint = 0.4 + 0.2 * target.members[0][:8].numpy()
    measurement, _ = shown(target, faint, ALIKE)
    assert measurement.value == 1.0
    assert shown(target, 1 - faint, ALIKE)[0].value == 0.0


def test_examples_that_are_conceded_count_as_found():
    assert shown(of_images(), np.zeros((0, 1, 6, 6)), conceded=2)[0].value == 0.25


def test_rows_of_a_table_are_found_in_units_of_the_range_they_have():
    target = of_numbers(scale=1000.0)
    rows = target.members[0][:8].numpy()
    measurement, arrays = shown(target, rows + 0.01)
    assert measurement.value == 1.0
    assert arrays == {}
    assert shown(target, np.zeros((0, 5)))[0].value == 0.0


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.floats(0.1, 1e4))
def test_a_table_as_pictures_is_from_0_to_1_whatever_its_units(seed, scale):
    random = np.random.default_rng(seed)
    x = scale * random.normal(size=(20, 3))
    target = Target(
        nn.Linear(3, 2).double(), (x[:5], LABELS[:5] % 2), (x[5:], LABELS[5:20] % 2), domain="tabular"
    )
    pictures = Pictures.of(target)
    drawn = pictures.drawn(target.nonmembers[0].numpy())
    assert drawn.shape == (15, 1, 1, 3)
    assert (drawn.min(), drawn.max()) == (pytest.approx(0), pytest.approx(1))
    wild = pictures.clipped(np.array([[np.nan, np.inf, -np.inf]]))
    assert wild.ravel().tolist() == [0.5, 2.0, -1.0]


def test_an_equal_image_is_at_the_ceiling_and_not_above_it():
    target = of_images()
    whole = [group(target, gave(target.members[0][:4].numpy()))]
    measurement, _ = measured(case(target), whole, target, 100.0, "ab" * 32, ThreatModel())
    assert measurement.value == measurement.ceiling == MOST_DB
    assert measurement.more["labels found"] <= 1.0
    assert "steps of each search, mean" not in measurement.more


def test_the_cell_says_how_many_steps_the_searches_did():
    target = of_images()
    groups = [group(target, gave(IMAGES[40:44], steps)) for steps in (100, 50)]
    measurement, _ = measured(case(target), groups, target, 27.0, "ab" * 32, ThreatModel())
    assert measurement.more["steps of each search, mean"] == 75.0
    assert not measurement.wins


def test_a_trace_of_the_truth_in_images_no_better_than_a_guess_is_said():
    target = of_images()
    coarse = target.members[0][:4].numpy() + np.random.default_rng(1).choice([-0.35, 0.35], (4, 1, 6, 6))
    groups = [group(target, gave(coarse))]
    measurement, _ = measured(case(target), groups, target, 27.0, "ab" * 32, ThreatModel())
    assert measurement.value < measurement.chance and measurement.p_value < 1e-3
    assert measurement.notes == ("by rank nearer to the truth than to others; in dB no better than a guess",)


def test_where_examples_and_non_members_are_too_few_to_tell_a_win_says_so():
    target = of_images()
    few = Target(target.model, (IMAGES[:20], LABELS[:20]), (IMAGES[20:24], LABELS[20:24]))
    whole = [group(target, gave(target.members[0][:4].numpy()))]
    measurement, _ = measured(case(few), whole, few, 100.0, "ab" * 32, ThreatModel())
    assert measurement.wins
    assert measurement.notes == ("too few examples, or non-members, to be told from chance in any table",)
    found, _ = shown(few, few.members[0][:8].numpy())
    assert found.notes[-1] == ("too few examples, or non-members, to be told from chance in any table")


def test_an_attack_that_gives_nothing_is_grey_and_says_why():
    target = of_images()
    failed = group(target, InversionError("gradient-zero", "every number is 0", "another"))
    measurement, arrays = measured(case(target), [failed], target, 27.0, "ab" * 32, ThreatModel())
    assert measurement.notes == ("the attack gave nothing for 1 of 1 (gradient-zero)",)
    assert (arrays["images"] == 0.5).all()


def test_an_attack_that_is_none_for_a_model_is_refused():
    with pytest.raises(InversionError, match="analytic-needs-linear"):
        group(of_images(), InversionError("analytic-needs-linear", "no such layer", "another"))


def test_reconstructions_of_a_table_are_measured_without_looks():
    target = of_numbers()
    whole = [group(target, gave(target.members[0][:4].numpy()))]
    measurement, arrays = measured(case(target), whole, target, 100.0, "ab" * 32, ThreatModel())
    assert measurement.value > 150
    assert "median SSIM" not in measurement.more
    pictures = Pictures.of(target)
    rows, others = (pictures.drawn(part[0].numpy()) for part in (target.members, target.nonmembers))
    mean = np.median(-10 * np.log10(((rows[:4] - others.mean(axis=0)) ** 2).mean(axis=(1, 2, 3))))
    assert measurement.more["chance, mean of non-members, dB"] == pytest.approx(mean)
    assert set(arrays) == {"psnr"}


def test_too_few_members_are_named():
    assert too_few(of_images(), 20) is None
    assert too_few(of_images(), 21) == "it takes 21 members and as many non-members"


def test_the_nearest_image_is_named_and_without_any_there_is_none():
    truth = IMAGES[:3]
    met = nearest_of(truth, truth[[2, 0]])
    assert isinstance(met, Met)
    assert met.image[[0, 2]].tolist() == [1, 0]
    assert np.isinf(met.score[[0, 2]]).all()
    assert nearest_of(truth, truth[:0]).image.tolist() == [-1, -1, -1]


def test_a_clip_norm_is_twice_the_norm_of_what_a_client_would_send():
    target = of_images()
    model = target.fresh()
    x, y = (part[:3] for part in target.nonmembers)
    nn.functional.cross_entropy(model(x), y).backward()
    norm = torch.cat([part.grad.flatten() for part in model.parameters()]).norm()
    assert clip_norm_for(target, 3) == pytest.approx(2 * float(norm))
