"""Shadow models: what the server would make of shadow clients that train as clients do, and of their sums.

In each deal shadow clients share all examples out, as many each as a client has, and as many of them as a
cohort has clients make a sum. Whoever runs the server knows the recipe and has examples like the clients';
here, as is usual, those that are asked about are among them. Plain SGD of many shadow clients is one tensor
program (`torch.func.vmap`). Models that it cannot take, dropout and BatchNorm among them, and a target's own
fit, train one by one: on an executor, if the table has one, else in this process. No defence is played on
shadows: a server that clips theirs as clients do, and adds the noise that it knows of, may find more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

import secagg.torch
from secagg_attacks.local_training import LocalTraining, descend, fitted
from secagg_attacks.matrix.case import Case
from secagg_attacks.matrix.memberships_asked import Asked, logits_of
from secagg_attacks.membership.confidence import Floats, bounded, phi
from secagg_attacks.membership.errors import MembershipError
from secagg_attacks.membership.shadows import each_trained
from secagg_attacks.target import Examples, Target
from secagg_attacks.views import Arrays

__all__ = ["Evidence", "Shadows", "shadows_of"]

Evidence: TypeAlias = tuple[Floats, npt.NDArray[np.bool_]]
"""phi, and which examples each was trained on: (models, examples) both."""

_Rows: TypeAlias = npt.NDArray[np.int64]
_Phis: TypeAlias = tuple[Floats, Floats]
_Train: TypeAlias = Callable[[_Rows], _Phis]
"""Rows (sums, clients, examples of each) -> phi of the clients, one after another, and of the sums."""

_NUMBERS: Final = 1 << 25
"""Parameters and activations of shadow clients that are held at a time."""
_ACTIVATIONS: Final = 16
"""For each number of an input, as a guess."""
_ROUND: Final = 1


@dataclass(frozen=True, eq=False)
class Shadows:
    """Of lone clients, and of sums of as many as a cohort has."""

    clients: Evidence
    sums: Evidence


def shadows_of(case: Case, asked: Asked) -> Shadows:
    """Trained once for a table and a recipe. Raises MembershipError `too-few-nonmembers`, `shadow-failed`,
    `fit-not-importable`."""
    key = ("shadows", case.seed, asked.cohorts[0].local)
    if key not in case.memory.kept:
        case.memory.kept[key] = _shadows(case, asked)
    found: Shadows = case.memory.kept[key]
    return found


def _shadows(case: Case, asked: Asked) -> Shadows:
    deals = _deals(case, asked)
    sums, clients = deals.shape[:2]
    inputs = asked.each * asked.examples[0][0].numel()
    numbers = sum(value.numel() for value in case.world.target.model.parameters()) + _ACTIVATIONS * inputs
    at_once = max(1, _NUMBERS // (numbers * clients))
    local = asked.cohorts[0].local
    alone = _one_by_one(case, asked, local)
    train = alone if local.own_fit else _side_by_side(asked, local)
    of_clients, of_sums = [], []
    for at in range(0, sums, at_once):
        rows = deals[at : at + at_once]
        try:
            found = train(rows)
        except RuntimeError:
            if train is alone:
                raise
            train = alone
            found = train(rows)
        of_clients.append(found[0])
        of_sums.append(found[1])
        if case.on_step is not None:
            case.on_step(min(at + at_once, sums), sums)
    trained_on = np.zeros((sums, clients, len(asked.examples[0])), dtype=np.bool_)
    np.put_along_axis(trained_on, deals, True, axis=2)
    return Shadows(
        (np.concatenate(of_clients), trained_on.reshape(sums * clients, -1)),
        (np.concatenate(of_sums), np.asarray(trained_on.any(axis=1))),
    )


def _deals(case: Case, asked: Asked) -> _Rows:
    """(sums, clients, examples of each): in every deal, each example is in a sum and not in another. What
    does not go up is filled with the first of the deal."""
    examples, summed = len(asked.examples[0]), asked.clients * asked.each
    if examples < 2 * summed:
        raise MembershipError(
            "too-few-nonmembers",
            f"{examples} examples cannot be shared out so that each is in one sum of {summed} and not in "
            "another",
            f"hold {2 * summed - examples} more back from training, or attack the uploads only",
        )
    generator = np.random.default_rng((case.seed, 1))
    sums = -(-examples // summed)
    return np.concatenate(
        [
            np.resize(generator.permutation(examples), (sums, asked.clients, asked.each))
            for _ in range(case.scale.deals)
        ]
    )


def _side_by_side(asked: Asked, local: LocalTraining) -> _Train:
    """Plain SGD, all clients in one tensor program. RuntimeError of PyTorch where it cannot."""
    target = asked.cohorts[0].target
    x, y = asked.examples
    model = target.fresh().train()
    start = {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}

    def value_of(parameters: Mapping[str, Tensor], inputs: Tensor, labels: Tensor) -> Tensor:
        return target.loss(functional_call(model, dict(parameters), (inputs,)), labels)

    def of_all(parameters: Mapping[str, Tensor]) -> Floats:
        still = target.fresh().eval()

        def of_one(values: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
            out: Tensor = functional_call(still, dict(values), (inputs,))
            return out

        models = len(next(iter(parameters.values())))
        part = max(1, _NUMBERS // (models * _ACTIVATIONS * x[0].numel()))
        with torch.no_grad():
            logits = [
                vmap(of_one, in_dims=(0, None))(parameters, inputs).double().cpu()
                for inputs in torch.split(x, part)
            ]
        return phi(bounded(torch.cat(logits, dim=1).numpy()), y.cpu().numpy())

    def train(rows: _Rows) -> _Phis:
        sums, clients, each = rows.shape
        chosen = torch.from_numpy(rows.reshape(sums * clients, each))
        step = vmap(grad(value_of))
        trained = {name: value.expand(len(chosen), *value.shape).clone() for name, value in start.items()}
        for _ in range(local.steps):
            slopes = step(trained, x[chosen], y[chosen])
            trained = {name: value - local.learning_rate * slopes[name] for name, value in trained.items()}
        means = {
            name: value.reshape(sums, clients, *value.shape[1:]).mean(dim=1)
            for name, value in trained.items()
        }
        return of_all(trained), of_all(means)

    return train


def _one_by_one(case: Case, asked: Asked, local: LocalTraining) -> _Train:
    """By the loop, or the fit, that clients themselves train with."""
    x, y = asked.examples
    labels = y.cpu().numpy()
    # What travels to a worker process is the model, and no data but what it trains on.
    target = replace(asked.cohorts[0].target, train_xy=(x[:1], y[:1]), nonmember_xy=(x[:1], y[:1]))
    trained = 0

    def train(rows: _Rows) -> _Phis:
        nonlocal trained
        sums, clients, each = rows.shape
        jobs: list[tuple[Any, ...]] = []
        for row in rows.reshape(sums * clients, each):
            at = torch.from_numpy(row)
            jobs.append((target, (x[at], y[at]), local, (case.seed, trained)))
            trained += 1
        if case.on_step is not None:
            case.on_step(0, len(jobs))
        models = each_trained(_trained, jobs, case.memory.executor, case.on_step)
        means = [
            _mean(group) for group in (models[at : at + clients] for at in range(0, len(models), clients))
        ]
        lone, summed = (
            np.stack([phi(logits_of(target, one, x), labels) for one in group]) for group in (models, means)
        )
        return lone, summed

    return train


def _mean(models: Sequence[Arrays]) -> Arrays:
    """Counters are nobody's to average: they are the first one's."""
    return {
        name: np.mean([one[name] for one in models], axis=0) if array.dtype.kind == "f" else array
        for name, array in models[0].items()
    }


def _trained(target: Target, examples: Examples, local: LocalTraining, seeds: tuple[int, int]) -> Arrays:
    """One shadow client's arrays; runs in the worker. seeds: of its batches and dropout."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.SeedSequence(seeds).generate_state(1)[0]))
        if local.own_fit:
            return secagg.torch.arrays(fitted(target, examples, local, _ROUND))
        model: nn.Module = target.fresh().train()
        descend(model, target, examples, local, seeds)
        return secagg.torch.arrays(model)
