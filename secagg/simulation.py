"""A whole run in one process: the same coordinator, participants and sessions, without a network."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from secagg.aggregation import Aggregate
from secagg.coordinator import Coordinator, Link, RoundReport
from secagg.credentials import Authority, Credentials
from secagg.enrolment import issue_credentials, new_authority
from secagg.errors import BudgetError, PrivacyError, RunError, SecaggError, TransportError, UpdateError
from secagg.frames import (
    WIRE_VERSION,
    Answer,
    Finished,
    Frame,
    Question,
    Ready,
    Refusal,
    Reply,
    TaskFrame,
    Welcome,
)
from secagg.participant import Participant
from secagg.plan import Plan
from secagg.prg import Random
from secagg.privacy.accountant import Privacy
from secagg.runs import Run
from secagg.tap import Tap, TappedLink
from secagg.update import Evaluate, Task, Train, Update
from secagg.weights import Weights, check_model

__all__ = ["SimulationResult", "named_clients", "simulate"]


@dataclass(frozen=True)
class SimulationResult:
    """The final weights, a report per round, where the run is kept (None: nowhere), and what it spent.

    masked: whether the sums were protected as the plan asks. privacy: one for each unit of the plan; empty
    without any.
    exhausted: whether the plan's epsilon ended the run before its last round.
    """

    weights: Weights
    history: tuple[RoundReport, ...]
    run_dir: Path | None
    masked: bool
    privacy: tuple[Privacy, ...] = ()
    exhausted: bool = False


def simulate(
    initial_weights: Weights,
    plan: Plan,
    clients: Sequence[Train] | Mapping[str, Train],
    *,
    executor: Executor | None = None,
    masks: bool = True,
    tap: Tap | None = None,
    evaluate: Evaluate | None = None,
    aggregate: Aggregate | None = None,
    runs: str | Path | None = None,
    rounding: Callable[[str], Random] | None = None,
    on_round: Callable[[RoundReport], None] | None = None,
) -> SimulationResult:
    """Runs the plan over these train functions, in this process.

    clients: train functions, or name -> train function; thousands are fine. executor: where they train, up
    to 32 at a time (any `concurrent.futures.Executor`; for one of processes, functions and weights must
    pickle). masks=False skips the cryptography; the weights are the same to the bit for the same rounding
    (what the server adds, and a small ring's rotation, differ from run to run). tap: sees every frame.
    runs: a folder to keep the run in, as a server would. rounding: name -> source of the rounding's
    randomness, for tests. on_round: called after each round.

    Raises what a train function's failure raises, wrapped in UpdateError, at once; PrivacyError where
    training does not keep to the plan's privacy; RunError, PlanError.
    """
    check_model(initial_weights, plan.training.local)
    named = named_clients(clients)
    masked = masks and plan.protection.kind != "none"
    with ExitStack() as resources:
        root = runs or resources.enter_context(tempfile.TemporaryDirectory(prefix="secagg-"))
        run = resources.enter_context(Run.create(root, plan, initial_weights))
        run.log("simulated", masked=masked)
        credentials, authority = _enrol(named) if masked else ({}, None)
        participants = {
            name: Participant(
                train if executor is None else partial(_elsewhere, executor, train),
                credentials=credentials.get(name),
                floor=None,
                name=name,
                protected=masked,
                max_failures=1,
                rounding=os.urandom if rounding is None else rounding(name),
            )
            for name, train in named.items()
            if plan.cohort.admits(name)
        }
        threads = (
            resources.enter_context(ThreadPoolExecutor(min(32, len(participants) or 1)))
            if executor is not None
            else None
        )
        link: Link = MemoryLink(participants, Welcome(WIRE_VERSION, run.id, plan.to_json()), threads)
        if tap is not None:
            link = TappedLink(link, tap)
        coordinator = Coordinator(
            plan,
            run,
            link,
            dict(initial_weights),
            authority=authority,
            aggregate=aggregate,
            evaluate=evaluate,
            protected=masked,
        )
        history = []
        exhausted = False
        try:
            for report in coordinator.rounds():
                history.append(report)
                if on_round is not None:
                    on_round(report)
        except BudgetError:
            exhausted = True
        if runs is not None:
            _write_report(run.path)
        return SimulationResult(
            coordinator.weights,
            tuple(history),
            run.path if runs is not None else None,
            masked,
            coordinator.privacy(),
            exhausted,
        )


def _write_report(run_dir: Path) -> None:
    from secagg import report

    report.write(run_dir)


class MemoryLink:
    """Hands frames to participants and takes their answers back; uploads one at a time."""

    def __init__(
        self,
        participants: Mapping[str, Participant],
        welcome: Welcome,
        threads: ThreadPoolExecutor | None,
    ) -> None:
        self._participants = dict(participants)
        self._threads = threads
        for name in self._participants:
            self._deliver(name, welcome)

    def wait(self, count: int, seconds: float) -> tuple[str, ...]:  # noqa: ARG002 - all are always idle
        return tuple(self._participants)

    def exchange(
        self,
        frames: Mapping[str, Question],
        *,
        seconds: float,  # noqa: ARG002 - nobody is late
        limit: int,
    ) -> Iterator[tuple[str, Answer]]:
        here = {name: frame for name, frame in frames.items() if name in self._participants}
        training = any(isinstance(frame, TaskFrame) for frame in here.values())
        if self._threads is not None and training:
            answers = self._threads.map(self._deliver, here.keys(), here.values())
        else:
            answers = map(self._deliver, here.keys(), here.values())
        for name, answer in zip(here, answers, strict=True):
            if isinstance(answer, Reply) and len(answer.body) > limit:
                raise TransportError("frame-oversized", f"{len(answer.body)} bytes, at most {limit} expected")
            if isinstance(answer, Ready | Reply | Refusal):
                yield name, answer

    def send(self, frames: Mapping[str, Frame]) -> None:
        for name, frame in frames.items():
            if name in self._participants:
                self._deliver(name, frame)

    def finish(self, frame: Finished) -> None:
        """Nobody needs the model brought home: it is here."""

    def fail(self, error: SecaggError) -> None:
        """The caller sees it in the history."""

    def dismiss(self, client: str, error: SecaggError) -> None:
        self._participants.pop(client, None)
        raise RunError("simulation-fault", f"'{client}' was excluded: {error}")

    def _deliver(self, name: str, frame: Frame) -> Frame | None:
        try:
            return self._participants[name].handle(frame)
        except (UpdateError, PrivacyError) as error:
            raise type(error)(error.code, f"'{name}': {error.message}", error.hint) from error


def _elsewhere(executor: Executor, train: Train, task: Task) -> Update:
    return executor.submit(train, task).result()


def named_clients(clients: Sequence[Train] | Mapping[str, Train]) -> dict[str, Train]:
    """The train functions by name; those in a sequence are called client-0, client-1 and so on."""
    if isinstance(clients, Mapping):
        return dict(clients)
    width = len(str(len(clients) - 1))
    return {f"client-{index:0{width}d}": train for index, train in enumerate(clients)}


def _enrol(names: Mapping[str, Train]) -> tuple[dict[str, Credentials], Authority]:
    """Credentials for everyone, by an authority that lives as long as the simulation."""
    authority = new_authority("simulation")
    credentials = {name: issue_credentials(name, "client", authority) for name in names}
    return credentials, Authority.from_pem(authority[1])
