"""Why a cell or a row has no figure, told apart from a function of the user's own that failed.

What the library refuses by nature, and training that diverged, are findings: a note says so. A `fit` or a
model that raises while clients train is none, and ends the table. What a user's exception says may be of
their data: it is in the error, which is theirs to see, and in no note, which is written into reports.
"""

from __future__ import annotations

from typing import Final

from secagg.errors import RunError, SecaggError
from secagg_attacks.matrix.errors import note_of

__all__ = ["TrainingError", "why_none"]

_TRAINING: Final = frozenset({"train-failed", "shadow-failed"})
_DIVERGED: Final = frozenset({"target-diverged", "update-not-finite"})
_QUOTES: Final = "model-not-attackable"
"""The code of a message that ends with what was raised, after a colon."""
_ONE_EXAMPLE: Final = "Expected more than 1 value per channel when training"
"""How PyTorch's BatchNorm begins to say that one example is no batch."""


class TrainingError(SecaggError):
    """The target's own training raised, or gave no model of the target's kind: exit code 1."""


def why_none(error: SecaggError | ValueError, *, private: bool) -> str:
    """The note of a cell that `error` ended, or of a row, on one line and without a user's own words.

    private: whether it is of DP-SGD, which trains by a loop of its own; a model that it cannot train is
    refused by nature, for the same model trains on the row without protection first. Raises TrainingError
    `target-training`, and `error` itself where it is neither a refusal nor of training: a RunError, such as
    of a full disk beneath a run, says nothing of an attack.
    """
    root = _root(error)
    if any(str(each).startswith(_ONE_EXAMPLE) for each in (root, root.__cause__)):
        return "the model's BatchNorm cannot train on one example at a time, which this attack needs"
    if not isinstance(error, SecaggError) or isinstance(error, RunError):
        raise error
    if root is error:
        return _refused(error)
    if isinstance(root, SecaggError) and root.code in _DIVERGED:
        return note_of(root)
    if private:
        return f"DP-SGD cannot train this model: {type(root).__name__} [{error.code}]"
    raise TrainingError(
        "target-training",
        f"the target's own training failed: {_said(root)}",
        "train on some of its examples yourself, with fit if it has one; -v shows where it was",
    ) from error


def _root(error: Exception) -> Exception:
    """What failed beneath the library's word for it."""
    while (
        isinstance(error, SecaggError) and error.code in _TRAINING and isinstance(error.__cause__, Exception)
    ):
        error = error.__cause__
    return error


def _refused(error: SecaggError) -> str:
    if error.code != _QUOTES or error.__cause__ is None:
        return note_of(error)
    head, _, _ = error.message.partition(": ")
    return note_of(SecaggError(error.code, f"{head}: {type(error.__cause__).__name__}", error.hint))


def _said(root: Exception) -> str:
    return note_of(root) if isinstance(root, SecaggError) else f"{type(root).__name__}: {root}"
