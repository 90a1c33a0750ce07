"""How one client trains on its share: a train function, as secagg asks for one.

Plain SGD on the target's loss. One step (FedSGD) gives the gradient itself as the delta, times the learning
rate: a difference of weights would have lost digits of it that exact attacks need. Under a plan with
example-level privacy the steps are DP-SGD's, through `secagg.torch.private`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import secagg
import secagg.torch
from secagg_attacks.target import Examples, Target, TargetError

__all__ = ["BUFFERS", "FEDSGD", "LocalClient", "LocalTraining", "descend", "fitted"]

BUFFERS: Final = ("buffers.*",)
"""What [training] local has where BatchNorm's statistics stay with the clients."""


@dataclass(frozen=True)
class LocalTraining:
    """Optimiser steps of one client in one round, the examples in each (None: all it has), and the rate.

    own_fit: the target's `fit` in place of SGD, but under DP-SGD; it begins from no global model, and steps,
    batch and learning_rate say nothing then. fit_seed: what the seed that fit is handed follows from, in each
    round the same for every client: of models that begin from different first weights, the mean is none.

    Raises TargetError `local-training`.
    """

    steps: int = 1
    batch: int | None = None
    learning_rate: float = 1.0
    own_fit: bool = False
    fit_seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or (self.batch is not None and self.batch < 1) or not self.learning_rate > 0:
            raise TargetError(
                "local-training",
                f"{self.steps} steps on batches of {self.batch} at a learning rate of {self.learning_rate}",
                "1 step or more, 1 example or more, and a rate above 0",
            )


FEDSGD: Final = LocalTraining()
"""One step on all examples with rate 1: the update is the gradient, negated."""


class LocalClient:
    """A train function over one client's examples. Belongs to one run: private training counts its steps.

    seed: of batches and dropout; DP-SGD draws its own from the operating system.
    """

    def __init__(self, target: Target, examples: Examples, how: LocalTraining, seed: int) -> None:
        self._target = target
        self._x, self._y = examples
        self._how = how
        self._seed = seed
        self._kept = BUFFERS if target.buffers == "unknown" else ()
        self._model: nn.Module | None = None
        self._private: _Three | None = None

    def __call__(self, task: secagg.Task) -> secagg.Update:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_word(self._seed, task.round))
            if task.private is not None:
                return self._privately(task)
            if self._how.own_fit:
                return self._fitted(task)
            return self._plainly(task)

    def _fitted(self, task: secagg.Task) -> secagg.Update:
        model = fitted(self._target, (self._x, self._y), self._how, task.round)
        arrays = _finite(model, "after the target's fit", "a fit that ends in finite weights")
        return secagg.Update(arrays, num_examples=len(self._x))

    def _plainly(self, task: secagg.Task) -> secagg.Update:
        model = self._begun(task)
        if self._how.steps == 1:
            return self._gradient(model, task)
        descend(model, self._target, (self._x, self._y), self._how, (self._seed, task.round))
        trained = f"after {self._how.steps} steps at a learning rate of {self._how.learning_rate:g}"
        arrays = _finite(model, trained, "a lower learning rate: Target(learning_rate=...)")
        return secagg.Update(arrays, num_examples=len(self._x))

    def _gradient(self, model: nn.Module, task: secagg.Task) -> secagg.Update:
        """One step, unrounded; statistics that moved on the way go with it."""
        (batch,) = _batches(len(self._x), self._how, self._seed, task.round)
        model.zero_grad()
        self._target.loss(model(self._x[batch]), self._y[batch]).backward()  # type: ignore[no-untyped-call]
        after = secagg.torch.arrays(model)
        delta = {name: after[name] - array for name, array in task.weights.items() if array.dtype.kind == "f"}
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                delta[name] = -self._how.learning_rate * parameter.grad.detach().cpu().numpy()
        return secagg.Update(delta=delta, num_examples=len(self._x))

    def _privately(self, task: secagg.Task) -> secagg.Update:
        if self._private is None:
            model = self._target.fresh().train()
            self._private = (
                model,
                torch.optim.SGD(model.parameters(), self._how.learning_rate),
                DataLoader(
                    TensorDataset(self._x, self._y), batch_size=self._how.batch or len(self._x), shuffle=True
                ),
            )
        secagg.torch.load(self._private[0], task.weights)
        model, optimizer, loader = secagg.torch.private(*self._private, task)
        left = self._how.steps
        while left:
            for x, y in loader:
                optimizer.zero_grad()
                self._target.loss(model(x), y).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                left -= 1
                if not left:
                    break
        return secagg.Update(secagg.torch.arrays(model), num_examples=len(self._x))

    def _begun(self, task: secagg.Task) -> nn.Module:
        """The global model; statistics that stay here are those of this client's last round."""
        if self._model is None or not self._kept:
            self._model = self._target.fresh()
        secagg.torch.load(self._model, task.weights, local=self._kept)
        return self._model.train()


def descend(
    model: nn.Module, target: Target, examples: Examples, how: LocalTraining, seeds: tuple[int, int]
) -> None:
    """`how.steps` of plain SGD on a model in train mode, in place. seeds: of its batches."""
    x, y = examples
    optimizer = torch.optim.SGD(model.parameters(), how.learning_rate)
    for batch in _batches(len(x), how, *seeds):
        optimizer.zero_grad()
        target.loss(model(x[batch]), y[batch]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def fitted(target: Target, examples: Examples, how: LocalTraining, round: int) -> nn.Module:
    """What the target's own fit makes of a client's examples in a round. Raises TargetError `target-fit`."""
    if target.fit is None:
        raise TargetError("target-fit", "the target has no fit", "Target(fit=...), or plain SGD")
    return target.fit(*examples, _word(how.fit_seed, round))


def _finite(model: nn.Module, trained: str, hint: str) -> secagg.torch.Arrays:
    """The model's arrays. Raises TargetError `target-diverged`."""
    found = secagg.torch.arrays(model)
    if not all(np.isfinite(array).all() for array in found.values()):
        raise TargetError("target-diverged", f"{trained}, weights are not finite", hint)
    return found


_Three = tuple[nn.Module, torch.optim.Optimizer, "DataLoader[tuple[Tensor, ...]]"]


def _word(*seeds: int) -> int:
    return int(np.random.SeedSequence(seeds).generate_state(1)[0])


def _batches(examples: int, how: LocalTraining, seed: int, round: int) -> list[npt.NDArray[np.int64]]:
    """As many as there are steps; an example comes again once all have been there."""
    size = min(how.batch or examples, examples)
    if size == examples:
        return [np.arange(examples)] * how.steps
    rng = np.random.default_rng((seed, round))
    passes = -(-how.steps * size // examples)
    order = np.concatenate([rng.permutation(examples) for _ in range(passes)])
    return [order[step * size : (step + 1) * size] for step in range(how.steps)]
