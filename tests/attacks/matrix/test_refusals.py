"""What a cell says of an error, and which errors end a table."""

from concurrent.futures.process import BrokenProcessPool

import pytest

from secagg.errors import PrivacyError, RunError, SecaggError, UpdateError
from secagg_attacks.matrix.refusals import TrainingError, why_none
from secagg_attacks.membership.errors import MembershipError
from secagg_attacks.model_calls import calling_the_model
from secagg_attacks.target import TargetError

SAID = "no beds left for Anna"


def wrapped(cause, error=UpdateError, code="train-failed"):
    """As `simulate` has it: the participant's word for it, and the client's name before that."""
    inner = error(code, f"training failed 1 time in a row; last: {cause}")
    inner.__cause__ = cause
    outer = error(code, f"'client-0': {inner.message}")
    outer.__cause__ = inner
    return outer


@pytest.mark.parametrize(
    "error",
    [
        wrapped(ValueError(SAID)),
        wrapped(RuntimeError(SAID)),
        wrapped(UpdateError("update-shape", SAID)),
        wrapped(ValueError(SAID), MembershipError, "shadow-failed"),
        wrapped(BrokenProcessPool(SAID), MembershipError, "shadow-failed"),
    ],
)
def test_a_training_of_the_users_own_that_fails_is_an_error_with_exit_code_1(error):
    with pytest.raises(TrainingError) as refused:
        why_none(error, private=False)
    assert (refused.value.code, refused.value.exit_code) == ("target-training", 1)
    assert refused.value.message.count(SAID) == 1
    assert refused.value.__cause__ is error


@pytest.mark.parametrize(
    "cause",
    [
        TargetError("target-diverged", "not finite", "lower"),
        UpdateError("update-not-finite", "a NaN", "lower"),
    ],
)
def test_training_that_diverges_is_a_note_that_begins_with_what_diverged(cause):
    note = why_none(wrapped(cause), private=False)
    assert note == f"{cause.message} [{cause.code}]; hint: lower"


def under_attack(error):
    with pytest.raises(TargetError) as refused, calling_the_model():
        raise RuntimeError(str(error)) from error
    return refused.value


@pytest.mark.parametrize("wrap", [lambda error: error, wrapped, under_attack])
def test_one_example_is_no_batch_for_batchnorm_wherever_pytorch_says_so(wrap):
    error = wrap(ValueError("Expected more than 1 value per channel when training, got input size [1, 16]"))
    assert why_none(error, private=False).startswith("the model's BatchNorm cannot train on one example")


def test_what_the_library_refuses_is_a_note():
    refused = PrivacyError("private-module", "no BatchNorm", "GroupNorm")
    assert why_none(refused, private=False) == "no BatchNorm [private-module]; hint: GroupNorm"


def test_a_model_that_dp_sgd_alone_cannot_train_is_a_note_without_its_words():
    note = why_none(wrapped(RuntimeError(SAID)), private=True)
    assert note == "DP-SGD cannot train this model: RuntimeError [train-failed]"


def test_a_model_that_raises_under_attack_is_a_note_without_its_words():
    with pytest.raises(TargetError) as refused, calling_the_model():
        raise NotImplementedError(SAID)
    note = why_none(refused.value, private=False)
    assert SAID not in note
    assert "NotImplementedError [model-not-attackable]; hint: " in note


@pytest.mark.parametrize("error", [ValueError(SAID), RunError("run-damaged", SAID)])
def test_what_is_neither_a_refusal_nor_of_training_stays_as_it_is(error):
    with pytest.raises(type(error)) as refused:
        why_none(error, private=False)
    assert refused.value is error
    assert not isinstance(error, SecaggError) or refused.value.__cause__ is None
