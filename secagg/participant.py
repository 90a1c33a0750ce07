"""A client's side of a run: frames in, frames out. No sockets.

It takes the server's word for nothing: the plan goes past its own floor, and the context of every session is
computed from the plan and the model as they arrived here. A trained vector is drawn once, masked again only
under fresh keys while no sum over it can have been opened, and never used after that.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Final

from secagg import weights as named_arrays
from secagg.credentials import Credentials, Identity
from secagg.errors import FloorError, ProtocolError, SecaggError, TransportError, UpdateError
from secagg.floor import Floor
from secagg.frames import (
    Finished,
    Frame,
    Ready,
    Refusal,
    Rejected,
    Reply,
    Request,
    RoundClosed,
    TaskFrame,
    Welcome,
)
from secagg.plan import Plan
from secagg.prg import Random, Ring
from secagg.protections import Assignment
from secagg.session import ClientSession
from secagg.update import Evaluate, Task, Train, Update, check_metrics
from secagg.weights import Weights

__all__ = ["Participant"]

_log = logging.getLogger("secagg.client")

TRAIN_STAGE: Final = "train"
_MAX_RUNS: Final = 1000
_REFUSED: Final = "update-refused"
"""The one code for every refusal whose cause is in the data; the reason stays here."""


class Participant:
    """One client. `handle` takes each frame of the server, in order, in the thread that may train.

    credentials: its own (None only without masks). floor: None accepts any plan (a simulation). rounding:
    randomness of the stochastic rounding. max_failures: how many failed trainings in a row end it.
    superseded: whether a round's result is no longer wanted; None in a simulation, where nobody is late.
    """

    def __init__(
        self,
        train: Train,
        *,
        credentials: Credentials | None,
        floor: Floor | None,
        evaluate: Evaluate | None = None,
        rounding: Random = os.urandom,
        protected: bool = True,
        max_failures: int = 3,
        superseded: Callable[[int], bool] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._train = train
        self._evaluate = evaluate
        self._credentials = credentials
        self._floor = floor
        self._rounding = rounding
        self._protected = protected
        self._max_failures = max_failures
        self._superseded = superseded
        self._clock = clock
        self._failures = 0
        self._run: bytes | None = None
        self._plan: Plan | None = None
        self._assignment: Assignment | None = None
        self._vector: Ring | None = None
        self._session: ClientSession | None = None
        self._last = (0, 0)
        self._left: dict[bytes, tuple[Plan | None, tuple[int, int]]] = {}
        self._spent = False
        self.rounds = 0
        self.final: Weights | None = None

    def handle(self, frame: Frame) -> Frame | None:
        """Answers one frame; None where no answer is due.

        Raises FloorError where the floor refuses, TransportError when the server ends the stream, and
        UpdateError `train-failed` after `max_failures` trainings in a row.
        """
        match frame:
            case Welcome():
                self._welcome(frame)
            case TaskFrame():
                return self._task(frame)
            case Request():
                return self._request(frame)
            case RoundClosed():
                self._close_round(frame)
            case Finished():
                self._end_session()
                self._check_rounds(frame.rounds, frame.rounds)
                self.rounds = frame.rounds
                self.final = _arrays(frame.weights)
            case Rejected():
                self._end_session()
                raise TransportError(frame.code, frame.message, frame.hint)
            case _:
                raise TransportError(
                    "frame-unexpected", f"a server does not send {type(frame).__name__.lower()}"
                )
        return None

    # -- joining --------------------------------------------------------------------------------------

    def _welcome(self, frame: Welcome) -> None:
        plan = Plan.from_json(frame.plan)
        if self._floor is not None:
            self._floor.check_plan(plan)
        if frame.run != self._run:
            self._end_session()
            self._assignment = None
            if self._run is not None:
                self._left[self._run] = (self._plan, self._last)
            if len(self._left) > _MAX_RUNS:
                raise TransportError(
                    "too-many-runs", f"the server announced more than {_MAX_RUNS} runs", "restart this client"
                )
            known, self._last = self._left.get(frame.run, (plan, (0, 0)))
        else:
            known = self._plan
        if plan != known:
            raise TransportError(
                "plan-changed", "the server changed the plan of a run it had begun", "ask its operator why"
            )
        self._run, self._plan = frame.run, plan
        _log.info("joined the run '%s' (plan %s)", plan.run.name, plan.digest.hex()[:16])

    # -- training -------------------------------------------------------------------------------------

    def _task(self, frame: TaskFrame) -> Frame:
        if self._run is None or self._plan is None:
            raise TransportError("frame-unexpected", "a task before the welcome")
        self._check_rounds(frame.round, frame.rounds)
        if self._assignment is not None and frame.round == self._assignment.round:
            if self._vector is not None and not self._spent:
                return Ready(frame.round)  # asked again after a broken stream; trained once
            return Refusal(frame.round, 0, TRAIN_STAGE, "round-over")
        if frame.round <= self._last[0]:
            return Refusal(frame.round, 0, TRAIN_STAGE, "round-old")
        self._end_session()
        self._spent = False
        self._last = (frame.round, 0)
        deadline = math.inf
        if self._superseded is not None:
            deadline = time.monotonic() + self._plan.cohort.train_deadline
        base = _arrays(frame.weights)
        try:
            self._vector = self._trained(frame, base, deadline)
        except SecaggError as error:
            self._failed(error)
            return Refusal(frame.round, 0, TRAIN_STAGE, _REFUSED)
        except Exception as error:  # a user's own code may raise anything
            _log.exception("the train function raised in round %d; the server learns only that", frame.round)
            self._failed(error)
            return Refusal(frame.round, 0, TRAIN_STAGE, _REFUSED)
        self._failures = 0
        if self._vector is None:
            return Refusal(frame.round, 0, TRAIN_STAGE, "round-over")
        return Ready(frame.round)

    def _check_rounds(self, round: int, rounds: int) -> None:
        """A plan that a floor accepted bounds how often a client is in a sum, too."""
        if self._plan is not None and not (1 <= round <= rounds == self._plan.run.rounds):
            raise TransportError(
                "round-beyond-plan",
                f"round {round} of {rounds}, and the plan this client accepted has {self._plan.run.rounds}",
                "the server does not keep to the plan it announced; ask its operator why",
            )

    def _failed(self, error: Exception) -> None:
        self._assignment = None
        self._failures += 1
        _log.error("this client sits round %d out: %s", self._last[0], error)
        if self._failures >= self._max_failures:
            raise UpdateError(
                "train-failed",
                f"training failed {self._failures} time{'s' * (self._failures != 1)} in a row; last: {error}",
                "nothing of it was sent; the server knows only that there is no update",
            ) from error

    def _trained(self, frame: TaskFrame, base: Weights, deadline: float) -> Ring | None:
        """The vector; None when the round was called off, so that no half-trained update is ever summed.

        All that steers training is in the plan and the model, which the masks are bound to. A server that
        could cut short the training of all but one client would find that one's update in the sum.
        """
        plan, run = self._plan, self._run
        if plan is None or run is None:
            raise TransportError("frame-unexpected", "a task before the welcome")
        assignment = Assignment.of(plan, base, run, frame.round, self._protected)
        evaluation: Mapping[str, float] = {}
        if self._evaluate is not None:
            evaluation = self._evaluate({name: array.copy() for name, array in base.items()})
            check_metrics(evaluation)
        task = Task(
            round=frame.round,
            rounds=plan.run.rounds,
            weights={name: array.copy() for name, array in base.items()},
            config=plan.task_config(),
            deadline=deadline,
        )
        if self._superseded is not None:
            task = replace(task, superseded=partial(self._superseded, frame.round))
        update = self._train(task)
        if task.cancelled():
            _log.warning("round %d was over before its training was; nothing of it is used", frame.round)
            return None
        if not isinstance(update, Update):
            raise UpdateError(
                "update-type", f"train returned a {type(update).__name__}", "return secagg.Update(...)"
            )
        vector = self._encode(assignment, base, update, {**evaluation, **update.metrics})
        self._assignment = assignment
        return vector

    def _encode(
        self, assignment: Assignment, base: Weights, update: Update, metrics: dict[str, float]
    ) -> Ring:
        plan, codec = assignment.plan, assignment.codec
        arrays, under = (update.weights, base) if update.delta is None else (update.delta, None)
        codec.layout.check(arrays or {}, plan.training.local)
        encoded = codec.encode(
            arrays or {},
            base=under,
            num_examples=int(update.num_examples),
            metrics=metrics,
            seed=self._rounding(32),
        )
        if encoded.weight_capped:
            _log.info("the example weight was capped at max_examples = %d", plan.aggregation.max_examples)
        if encoded.clipped:
            _log.info("the update was longer than its clip_norm, and was clipped to it")
        for name in sorted(metrics.keys() - plan.metrics.keys()):
            _log.info("the metric '%s' is not declared in the plan's [metrics], and stays here", name)
        return encoded.vector

    # -- the protocol ---------------------------------------------------------------------------------

    def _request(self, frame: Request) -> Frame:
        def refuse(code: str) -> Refusal:
            return Refusal(frame.round, frame.attempt, frame.stage, code)

        if self._assignment is None or self._vector is None or frame.round != self._assignment.round:
            return refuse("round-unknown")
        wanted = (frame.round, frame.attempt)
        if wanted < self._last:
            return refuse("attempt-old")
        if wanted > self._last:
            if self._spent:
                return refuse("vector-spent")
            self._begin(frame.attempt)
        if self._session is None:
            return refuse("session-closed")
        try:
            reply = self._session.answer(frame.body)
        except FloorError:
            self._end_session()
            raise
        except ProtocolError as fault:
            _log.error("nothing was revealed in round %d: %s", frame.round, fault)
            self._session.close()
            self._session = None
            return refuse(fault.code)
        self._spent = self._spent or self._session.spent
        return Reply(frame.round, frame.attempt, frame.stage, reply)

    def _begin(self, attempt: int) -> None:
        """A fresh session for this attempt, over the same vector."""
        if self._session is not None:
            self._session.close()
        if self._assignment is None or self._vector is None:
            raise TransportError("frame-unexpected", "a request before a task")
        self._last = (self._assignment.round, attempt)
        self._session = self._assignment.client_session(
            attempt, self._vector, self._credentials, self._admits, self._clock()
        )

    def _admits(self, identity: Identity) -> bool:
        return self._floor is None or self._floor.admits(identity.fingerprint)

    # -- the end --------------------------------------------------------------------------------------

    def _close_round(self, frame: RoundClosed) -> None:
        if self._assignment is not None and frame.round == self._assignment.round:
            self._end_session()
            self.rounds = max(self.rounds, frame.round)

    def _end_session(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None
        if self._vector is not None:
            self._vector.fill(0)
            self._vector = None

    def close(self) -> None:
        """Erases what a session still holds."""
        self._end_session()


def _arrays(document: object) -> Weights:
    """The model a server sent. Raises TransportError `weights-malformed`."""
    try:
        if not isinstance(document, bytes | bytearray | memoryview):
            return named_arrays.load(str(document))
        return named_arrays.from_bytes(document)
    except UpdateError as error:
        raise TransportError(error.code, f"what the server sent is no model: {error.message}") from error
