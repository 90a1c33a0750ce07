"""A target is checked before anything is trained: each thing wrong with it has a code of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from secagg_attacks.data.digits import digits
from secagg_attacks.target import TargetError
from tests.attacks.digit_targets import MEMBERS, normalised, perceptron, target

DATA = digits()
X, Y = DATA.images[:40], DATA.y[:40]


def refused(code: str, **changes: Any) -> TargetError:
    with pytest.raises(TargetError) as caught:
        target(**changes)
    assert (caught.value.code, caught.value.exit_code) == (code, 2)
    assert caught.value.hint
    return caught.value


def test_arrays_become_tensors_of_the_models_own_type() -> None:
    found = target()
    x, y = found.members
    assert (x.dtype, y.dtype, x.shape) == (torch.float64, torch.int64, (MEMBERS, 1, 8, 8))
    assert found.nonmembers[0].dtype == torch.float64
    assert found.classes == 10
    np.testing.assert_array_equal(x.numpy(), DATA.images[:MEMBERS])


def test_a_fresh_model_is_a_copy_that_training_does_not_reach() -> None:
    found = target()
    with torch.no_grad():
        for parameter in found.fresh().parameters():
            parameter.zero_()
    assert all(bool(parameter.any()) for parameter in found.model.parameters())


def test_a_look_at_the_model_leaves_its_statistics_alone() -> None:
    model = normalised()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert target(model, buffers="known").model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_probabilities_are_refused_where_logits_are_needed() -> None:
    softmax = nn.Sequential(perceptron(), nn.Softmax(dim=1))
    assert "softmax" in refused("target-probabilities", model=softmax).hint


@pytest.mark.parametrize("last", [nn.Linear(10, 1), nn.Unflatten(1, (5, 2))], ids=["one output", "a matrix"])
def test_outputs_that_are_no_row_of_logits_are_refused(last: nn.Module) -> None:
    refused("target-logits", model=nn.Sequential(perceptron(), last.double()))


def test_a_model_that_gives_no_tensor_is_refused() -> None:
    class Pair(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, x

    refused("target-logits", model=Pair())


@pytest.mark.parametrize(
    "data",
    [
        X,
        (X, None),
        (X, Y[:-1]),
        (X, Y.astype(np.float64)),
        (X, Y > 4),
        (X, Y[:, None]),
        (X, Y - 5),
        (X, Y + 5),
    ],
    ids=["no pair", "none", "too few", "floating", "booleans", "a column", "below 0", "above 9"],
)
@pytest.mark.parametrize("which", ["train_xy", "nonmember_xy"])
def test_labels_that_are_not_one_class_for_each_input_are_refused(which: str, data: object) -> None:
    refused("target-labels", **{which: data})


@pytest.mark.parametrize(
    "x",
    [
        (X * 255).astype(np.uint8),
        X * 255,
        X - 1,
        X.reshape(len(X), 64),
        np.where(X.max() == X, np.nan, X),
        [["a"]] * len(X),
    ],
    ids=["bytes", "to 255", "below 0", "flat", "not finite", "no numbers"],
)
@pytest.mark.parametrize("which", ["train_xy", "nonmember_xy"])
def test_inputs_that_are_no_images_from_0_to_1_are_refused(which: str, x: object) -> None:
    refused("target-data", **{which: (x, Y)})


def test_the_same_inputs_may_be_tabular() -> None:
    flat = (X.reshape(len(X), 64) * 100 - 50, Y)
    assert target(domain="tabular", train_xy=flat, nonmember_xy=flat).domain == "tabular"


def test_members_and_nonmembers_of_different_shapes_are_refused() -> None:
    refused("target-data", nonmember_xy=(X[:, :, :4], Y))


def test_inputs_that_the_model_does_not_take_are_refused() -> None:
    small = (X[:, :, :4], Y)
    assert "(40, 1, 4, 8)" in refused("target-data", train_xy=small, nonmember_xy=small).message


def test_no_members_and_no_nonmembers_have_errors_of_their_own() -> None:
    refused("target-data", train_xy=(X[:0], Y[:0]))
    assert "hold some data back" in refused("target-nonmembers", nonmember_xy=(X[:0], Y[:0])).hint


@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(reduction="none"),
        lambda logits, labels: 1.0,
        lambda logits, labels: logits.sum() * np.inf,
        nn.functional.mse_loss,
    ],
    ids=["one for each", "no tensor", "not finite", "another's"],
)
@pytest.mark.filterwarnings("ignore:Using a target size:UserWarning")
def test_a_loss_that_gives_no_finite_mean_is_refused(loss: object) -> None:
    refused("target-loss", loss=loss)


@pytest.mark.parametrize("rate", [0.0, -0.1, float("nan"), float("inf"), "0.1", True, None])
def test_a_learning_rate_that_is_none_is_refused(rate: object) -> None:
    refused("target-learning-rate", learning_rate=rate)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_of_half_precision_is_refused_with_its_own_way_out(dtype: torch.dtype) -> None:
    assert "model.float()" in refused("target-precision", model=perceptron(dtype=dtype)).hint


def test_a_model_whose_logits_are_not_finite_is_refused_and_the_loss_is_not_blamed() -> None:
    model = perceptron()
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    assert "not finite" in refused("target-logits", model=model).message


def test_inputs_that_a_gradient_is_asked_of_are_taken_without_it() -> None:
    x = torch.tensor(X, requires_grad=True)
    found = target(train_xy=(x, Y)).members[0]
    assert not found.requires_grad
    np.testing.assert_array_equal(found.numpy(), X)


class Frame:
    """What NumPy reads as an array, as a frame of pandas is."""

    def __init__(self, held: np.ndarray) -> None:
        self.held = held

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        return self.held


def test_frames_reversed_and_foreign_arrays_are_read_as_arrays() -> None:
    read_only = Y.copy()
    read_only.flags.writeable = False
    for x, y in (
        (Frame(X), Frame(Y)),
        (X[::-1], Y[::-1]),
        (X.astype(">f8"), Y.astype(">i4")),
        (X, read_only),
    ):
        found = target(train_xy=(x, y)).members
        np.testing.assert_array_equal(found[0].numpy(), np.asarray(x))
        np.testing.assert_array_equal(found[1].numpy(), np.asarray(y))


@pytest.mark.parametrize("which", ["train_xy", "nonmember_xy"])
def test_names_of_classes_are_refused_as_labels_and_words_as_inputs(which: str) -> None:
    words = np.array(["cat", "dog"] * 20)
    for labels in (words, list(words), words.astype(object), Frame(words)):
        error = refused("target-labels", **{which: (X, labels)})
        assert "return_inverse" in error.hint
        assert "cat" not in error.message
    assert "object" in refused("target-data", **{which: (Frame(X.astype(object)), Y)}).message


def test_inputs_beyond_the_models_own_type_are_refused() -> None:
    far = (np.full((40, 64), 1e300), Y)
    single = nn.Sequential(perceptron(dtype=torch.float32))
    refused("target-data", model=single, domain="tabular", train_xy=far, nonmember_xy=far)


def test_a_model_on_the_cpu_is_kept_itself() -> None:
    model = perceptron()
    assert target(model).model is model


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_of_a_model_and_data_on_another_device_a_copy_is_kept_on_the_cpu() -> None:
    model = perceptron().cuda()
    found = target(model, train_xy=(torch.tensor(X).cuda(), torch.tensor(Y).cuda()))
    assert {part.device.type for part in (*found.model.parameters(), *found.members)} == {"cpu"}
    assert {part.device.type for part in model.parameters()} == {"cuda"}


def test_a_learning_rate_is_the_targets_own() -> None:
    assert target().learning_rate == 0.5
    assert target(learning_rate=1).learning_rate == 1


def test_batchnorm_whose_statistics_nobody_spoke_of_is_refused() -> None:
    assert '"unknown"' in refused("target-buffers", model=normalised()).hint


@pytest.mark.parametrize("buffers", ["known", "unknown"])
def test_batchnorm_whose_statistics_were_spoken_of_is_accepted(buffers: str) -> None:
    assert target(normalised(), buffers=buffers).buffers == buffers


def test_batchnorm_without_running_statistics_needs_no_word() -> None:
    still = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64, track_running_stats=False), nn.Linear(64, 10))
    assert target(still).buffers == "none"


def test_a_model_on_parameters_of_single_precision_gets_inputs_of_it() -> None:
    assert target(perceptron(dtype=torch.float32)).members[0].dtype == torch.float32


def test_a_target_does_not_print_its_data() -> None:
    assert repr(target()) == "Target('target', image, 100 members)"
