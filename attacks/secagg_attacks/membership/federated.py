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
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

import secagg.torch
from secagg_attacks.federation import Federation
from secagg_attacks.local_training import BUFFERS
from secagg_attacks.membership.confidence import Floats
from secagg_attacks.membership.errors import MembershipError
from secagg_attacks.model_calls import calling_the_model
from secagg_attacks.target import Examples, Loss, Target
from secagg_attacks.views import Arrays, View

__all__ = ["Candidates", "FederatedScores", "Observation", "candidates", "federated_scores", "observed"]

_LEAST: Final = 10
_CHUNK: Final = 1 << 22
"""Numbers of per-example gradients held at a time."""


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
    parts = []
    for done, seen in enumerate(observations, start=1):
        summed = per_client * seen.contributors / rate
        parts.append(_one_round(target, seen, examples, summed))
        if on_step is not None:
            on_step(done, len(observations))
    cosine, difference, norm = (np.stack(each) for each in zip(*parts, strict=True))
    return FederatedScores(cosine, difference, norm)


def _one_round(target: Target, seen: Observation, examples: Examples, summed: float) -> list[Floats]:
    model = target.fresh().eval()
    secagg.torch.load(model, seen.model, local=BUFFERS if target.buffers == "unknown" else ())
    names = [name for name, parameter in model.named_parameters() if name in seen.update]
    whole = np.concatenate([np.asarray(seen.update[name], dtype=np.float64).reshape(-1) for name in names])
    toward = torch.from_numpy(-whole)
    length = float(toward.norm())
    x, y = examples
    found = []
    size = max(1, _CHUNK // len(whole))
    for at in range(0, len(x), size):
        gradients = _gradients(model, target.loss, names, x[at : at + size], y[at : at + size])
        inner, square = gradients @ toward, (gradients**2).sum(dim=1)
        scale = square.sqrt() * length
        cosine = torch.where(scale > 0, inner / scale, torch.zeros_like(inner))
        found.append(torch.stack([cosine, 2 * summed * inner - square, -square.sqrt()]))
    return list(torch.cat(found, dim=1).numpy())


def _gradients(model: nn.Module, loss: Loss, names: Sequence[str], x: Tensor, y: Tensor) -> Tensor:
    """Each example's own gradient, float64 (examples, parameters), on the CPU.

    All at once where torch can (`vmap`); models that it cannot take so, recurrent ones say, one by one.
    Raises TargetError `model-not-attackable`.
    """
    parameters = dict(model.named_parameters())
    chosen = {name: parameters[name].detach() for name in names}

    def of_one(values: dict[str, Tensor], one: Tensor, label: Tensor) -> Tensor:
        return loss(functional_call(model, values, (one[None],)), label[None])

    try:
        found = vmap(grad(of_one), in_dims=(None, 0, 0))(chosen, x, y)
    except RuntimeError:
        leaves = {name: value.requires_grad_() for name, value in chosen.items()}
        with calling_the_model():
            singles = [
                torch.autograd.grad(of_one(leaves, one, label), list(leaves.values()), materialize_grads=True)
                for one, label in zip(x, y, strict=True)
            ]
        found = {
            name: torch.stack(each) for name, each in zip(names, zip(*singles, strict=True), strict=True)
        }
    return torch.cat([found[name].reshape(len(x), -1).double() for name in names], dim=1).cpu()
