"""Private training of one client over a run: what is made once, and remembered for all its rounds.

Made anew in each round, private training would begin its count of steps anew as well; so a run's model,
optimiser and loader are those of its first round, under the key of that client in that run. They are
remembered for as long as the client itself keeps them. Once they are gone the run's key stays, and no other
three go on under it: steps that no receipt has counted yet may be gone with them.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from weakref import WeakValueDictionary

import torch
from opacus.grad_sample import GradSampleModule
from opacus.grad_sample.gsm_base import AbstractGradSampleModule
from opacus.optimizers import DPOptimizer
from opacus.validators import ModuleValidator
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.utils.data import DataLoader

from secagg.errors import PrivacyError
from secagg.prg import Random
from secagg.privacy.calibration import calibrate_noise
from secagg.torch.account import Account
from secagg.torch.batches import PoissonBatches, check_loader, poisson_loader
from secagg.torch.optimizer import PrivateOptimizer
from secagg.torch.provenance import Provenance
from secagg.torch.state import is_watched, named_tensors, watch
from secagg.update import PrivateTraining
from secagg.weights import Array

__all__ = ["enter"]

Three = tuple[nn.Module, torch.optim.Optimizer, DataLoader[Any]]


@dataclass(frozen=True, eq=False, repr=False)
class _Engine:
    given: Three
    model: nn.Module
    optimizer: PrivateOptimizer
    loader: DataLoader[Any]
    provenance: Provenance
    examples: int


_engines: WeakValueDictionary[str, _Engine] = WeakValueDictionary()
"""By key. Each lives as long as its private optimiser, which the given optimiser and both loaders lead to."""
_begun: set[str] = set()
"""Every key that private training ever began under in this process."""
_calibrated = lru_cache(maxsize=256)(calibrate_noise)
"""Takes seconds; clients of one process with equally much data ask the same."""


def enter(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loader: DataLoader[Any],
    round: int,
    terms: PrivateTraining,
    weights: Mapping[str, Array],
    random: Random = os.urandom,
) -> Three:
    """Begins a round. weights: the task's. random: keys noise and batches; the first round's is kept."""
    # True of every model whose first layer takes data, and no fault: Opacus looks at outputs' gradients only.
    warnings.filterwarnings(
        "ignore", "Full backward hook is firing when gradients are computed with respect to module outputs"
    )
    engine = _engines.get(terms.key)
    if engine is None:
        _check_new(terms.key)
        engine = _made(model, optimizer, loader, round, terms, random)
        engine.optimizer.keeps = engine
        _engines[terms.key] = engine
        _begun.add(terms.key)
        watch(model, engine.provenance)
    else:
        _check_same(engine, model, optimizer, loader)
        engine.provenance.account.begin(round, terms)
    engine.provenance.begin(named_tensors(engine.given[0]), weights)
    return engine.model, engine.optimizer, engine.loader


def _check_new(key: str) -> None:
    if key in _begun:
        raise PrivacyError(
            "private-changed",
            "private training of this run began with a model, an optimizer and a loader that are gone",
            "make model, optimizer and loader once, outside the train function, and keep them over the run",
        )


def _check_same(
    engine: _Engine, model: nn.Module, optimizer: torch.optim.Optimizer, loader: DataLoader[Any]
) -> None:
    now = (engine.model, engine.optimizer, engine.loader)
    for name, got, first, private in zip(
        ("model", "optimizer", "loader"), (model, optimizer, loader), engine.given, now, strict=True
    ):
        if got is not first and got is not private:
            raise PrivacyError(
                "private-changed",
                f"private training of this run began with another {name}",
                "make model, optimizer and loader once, outside the train function",
            )
    if len(engine.loader.dataset) != engine.examples:  # type: ignore[arg-type]
        raise PrivacyError(
            "private-changed",
            "the data is not what private training of this run began with",
            "keep to the same examples over the run; new ones join with the next run",
        )


def _made(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loader: DataLoader[Any],
    round: int,
    terms: PrivateTraining,
    random: Random,
) -> _Engine:
    if not 0 < terms.max_grad_norm < math.inf or terms.local_steps < 1:
        raise PrivacyError(
            "private-terms", "max_grad_norm is a finite number above zero, and local_steps one or more"
        )
    _check_model(model)
    _check_optimizer(model, optimizer, resumed=bool(terms.taken))
    check_loader(loader)
    examples = len(loader.dataset)  # type: ignore[arg-type]
    if terms.delta * examples >= 1:
        raise PrivacyError(
            "private-delta",
            "the plan's delta is not below one over the number of this client's examples",
            "a smaller delta in the plan's [privacy], or more data here: at such a delta a client may give "
            "one example away whole",
        )
    steps = len(loader)
    noise = _calibrated(terms.epsilon, terms.delta, terms.local_steps, sampling_rate=1 / steps)
    account = Account(terms, 1 / steps, noise)
    batches = PoissonBatches(examples, steps, random)
    account.begin(round, terms)
    provenance = Provenance(account, named_tensors(model))
    return _Engine(
        given=(model, optimizer, loader),
        model=_wrapped(model),
        optimizer=PrivateOptimizer(optimizer, model, provenance, batches, examples / steps, random),
        loader=poisson_loader(loader, batches),
        provenance=provenance,
        examples=examples,
    )


def _check_model(model: nn.Module) -> None:
    if isinstance(model, AbstractGradSampleModule) or is_watched(model):
        raise PrivacyError(
            "private-module",
            "this model is in private training already, of another run or by Opacus itself",
            "a new model and a new optimizer for each run and each client",
        )
    found = [str(error) for error in ModuleValidator.validate(model, strict=False)]
    # Those without trainable parameters, which Opacus passes over, gather statistics all the same.
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) or (
            isinstance(module, _InstanceNorm) and module.track_running_stats
        ):
            found.append(f"'{name}' ({type(module).__name__}) mixes or counts examples: GroupNorm does not")
    if found:
        raise PrivacyError(
            "private-module",
            "this model cannot be trained privately",
            "Opacus says: " + "; ".join(dict.fromkeys(found)),
        )
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise PrivacyError("private-module", "the model has no trainable parameter")
    if any(p.dtype not in (torch.float32, torch.float64) for p in trained):
        raise PrivacyError(
            "private-module",
            "the trainable parameters are not float32 or float64, and coarser numbers swallow the noise",
            "float32 parameters, and no torch.autocast",
        )


def _check_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, *, resumed: bool) -> None:
    if isinstance(optimizer, DPOptimizer):
        raise PrivacyError(
            "private-optimizer", "this optimizer is private already", "give the plain torch optimizer"
        )
    if isinstance(optimizer, torch.optim.LBFGS):
        raise PrivacyError(
            "private-optimizer", "LBFGS looks at a batch several times in a step", "SGD or Adam"
        )
    theirs = {id(p) for group in optimizer.param_groups for p in group["params"]}
    everything = {id(p) for p in model.parameters()}
    if not theirs <= everything:
        raise PrivacyError(
            "private-optimizer",
            "the optimizer has parameters that are not the model's",
            "an optimizer over model.parameters() and nothing else",
        )
    if any(p.requires_grad and id(p) not in theirs for p in model.parameters()):
        raise PrivacyError(
            "private-optimizer",
            "the model has trainable parameters that the optimizer does not train",
            "freeze them with requires_grad_(False), or give them to the optimizer",
        )
    # (Adagrad writes its state when it is made, with a step of zero.)
    if not resumed and any(state.get("step", 1) for state in optimizer.state.values()):
        raise PrivacyError(
            "private-optimizer",
            "the optimizer has taken steps before private training began, and carries them in its state",
            "a new optimizer",
        )


def _wrapped(model: nn.Module) -> nn.Module:
    try:
        wrapped = GradSampleModule(model, loss_reduction="mean")
    except (NotImplementedError, ValueError) as error:
        raise PrivacyError(
            "private-module", "this model cannot be trained privately", f"Opacus says: {error}"
        ) from error
    wrapped.forbid_grad_accumulation()
    module: nn.Module = wrapped
    return module
