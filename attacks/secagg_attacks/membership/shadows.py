"""Shadow models of any kind: the user's own training, as often as asked, on any executor.

A task trains one model and returns what it says of every example, never the model: what travels back from a
worker process is one array. The small networks that many attacks make do with are trained together
instead, by `train_mlps`.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from secagg_attacks.membership.errors import MembershipError
from secagg_attacks.target import Fit

__all__ = ["each_trained", "train_shadows"]

Trained = TypeVar("Trained")

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

    fit: called with the marked examples and a seed of the model's own. executor: processes, or a thread; a
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
    seeds = [int(word) for word in np.random.SeedSequence(seed).generate_state(models)]
    jobs = [(fit, x, y, mine, its_seed) for mine, its_seed in zip(is_member, seeds, strict=True)]
    return np.stack(each_trained(_one, jobs, executor, on_step))


def each_trained(
    train: Callable[..., Trained],
    jobs: Sequence[tuple[Any, ...]],
    executor: Executor | None,
    on_step: Callable[[int, int], None] | None = None,
) -> list[Trained]:
    """What `train` makes of each job's arguments, in their order.

    executor: None for this process, one job after another. Threads share PyTorch's generator of random
    numbers: with several of them, training that draws from it is not the same twice, and processes are
    better. on_step: jobs done and in all; what it raises ends the rest. Raises MembershipError
    `fit-not-importable`, `shadow-failed`.
    """
    if isinstance(executor, ProcessPoolExecutor) and jobs:
        _check_travels(jobs[0])
        threads = torch.get_num_threads()
        running = [executor.submit(_called, train, threads, _Copied(job)) for job in jobs]
    else:
        running = [] if executor is None else [executor.submit(train, *job) for job in jobs]
    found = []
    try:
        for at, job in enumerate(jobs):
            try:
                found.append(running[at].result() if running else train(*job))
            except BrokenExecutor as died:
                raise _failed(at, len(jobs), "a worker process died") from died
            except Exception as raised:
                raise _failed(at, len(jobs), f"{type(raised).__name__}: {raised}") from raised
            if on_step is not None:
                on_step(at + 1, len(jobs))
    finally:
        for future in running:
            future.cancel()
    return found


class _Copied:
    """What a worker process is given: the arguments, copied as they leave.

    PyTorch would move their tensors to shared memory where they are, and NumPy arrays that shared a tensor's
    memory until then would be left with memory that is no longer theirs.
    """

    def __init__(self, job: tuple[Any, ...]) -> None:
        self._job = job

    def __reduce__(self) -> tuple[Any, ...]:
        return pickle.loads, (pickle.dumps(self._job),)


def _called(train: Callable[..., Trained], threads: int, job: Any) -> Trained:
    """job: a _Copied, which arrives as the arguments. threads: PyTorch's, as many as the caller has."""
    torch.set_num_threads(threads)
    return train(*job)


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


def _check_travels(job: tuple[Any, ...]) -> None:
    try:
        pickle.dumps(job)
    except (pickle.PicklingError, AttributeError, TypeError) as why:
        raise MembershipError(
            "fit-not-importable",
            f"what trains cannot be sent to a worker process: {why}",
            "make fit, loss and the model's class parts of a module (no lambda, no function within a "
            "function), or use threads",
        ) from why


def _failed(at: int, models: int, why: str) -> MembershipError:
    return MembershipError(
        "shadow-failed",
        f"shadow model {at + 1} of {models}: {why}",
        "train on some of the examples yourself, with fit if the target has one, to see it fail there",
    )
