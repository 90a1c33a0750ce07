"""A client's side of a run: frames in, frames out. No sockets.

It takes the server's word for nothing: the plan goes past its own floor, and the context of every session is
computed from the plan and the model as they arrived here. A trained vector is drawn once, masked again only
under fresh keys while no sum over it can have been opened, and never used after that: the journal sees to it
across restarts, and has the cost of an opening on the disk before the masked vector leaves.

Under a privacy unit a client that fails to train takes part with an update of zeros and its share of the
noise, so that not even its failure shows.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from secagg import weights as named_arrays
from secagg.credentials import Credentials, Identity
from secagg.errors import (
    FloorError,
    MissingExtraError,
    PrivacyError,
    ProtocolError,
    SecaggError,
    StateError,
    TransportError,
    UpdateError,
)
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
from secagg.homomorphic.engine import require_seal
from secagg.journal import Journal
from secagg.local_training import LocalTraining, Trained, of_the_sum
from secagg.own_account import OwnAccount
from secagg.plan import Plan
from secagg.prg import Random, Ring
from secagg.privacy.accountant import Privacy
from secagg.promise import promise
from secagg.protections import Assignment
from secagg.session import ClientSession
from secagg.training_receipts import require_engine
from secagg.update import Evaluate, Train
from secagg.weights import Weights

__all__ = ["Participant"]

_log = logging.getLogger("secagg.client")

TRAIN_STAGE: Final = "train"
_MAX_RUNS: Final = 1000
_MAX_ATTEMPTS: Final = 1000
_CLIP_NORMS: Final = (1e-30, 1e30)
"""An adaptive norm beyond these was made up: noise of that size would leave float32."""
_REFUSED: Final = "update-refused"
"""The one code for every refusal whose cause is in the data; the reason stays here."""


class Participant:
    """One client. `handle` takes each frame of the server, in order, in the thread that may train.

    credentials: its own (None only without masks). floor: None accepts any plan (a simulation). journal: what
    it remembers across restarts; None: a memory that ends with it. name: whose public weight is its own.
    rounding: randomness of the stochastic rounding and of the noise. max_failures: how many failed trainings
    in a row end it. superseded: whether a round's result is no longer wanted; None in a simulation, where
    nobody is late.
    """

    def __init__(
        self,
        train: Train,
        *,
        credentials: Credentials | None,
        floor: Floor | None,
        journal: Journal | None = None,
        name: str = "",
        evaluate: Evaluate | None = None,
        rounding: Random = os.urandom,
        protected: bool = True,
        max_failures: int = 3,
        superseded: Callable[[int], bool] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        name = credentials.identity.name if credentials is not None else name
        self._training = LocalTraining(train, evaluate, name, rounding, superseded)
        self._credentials = credentials
        self._floor = floor
        self._journal = Journal.open(None, name) if journal is None else journal
        self._account = OwnAccount(self._journal, floor)
        self._protected = protected
        self._max_failures = max_failures
        self._clock = clock
        self._failures = 0
        self._run: bytes | None = None
        self._plan: Plan | None = None
        self._assignment: Assignment | None = None
        self._vector: Ring | None = None
        self._session: ClientSession | None = None
        self._announced: set[bytes] = set()
        self._spent = self._sent = False
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
                if self._plan is not None:  # fewer than planned where the budget ended the run
                    self._check_rounds(frame.rounds, self._plan.run.rounds)
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
        if plan.privacy.local is not None:
            require_engine()
        if self._protected and plan.protection.homomorphic:
            require_seal()
        if frame.run != self._run:
            self._end_session()
            self._assignment = None
            self._announced.add(frame.run)
            if len(self._announced) > _MAX_RUNS:
                raise TransportError(
                    "too-many-runs", f"the server announced more than {_MAX_RUNS} runs", "restart this client"
                )
        known = self._plan.to_json() if frame.run == self._run and self._plan else None
        known = known or self._journal.plan_of(frame.run)
        if known is not None and known != plan.to_json():
            raise TransportError(
                "plan-changed", "the server changed the plan of a run it had begun", "ask its operator why"
            )
        self._run, self._plan = frame.run, plan
        _log.info("joined the run '%s' (plan %s); %s", plan.run.name, plan.digest.hex()[:16], promise(plan))

    # -- training -------------------------------------------------------------------------------------

    def _task(self, frame: TaskFrame) -> Frame:
        plan, run = self._plan, self._run
        if run is None or plan is None:
            raise TransportError("frame-unexpected", "a task before the welcome")
        self._check_rounds(frame.round, frame.rounds)
        _check_clip_norm(frame.clip_norm, plan)
        if self._assignment is not None and frame.round == self._assignment.round:
            if self._vector is not None and not self._spent:
                return Ready(frame.round)  # asked again after a broken stream; trained once
            return Refusal(frame.round, 0, TRAIN_STAGE, "round-over")
        last = self._journal.last(run)
        if frame.round < last[0]:
            return Refusal(frame.round, 0, TRAIN_STAGE, "round-old")
        base = _arrays(frame.weights)
        assignment = Assignment.of(plan, base, run, frame.round, self._protected, frame.clip_norm)
        self._end_session()
        if frame.round == last[0]:
            return self._resume(assignment)
        self._spent = False
        self._account.check(run, frame.round, of_the_sum(assignment))
        self._journal.forget_others(run)
        self._journal.begin_round(run, frame.round, plan.to_json())
        return self._fresh(assignment, base)

    def _resume(self, assignment: Assignment) -> Frame:
        """A round this client had begun before it was restarted: what it trained then, or nothing."""
        if self._recall(assignment.round, assignment):
            return Ready(assignment.round)
        return Refusal(assignment.round, 0, TRAIN_STAGE, "round-old")

    def _recall(self, round: int, assignment: Assignment | None = None) -> bool:
        """Takes up what this client had trained before its restart, if it is there and of this very task."""
        if self._run is None or self._plan is None or self._journal.last(self._run)[0] != round:
            return False
        kept = self._journal.kept(self._run, round)
        if kept is None or (assignment is not None and kept.task_digest != assignment.digest):
            return False
        if assignment is None:
            assignment = Assignment.recalled(self._plan, self._run, round, kept, self._protected)
        self._assignment, self._vector, self._spent = assignment, kept.vector, False
        _log.info("what was trained in round %d before the restart is still there", round)
        return True

    def _fresh(self, assignment: Assignment, base: Weights) -> Frame:
        round, run = assignment.round, assignment.run
        try:
            trained = self._training.run(assignment, base, self._journal.receipts(run))
        except (FloorError, PrivacyError, StateError, MissingExtraError):
            raise  # no fault of the data: whoever keeps this client must see to it
        except SecaggError as error:
            return self._without_update(assignment, error)
        except Exception as error:  # a user's own code may raise anything
            _log.exception("the train function raised in round %d; the server learns only that", round)
            return self._without_update(assignment, error)
        self._failures = 0
        if trained is None:
            return Refusal(round, 0, TRAIN_STAGE, "round-over")
        self._account.check(run, round, of_the_sum(assignment), trained.receipt)
        self._keep(assignment, trained)
        return Ready(round)

    def _keep(self, assignment: Assignment, trained: Trained) -> None:
        adaptive = assignment.plan.privacy.adaptive_clipping is not None
        self._journal.keep(
            assignment.run,
            assignment.round,
            assignment.digest,
            trained.vector,
            trained.uses,
            trained.receipt,
            dimension=assignment.codec.layout.size,
            clip_norm=assignment.clip_norm if adaptive else 0.0,
        )
        self._assignment, self._vector = assignment, trained.vector

    def _without_update(self, assignment: Assignment, error: Exception) -> Frame:
        """A round in which training failed: sat out or, under a privacy unit, taken part in with zeros."""
        self._failed(assignment.round, error)
        if assignment.plan.privacy.unit == "none":
            return Refusal(assignment.round, 0, TRAIN_STAGE, _REFUSED)
        _log.info("an update of zeros and this client's noise take its place")
        self._keep(assignment, self._training.nothing(assignment))
        return Ready(assignment.round)

    def _check_rounds(self, round: int, rounds: int) -> None:
        """A plan that a floor accepted bounds how often a client is in a sum, too."""
        if self._plan is not None and not (1 <= round <= rounds == self._plan.run.rounds):
            raise TransportError(
                "round-beyond-plan",
                f"round {round} of {rounds}, and the plan this client accepted has {self._plan.run.rounds}",
                "the server does not keep to the plan it announced; ask its operator why",
            )

    def _failed(self, round: int, error: Exception) -> None:
        self._assignment = None
        self._failures += 1
        _log.error("this client sits round %d out, or is in it without an update: %s", round, error)
        if self._failures >= self._max_failures:
            raise UpdateError(
                "train-failed",
                f"training failed {self._failures} time{'s' * (self._failures != 1)} in a row; last: {error}",
                "nothing of it was sent; the server knows only that there is no update",
            ) from error

    def privacy(self) -> tuple[Privacy, ...]:
        """What this client has spent by its own journal, in all runs, by unit; at the plan's deltas."""
        return self._account.privacy(self._plan)

    # -- the protocol ---------------------------------------------------------------------------------

    def _request(self, frame: Request) -> Frame:
        def refuse(code: str) -> Refusal:
            return Refusal(frame.round, frame.attempt, frame.stage, code)

        if self._assignment is None:
            self._recall(frame.round)
        if self._assignment is None or self._vector is None or frame.round != self._assignment.round:
            return refuse("round-unknown")
        wanted, last = (frame.round, frame.attempt), self._journal.last(self._assignment.run)
        if wanted < last:
            return refuse("attempt-old")
        if wanted > last:
            if frame.attempt > _MAX_ATTEMPTS:
                return refuse("attempts-spent")
            if self._spent:
                return refuse("vector-spent")
            self._begin(frame.attempt)
        if self._session is None:
            return refuse("session-closed")
        try:
            reply = self._session.answer(frame.body)
        except FloorError:
            self._end_session()
            self._journal.forget(self._assignment.run, frame.round)
            raise
        except ProtocolError as fault:
            _log.error("nothing was revealed in round %d: %s", frame.round, fault)
            self._session.close()
            self._session = None
            return refuse(fault.code)
        self._remember(self._assignment.run, frame, self._session)
        return Reply(frame.round, frame.attempt, frame.stage, reply)

    def _remember(self, run: bytes, frame: Request, session: ClientSession) -> None:
        """On the disk before the reply leaves: how far this attempt came, and what it may have cost."""
        if session.sent and not self._sent:
            self._journal.opened(run, frame.round, frame.attempt, session.spent)
            self._sent = True
        elif session.spent and not self._spent:
            self._journal.spend(run, frame.round)
        else:  # the frame's label is the server's word; that nothing was sent yet is the session's
            stage = frame.stage if session.sent or frame.stage == "advertise" else "share"
            self._journal.stage(run, frame.round, frame.attempt, stage)
        self._spent = self._spent or session.spent

    def _begin(self, attempt: int) -> None:
        """A fresh session for this attempt, over the same vector."""
        if self._session is not None:
            self._session.close()
        if self._assignment is None or self._vector is None:
            raise TransportError("frame-unexpected", "a request before a task")
        assignment = self._assignment
        self._account.check(assignment.run, assignment.round, of_the_sum(assignment))
        self._journal.begin_attempt(self._assignment.run, self._assignment.round, attempt)
        self._sent = False
        self._session = self._assignment.client_session(
            attempt, self._vector, self._credentials, self._admits, self._clock()
        )

    def _admits(self, identity: Identity) -> bool:
        return self._floor is None or self._floor.admits(identity.fingerprint)

    # -- the end --------------------------------------------------------------------------------------

    def _close_round(self, frame: RoundClosed) -> None:
        if self._assignment is not None and frame.round == self._assignment.round:
            self._end_session()
            self._journal.forget(self._assignment.run, frame.round)
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


def _check_clip_norm(clip_norm: float, plan: Plan) -> None:
    adaptive = plan.privacy.adaptive_clipping is not None
    least, most = _CLIP_NORMS if adaptive else (0.0, 0.0)
    if not least <= clip_norm <= most:
        raise TransportError(
            "clip-norm-invalid",
            f"the server announced a clip norm of {clip_norm:g}, which the plan it announced does not allow",
            "ask its operator why",
        )


def _arrays(document: object) -> Weights:
    """The model a server sent. Raises TransportError `weights-malformed`."""
    try:
        if not isinstance(document, bytes | bytearray | memoryview):
            return named_arrays.load(str(document))
        return named_arrays.from_bytes(document)
    except UpdateError as error:
        raise TransportError(error.code, f"what the server sent is no model: {error.message}") from error
