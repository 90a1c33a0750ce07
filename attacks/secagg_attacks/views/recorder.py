"""Listening to a real run, without a change to it: a tap for its frames, and an aggregation for its sums.

Both are public parameters of `secagg.Server` and of `secagg.simulate`. The tap keeps what came from clients;
the aggregation is the plan's own and keeps the mean it was given. No code of a client is looked into.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, Protocol

import numpy as np

import secagg
from secagg.aggregation import Aggregate, State, fedavg, fedavgm
from secagg.frames import Frame, Ready, Refusal, Reply, Request, RoundClosed, TaskFrame
from secagg.frames import Weights as FrameWeights
from secagg.prg import Random
from secagg.tap import SERVER
from secagg.weights import Weights, digest, from_bytes
from secagg.weights import load as load_weights
from secagg_attacks.views.uploads import STAGES, check_readable, read_upload
from secagg_attacks.views.view import Account, Arrays, RoundView, ThreatModel, View, ViewError

__all__ = ["Recorder", "capture"]

_UNIFORM: Final = "uniform"


class Result(Protocol):
    """What `secagg.Server.run` and `secagg.simulate` return."""

    @property
    def weights(self) -> Weights: ...
    @property
    def history(self) -> tuple[secagg.RoundReport, ...]: ...
    @property
    def privacy(self) -> tuple[secagg.Privacy, ...]: ...


class Recorder:
    """The server's ears in one run of `plan`.

        recorder = Recorder(plan)
        server = secagg.Server(..., plan, tap=recorder.hear, aggregate=recorder.aggregate)
        view = recorder.view(server.run())

    Raises ViewError `view-plan` (uploads of such a plan are no updates), `view-weighting` (a mean is not the
    sum over a known number).
    """

    def __init__(self, plan: secagg.Plan) -> None:
        check_readable(plan)
        if plan.aggregation.weighting != _UNIFORM:
            raise ViewError(
                "view-weighting",
                f'weighting = "{plan.aggregation.weighting}", and views are of clients that count alike',
                'weighting = "uniform"',
            )
        self._plan = plan
        self._aggregate = _method(plan)
        self._models: dict[int, Arrays] = {}
        self._uploads: dict[int, dict[str, tuple[int, bytes]]] = {}
        self._means: dict[int, Arrays] = {}
        self._round = 0
        self._sent: FrameWeights | None = None
        self._sent_digest = b""
        self._transcript = hashlib.sha256()

    def hear(self, sender: str, receiver: str, frame: Frame) -> None:
        """A tap (`secagg.tap`)."""
        self._transcript.update(f"{sender}>{receiver} {type(frame).__name__}".encode())
        match frame:
            case TaskFrame():
                self._transcript.update(self._task(frame))
            case Request() | Reply():
                body = bytes(frame.body)
                head = f" {frame.round}.{frame.attempt} {frame.stage} {len(body)} "
                self._transcript.update(head.encode() + body)
                if sender != SERVER and frame.stage in STAGES:
                    self._uploads.setdefault(frame.round, {})[sender] = (frame.attempt, body)
            case Refusal():
                self._transcript.update(f" {frame.round}.{frame.attempt} {frame.stage} {frame.code}".encode())
            case Ready() | RoundClosed():
                self._transcript.update(f" {frame.round}".encode())

    def aggregate(
        self, state: State, weights: Weights, mean: Mapping[str, secagg.weights.Array]
    ) -> tuple[State, Weights]:
        """The plan's own method, with the mean kept."""
        self._means[self._round] = {name: array.copy() for name, array in mean.items()}
        return self._aggregate(state, weights, mean)

    def view(self, result: Result, threat: ThreatModel | None = None) -> View:
        """What was heard of the run that ended with `result`."""
        return View(
            protection=self._plan.protection.kind,
            plan=self._plan.digest.hex(),
            divisor=_divisor(self._plan),
            rounds=tuple(
                self._round_view(report) for report in result.history if report.round in self._models
            ),
            final=result.weights,
            threat=threat or ThreatModel(),
            accounts=tuple(
                Account(each.unit, each.delta, each.server.epsilon, each.colluders.epsilon)
                for each in result.privacy
            ),
            digest=self._transcript.hexdigest(),
        )

    def _task(self, frame: TaskFrame) -> bytes:
        """Digest of the model that a task hands out: once for those in a row that hand out the same."""
        if frame.weights != self._sent:
            model = _weights_of(frame)
            self._sent, self._sent_digest = frame.weights, digest(model)
            self._models.setdefault(frame.round, model)
        self._round = frame.round
        return self._sent_digest

    def _round_view(self, report: secagg.RoundReport) -> RoundView:
        model, heard = self._models[report.round], self._uploads.get(report.round, {})
        mean = None if report.code else self._means.get(report.round)
        # An upload of an earlier attempt is in no sum; one that the server turned down makes them too many.
        cohort = tuple(sorted(name for name, (attempt, _) in heard.items() if attempt == report.attempts))
        return RoundView(
            report.round,
            model,
            {name: read_upload(self._plan, model, body) for name, (_, body) in sorted(heard.items())},
            mean,
            cohort if mean is not None and len(cohort) == report.survivors else (),
        )


def capture(
    plan: secagg.Plan,
    initial_weights: Weights,
    clients: Mapping[str, secagg.Train] | Sequence[secagg.Train],
    threat: ThreatModel | None = None,
    *,
    seed: int | None = None,
) -> View:
    """Plays a run with `secagg.simulate`, under its full cryptography, and gives what the server saw.

    seed: of the clients' rounding and of the noise on whole updates, so that sums are the same each time;
    None: the operating system's, as in production. Keys, and the noise of DP-SGD, are always the operating
    system's. Raises ViewError as Recorder does, and what `secagg.simulate` raises.
    """
    recorder = Recorder(plan)
    result = secagg.simulate(
        initial_weights,
        plan,
        clients,
        tap=recorder.hear,
        aggregate=recorder.aggregate,
        rounding=None if seed is None else partial(_seeded, seed),
    )
    return recorder.view(result, threat)


def _seeded(seed: int, name: str) -> Random:
    return np.random.default_rng([seed, *name.encode()]).bytes


def _weights_of(task: TaskFrame) -> Arrays:
    """A simulation and a server send the path of a checkpoint."""
    held = task.weights
    return from_bytes(held) if isinstance(held, bytes | bytearray | memoryview) else load_weights(held)


def _method(plan: secagg.Plan) -> Aggregate:
    table = plan.aggregation
    if table.method == "fedavgm":
        return fedavgm(table.momentum, table.server_learning_rate)
    return fedavg(table.server_learning_rate)


def _divisor(plan: secagg.Plan) -> float | None:
    cohort = plan.cohort
    if cohort.rate is None or cohort.population is None:
        return None
    return cohort.rate * cohort.population
