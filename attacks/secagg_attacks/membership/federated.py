"""Membership from what a federated run shows: an example's gradient beside each round's update or sum.

An update is made of the gradients of the examples it was trained on. Whoever has the model that a round began
with and an example computes that example's gradient, and asks how much of it is in the update. Nothing is
trained, and the training is not interfered with.

    cosine      of the gradient with the update (Li et al. 2023, Effective passive membership inference
                attacks in federated learning against overparameterized models, OpenReview QsCSLPP55Ku):
                gradients of a large model are close to orthogonal, but for the update's own
    difference  |G|^2 - |G - g|^2 of the summed gradient G that the update stands for (the same paper)
    norm        of the gradient alone, negated (after Nasr, Shokri, Houmansadr 2019, Comprehensive privacy
                analysis of deep learning): what a model was trained on moves it less. It needs the model and
                no update, so no protection of updates touches it; in a first round it knows nothing

Scores are higher for members. Under masks the update is the sum of all; a masked upload or a ciphertext taken
for an update tells how much such a thing gives away, and a p-value for it holds where the model has not seen
the members: later models treat members' gradients apart, whatever they are held against.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

import secagg.torch
from secagg_attacks.federation import Federation
from secagg_attacks.local_training import BUFFERS
from secagg_attacks.membership.confidence import Floats
from secagg_attacks.membership.errors import MembershipError
from secagg_attacks.membership.example_gradients import CHUNK, example_gradients
from secagg_attacks.target import Examples, Target
from secagg_attacks.views import Arrays, View

__all__ = [
    "Candidates",
    "FederatedScores",
    "Observation",
    "candidates",
    "federated_scores",
    "observed",
]

_LEAST: Final = 10


@dataclass(frozen=True, eq=False, repr=False)
class Observation:
    """One round: the model that it began with, and the update that was seen. contributors: clients in it."""

    round: int
    model: Arrays
    update: Arrays
    contributors: int


@dataclass(frozen=True, eq=False)
class FederatedScores:
    """Three scores of every example in every round: float64 (rounds, examples) each."""

    cosine: Floats
    difference: Floats
    norm: Floats

    def over_rounds(self, which: str) -> Floats:
        """The mean over rounds of one of the three, by name: (examples,)."""
        scores: Floats = {"cosine": self.cosine, "difference": self.difference, "norm": self.norm}[which]
        return np.asarray(scores.mean(axis=0))


@dataclass(frozen=True, eq=False, repr=False)
class Candidates:
    """Whose membership is asked about: inputs, labels, and the truth, bool (examples,)."""

    x: Tensor
    y: Tensor
    is_member: npt.NDArray[np.bool_]


def candidates(federation: Federation, client: str | None = None) -> Candidates:
    """A client's examples (None: everybody's), then the target's non-members.

    Raises MembershipError `too-few-nonmembers` with fewer than 10, which are too few to tell an attack from
    chance.
    """
    x, y = federation.examples_of(client)
    others, labels = federation.target.nonmembers
    if len(others) < _LEAST:
        raise MembershipError(
            "too-few-nonmembers",
            f"the target has {len(others)} non-members, and {_LEAST} are the least to tell from chance with",
            "hold more data back from training; 1 000 for a false-positive rate of 0.1 %",
        )
    is_member = np.arange(len(x) + len(others)) < len(x)
    return Candidates(torch.cat([x, others]), torch.cat([y, labels]), is_member)


def observed(view: View, client: str | None = None) -> tuple[Observation, ...]:
    """Each round's upload of a client, whatever protects it; None: each opened mean.

    Raises MembershipError `nothing-observed`: the client uploaded nothing, or no sum was opened.
    """
    found = []
    for each in view.rounds:
        if client is None and each.mean is not None and each.cohort:
            found.append(Observation(each.round, each.model, each.mean, len(each.cohort)))
        elif client is not None and client in each.uploads:
            found.append(Observation(each.round, each.model, each.uploads[client], 1))
    if not found:
        raise MembershipError(
            "nothing-observed",
            "no sum was opened" if client is None else f"'{client}' uploaded nothing",
            f"a run with an opened round; the clients of this one are {', '.join(view.clients) or 'none'}",
        )
    return tuple(found)


def federated_scores(
    target: Target,
    observations: Sequence[Observation],
    examples: Examples,
    *,
    per_client: float,
    rate: float = 1.0,
    on_step: Callable[[int, int], None] | None = None,
) -> FederatedScores:
    """The three scores of examples (x, y) in each observation.

    per_client: training examples of a client. rate: learning rate times local steps, so that an update is
    about -rate times the mean gradient of those examples. Both matter to `difference` alone. on_step: rounds
    done, and all of them. Raises MembershipError `nothing-observed`, TargetError
    `model-not-attackable`.
    """
    if not observations:
        raise MembershipError("nothing-observed", "no round was observed", "observed(view) gives them")
    parts: list[list[Floats]] = []
    for _, group in groupby(observations, _Weights):
        together = list(group)
        parts += _of_one_model(target, together, examples, per_client / rate)
        if on_step is not None:
            on_step(len(parts), len(observations))
    cosine, difference, norm = (np.stack(each) for each in zip(*parts, strict=True))
    return FederatedScores(cosine, difference, norm)


class _Weights:
    """Two are equal if the observations' models are: an example's gradients are then the same."""

    def __init__(self, seen: Observation) -> None:
        self._model = seen.model

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Weights) or self._model.keys() != other._model.keys():
            return False
        return all(np.array_equal(array, other._model[name]) for name, array in self._model.items())

    __hash__ = None  # type: ignore[assignment] # compared, and never looked up


def _of_one_model(
    target: Target, group: Sequence[Observation], examples: Examples, examples_each: float
) -> list[list[Floats]]:
    """Cosine, difference and norm of every example, of each observation; examples_each: of a contributor."""
    model = target.fresh().eval()
    secagg.torch.load(model, group[0].model, local=BUFFERS if target.buffers == "unknown" else ())
    names = [name for name, parameter in model.named_parameters() if name in group[0].update]
    toward = torch.from_numpy(
        -np.stack(
            [
                np.concatenate(
                    [np.asarray(seen.update[name], dtype=np.float64).reshape(-1) for name in names]
                )
                for seen in group
            ],
            axis=1,
        )
    )
    lengths = toward.norm(dim=0)
    summed = examples_each * torch.tensor([float(seen.contributors) for seen in group])
    x, y = examples
    found = []
    size = max(1, CHUNK // len(toward))
    for at in range(0, len(x), size):
        gradients = example_gradients(model, target.loss, names, x[at : at + size], y[at : at + size])
        inner, square = gradients @ toward, (gradients**2).sum(dim=1, keepdim=True)
        scale = square.sqrt() * lengths
        cosine = torch.where(scale > 0, inner / scale, torch.zeros_like(inner))
        found.append(torch.stack([cosine, 2 * summed * inner - square, (-square.sqrt()).expand_as(inner)]))
    scores = torch.cat(found, dim=1).permute(2, 0, 1).numpy()
    return [[*each] for each in scores]
