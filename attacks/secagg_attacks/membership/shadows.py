"""Shadow models of any kind: the user's own training, as often as asked, on any executor.

A task trains one model and returns what it says of every example, never the model: what travels back from a
worker process is one array. The small networks that many attacks make do with are trained together
instead, by `train_mlps`.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from multiprocessing.reduction import ForkingPickler
from pickle import PicklingError

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from secagg_attacks.membership.errors import MembershipError
from secagg_attacks.target import Fit

__all__ = ["train_shadows"]

_AT_ONCE = 1024


def train_shadows(
    fit: Fit,
    x: Tensor,
    y: Tensor,
    is_member: npt.NDArray[np.bool_],
    seed: int,
    executor: Executor,
    on_step: Callable[[int, int], None] | None = None,
) -> npt.NDArray[np.float32]:
    """Logits (models, examples, classes) of one model for each row of is_member (models, examples).

    fit: called with the marked examples and a seed of the model's own. executor: threads, or processes; a
    process pool needs a fit that it can import (a function of a module) and, beside torch, the start method
    "spawn": `ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn"))`. on_step: called with
    models done and in all. The executor is the caller's, and is not shut down.

    Raises MembershipError `model-without-examples`, `fit-not-importable`, `shadow-failed` (fit raised, its
    process died, or what it returned gives no finite logits; the cause is attached).
    """
    models = len(is_member)
    if not is_member.any(axis=1).all():
        raise MembershipError(
            "model-without-examples",
            f"{int((~is_member.any(axis=1)).sum())} of {models} models have no example to train on",
            "complementary_pairs gives each of them half",
        )
    if isinstance(executor, ProcessPoolExecutor):
        _check_travels(fit)
    seeds = [int(word) for word in np.random.SeedSequence(seed).generate_state(models)]
    running = [
        executor.submit(_one, fit, x, y, mine, its_seed)
        for mine, its_seed in zip(is_member, seeds, strict=True)
    ]
    found = []
    try:
        for at, future in enumerate(running):
            try:
                found.append(future.result())
            except BrokenExecutor as died:
                raise _failed(at, models, "a worker process died") from died
            except Exception as raised:
                raise _failed(at, models, f"{type(raised).__name__}: {raised}") from raised
            if on_step is not None:
                on_step(at + 1, models)
    finally:
        for future in running:
            future.cancel()
    return np.stack(found)


def _one(fit: Fit, x: Tensor, y: Tensor, mine: npt.NDArray[np.bool_], seed: int) -> npt.NDArray[np.float32]:
    """Trains one model and asks it about every example; runs in the worker."""
    rows = torch.from_numpy(np.flatnonzero(mine))
    model = fit(x[rows], y[rows], seed).eval()
    with torch.no_grad():
        logits = torch.cat([model(part) for part in torch.split(x, _AT_ONCE)])
    if logits.ndim != 2 or len(logits) != len(x) or not bool(torch.isfinite(logits).all()):
        raise ValueError(
            f"the model that fit returned gives {tuple(logits.shape)}, or numbers that are not finite"
        )
    return np.asarray(logits.detach().to(torch.float32).cpu().numpy())


def _check_travels(fit: Fit) -> None:
    try:
        ForkingPickler.dumps(fit)
    except (PicklingError, AttributeError, TypeError) as why:
        raise MembershipError(
            "fit-not-importable",
            f"fit cannot be sent to a worker process: {why}",
            "make it a function of a module (no lambda, no function within a function), or use threads",
        ) from why


def _failed(at: int, models: int, why: str) -> MembershipError:
    return MembershipError(
        "shadow-failed",
        f"shadow model {at + 1} of {models}: {why}",
        "call fit yourself on some of the examples, to see it fail there",
    )
