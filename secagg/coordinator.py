"""The server's side of a run: which rounds, with whom, and what becomes of their sum. No sockets.

A round: select those who wait, let them train, take whoever finished as the cohort, run the protection's
session over a `Link`, decode the sum, move the model, write it down. An attempt that fails while nothing can
have been opened is tried again with whoever is left, under fresh keys and over the same vectors; after that
the round is over, and the next one trains again.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from secagg.adaptive_norm import AdaptiveNorm
from secagg.aggregation import Aggregate, State, checked, fedavg, fedavgm
from secagg.clipping_watch import ClippingWatch
from secagg.credentials import Authority, Identity
from secagg.encoding.codec import Decoded
from secagg.errors import BudgetError, ClientFault, EncodingError, ProtocolError, RunError, SecaggError
from secagg.frames import (
    Answer,
    Finished,
    Frame,
    Question,
    Ready,
    Refusal,
    Reply,
    Request,
    RoundClosed,
    TaskFrame,
)
from secagg.plan import Plan
from secagg.plan_settings import budget_audience, cost_of_a_round, deltas_of
from secagg.privacy.accountant import Privacy, privacy_of, within
from secagg.protections import Assignment, least_cohort
from secagg.runs import Run
from secagg.selection import Draw, draw, worth_waiting_for
from secagg.session import ServerSession, Sum
from secagg.update import Evaluate, check_metrics
from secagg.weights import Weights

__all__ = ["Coordinator", "Link", "NotEnoughClients", "RoundReport"]

_log = logging.getLogger("secagg.server")

MAX_ATTEMPTS: Final = 3
_SMALL_REPLY: Final = 1024


class Link(Protocol):
    """What carries frames to clients and back: gRPC, or a simulation's own memory."""

    def wait(self, count: int, seconds: float) -> tuple[str, ...]:
        """The idle clients: as soon as there are `count`, else after `seconds` whoever is there."""

    def exchange(
        self, frames: Mapping[str, Question], *, seconds: float, limit: int
    ) -> Iterator[tuple[str, Answer]]:
        """Each client's frame sent, one answer of each as it comes, until all answered, left or are late."""

    def send(self, frames: Mapping[str, Frame]) -> None:
        """One way."""

    def finish(self, frame: Finished) -> None:
        """The last frame, to every client that is or comes back."""

    def fail(self, error: SecaggError) -> None:
        """Tells every client that there will be no last frame, and why."""

    def dismiss(self, client: str, error: SecaggError) -> None:
        """Tells a client why, and ends its stream."""


class NotEnoughClients(RunError):
    """Too few clients came before the join deadline; the same command goes on later."""

    exit_code = 75


@dataclass(frozen=True)
class RoundReport:
    """What anyone may know of a finished round. `code`: "" when the model moved, else why it did not.

    metrics: the clients', averaged inside the sum. evaluation: the server's own. survivors: in the sum.
    """

    round: int
    rounds: int
    code: str
    attempts: int
    cohort: int
    survivors: int
    metrics: Mapping[str, float]
    evaluation: Mapping[str, float]


@dataclass(frozen=True)
class _Outcome:
    """What the protocol left of a round: a decoded sum, or a code that says why there is none."""

    code: str
    attempts: int
    cohort: int
    survivors: int
    decoded: Decoded | None


class Coordinator:
    """Drives the rounds of `run`. Made anew after a crash, it goes on after the last round in the directory.

    weights, state: the model and the optimiser's state to go on from. authority: who enrolled the clients
    (None only without masks). aggregate: in place of the plan's method.
    """

    def __init__(
        self,
        plan: Plan,
        run: Run,
        link: Link,
        weights: Weights,
        state: State | None = None,
        *,
        authority: Authority | None,
        aggregate: Aggregate | None = None,
        evaluate: Evaluate | None = None,
        protected: bool = True,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.weights = weights
        self._norm = AdaptiveNorm(plan, state or {})
        self._state = AdaptiveNorm.taken_from(state or {})
        self._plan = plan
        self._run = run
        self._link = link
        self._authority = authority
        self._aggregate = checked(aggregate or _method(plan))
        self._evaluate = evaluate
        self._protected = protected
        self._clock = clock
        self._excluded: set[str] = set()
        self._first = True
        self._clipping = ClippingWatch(plan.encoding.clip_norm)

    def rounds(self) -> Iterator[RoundReport]:
        """Plays every round that is left, one at a time, then sends the final model home.

        Raises NotEnoughClients, RunError from the aggregation, and BudgetError `budget-exhausted` before a
        round that the plan's epsilon does not cover; the run is over then, and its model goes home.
        """
        if self._plan.privacy.unit == "client" and math.isinf(cost_of_a_round(self._plan)):
            _log.warning("the plan's noise is too small: nothing finite is proven about its sums")
        for number in range(self._run.next_round(), self._plan.run.rounds + 1):
            if not self._affordable(number):
                self._end(number - 1)
                moved = self._run.last_moved()
                raise BudgetError(
                    "budget-exhausted",
                    f"round {number} would cost more than is left of the plan's epsilon, "
                    f"{self._plan.privacy.epsilon:g}",
                    f"the model of round {moved} is kept; a new run has a budget of its own, and costs those "
                    "who take part again"
                    if moved
                    else "no round has moved the model; plan for more noise, or a larger epsilon",
                )
            yield self._round(number)
        self._end(self._plan.run.rounds)

    def privacy(self) -> tuple[Privacy, ...]:
        """What the run has spent so far, by unit."""
        return privacy_of(self._run.spent(), deltas_of(self._plan))

    def _end(self, rounds: int) -> None:
        """rounds: how many the run had."""
        if self._run.last_moved() == 0:
            self._link.fail(
                RunError("run-without-sum", "no round of this run opened a sum; there is no model to send")
            )
        else:
            self._link.finish(Finished(rounds, self._run.latest_checkpoint()))
        self._run.finish()

    def _affordable(self, number: int) -> bool:
        """Whether this round stays within the plan's epsilon, all rounds that were opened included."""
        privacy = self._plan.privacy
        if privacy.unit != "client" or privacy.epsilon is None or privacy.delta is None:
            return True
        uses = [*self._run.spent(), *self._assignment(number).uses(1)]
        of_clients = [use for use in uses if use.unit == "client"]
        return within(of_clients, privacy.epsilon, privacy.delta, budget_audience(self._plan))

    def _assignment(self, number: int) -> Assignment:
        return Assignment.of(
            self._plan, self.weights, self._run.id, number, self._protected, self._norm.value
        )

    # -- one round ------------------------------------------------------------------------------------

    def _round(self, number: int) -> RoundReport:
        drawn = self._select()
        self._run.log("round-started", round=number, clients=drawn.clients)
        if drawn.code:
            training: Sequence[str] = ()
            outcome = _Outcome(drawn.code, 0, 0, 0, None)
        else:
            training = drawn.clients
            outcome = self._protocol(number, self._train(number, training), drawn.waiting)
        report = self._close(number, outcome)
        self._link.send(dict.fromkeys(training, RoundClosed(number, outcome.decoded is not None)))
        self._first = False
        return report

    def _select(self) -> Draw:
        """Those who train, of all who wait."""
        least = least_cohort(self._plan)
        wanted = worth_waiting_for(self._plan, self._first)
        waiting = set(self._link.wait(wanted, self._plan.cohort.join_deadline)) - self._excluded
        if len(waiting) < least:
            raise NotEnoughClients(
                "not-enough-clients",
                f"{len(waiting)} clients are here, and a round needs {least}",
                "the same command goes on from here once more clients can reach the server",
            )
        return draw(self._plan, sorted(waiting))

    def _train(self, number: int, chosen: Sequence[str]) -> set[str]:
        """Who finished training in time: the cohort of the protocol."""
        model = self._run.latest_checkpoint()
        seconds = self._plan.cohort.train_deadline
        task = TaskFrame(number, self._plan.run.rounds, model, self._norm.value)
        transfer = model.stat().st_size * len(chosen) / self._plan.cohort.min_rate
        ready: set[str] = set()
        answered: set[str] = set()
        for client, frame in self._link.exchange(
            dict.fromkeys(chosen, task), seconds=seconds + transfer, limit=_SMALL_REPLY
        ):
            answered.add(client)
            if isinstance(frame, Ready):
                ready.add(client)
            elif isinstance(frame, Refusal):
                self._note("refused", number, 0, "train", client, frame.code)
        self._note_late(number, 0, "train", set(chosen) - answered)
        return ready

    def _protocol(self, number: int, ready: set[str], waiting: int) -> _Outcome:
        """As many attempts as it takes and is allowed. What a session holds is gone when this returns."""
        assignment = self._assignment(number)
        attempts, cohort, code = 0, len(ready), "too-few-trained"
        while len(ready) >= least_cohort(self._plan) and attempts < MAX_ATTEMPTS:
            attempts += 1
            cohort = len(ready)
            attempt = self._run.next_attempt(number)
            self._run.reserve(
                number, attempt, sorted(ready), assignment.uses(attempt, waiting), assignment.clip_norm
            )
            session = assignment.server_session(
                attempt, sorted(ready), self._authority, self._admits, self._clock()
            )
            try:
                opened = self._attempt(session, number, attempt, ready)
                decoded = assignment.codec.decode(opened.vector)
                return _Outcome("", attempts, cohort, len(opened.survivors), decoded)
            except (ProtocolError, EncodingError) as error:
                code = error.code
                _log.warning("round %d, attempt %d opened nothing: %s", number, attempt, error)
                self._run.log("attempt-failed", round=number, attempt=attempt, code=code)
                if not session.retryable:
                    break
                self._run.abandoned(number, attempt)
        return _Outcome(code, attempts, cohort, 0, None)

    def _attempt(self, session: ServerSession, number: int, attempt: int, ready: set[str]) -> Sum:
        """Plays the session to its end. `ready` loses whoever is not there any more or broke the rules."""
        cohort = self._plan.cohort
        while stage := session.stage:
            bodies = session.requests()
            if session.opens:
                self._run.opened(number, attempt, session.members)
            traffic = sum(map(len, bodies.values())) + session.reply_limit * len(bodies)
            frames = {client: Request(number, attempt, stage, body) for client, body in bodies.items()}
            answered: set[str] = set()
            for client, frame in self._link.exchange(
                frames, seconds=cohort.stage_deadline + traffic / cohort.min_rate, limit=session.reply_limit
            ):
                answered.add(client)
                if isinstance(frame, Reply):
                    self._receive(session, number, client, frame)
                elif isinstance(frame, Refusal):
                    self._note("refused", number, attempt, stage, client, frame.code)
                    ready.discard(client)
                del frame  # an upload may be a third of a gigabyte
            late = frames.keys() - answered
            self._note_late(number, attempt, stage, late)
            ready -= late
            known = session.key_holders
            try:
                session.advance()
            finally:
                self._exclude(session.faults, number, attempt, stage)
                self._suspect(session.suspects, number, attempt, stage)
                ready -= self._excluded
            if session.key_holders != known:
                self._run.log("keys-held", round=number, attempt=attempt, clients=session.key_holders)
        return session.sum()

    def _receive(self, session: ServerSession, number: int, client: str, frame: Reply) -> None:
        try:
            session.receive(client, frame.body)
        except ClientFault as fault:
            _log.warning("round %d, stage %s: %s", number, frame.stage, fault)

    # -- its end --------------------------------------------------------------------------------------

    def _close(self, number: int, outcome: _Outcome) -> RoundReport:
        decoded, code = outcome.decoded, outcome.code
        metrics: Mapping[str, float] = {} if decoded is None else decoded.metrics
        evaluation: Mapping[str, float] = {}
        record: dict[str, Any] = {
            "cohort": outcome.cohort,
            "survivors": outcome.survivors,
            "clients": metrics,
        }
        if decoded is not None and decoded.unclipped is not None:
            record |= {"clip_norm": self._norm.value, "unclipped": decoded.unclipped}
            self._norm.follow(decoded.unclipped)
        if decoded is not None and decoded.mean is not None:
            try:
                self._state, self.weights = self._aggregate(self._state, self.weights, decoded.mean)
            except RunError as error:
                self._run.fail_round(number, error.code, record)
                raise
            try:
                if self._evaluate is not None:
                    theirs = self._evaluate({name: array.copy() for name, array in self.weights.items()})
                    check_metrics(theirs)
                    evaluation = {name: float(value) for name, value in theirs.items()}
                    record["server"] = evaluation
            finally:  # an evaluation that raises ends the run, and loses no round
                self._run.close_round(number, self.weights, self._norm.kept_with(self._state), record)
        else:
            code = code or "example-weight-zero"
            self._run.fail_round(number, code, record)
        if advice := self._clipping.after(metrics):
            self._run.log("clipping", **advice)
        return RoundReport(
            number,
            self._plan.run.rounds,
            code,
            outcome.attempts,
            outcome.cohort,
            outcome.survivors,
            metrics,
            evaluation,
        )

    # -- the log --------------------------------------------------------------------------------------

    def _note(self, event: str, number: int, attempt: int, stage: str, client: str, code: str) -> None:
        _log.warning("round %d, stage %s: '%s' %s (%s)", number, stage, client, event, code)
        self._run.log(event, round=number, attempt=attempt, stage=stage, client=client, code=code)

    def _note_late(self, number: int, attempt: int, stage: str, clients: set[str]) -> None:
        for client in sorted(clients):
            self._note("late", number, attempt, stage, client, "no-answer")

    def _exclude(self, faults: Mapping[str, str], number: int, attempt: int, stage: str) -> None:
        """Who provably broke the rules takes no part in later attempts and rounds."""
        for client, code in sorted(faults.items()):
            if client not in self._excluded:
                self._excluded.add(client)
                self._note("excluded", number, attempt, stage, client, code)
                self._link.dismiss(
                    client, ProtocolError("excluded", f"this client broke the protocol: {code}")
                )

    def _suspect(self, pairs: Sequence[tuple[str, str]], number: int, attempt: int, stage: str) -> None:
        """One of each pair cheated; an operator who sees the same name in many pairs knows which."""
        if stage == "mask":
            for owner, holder in pairs:
                self._note("suspected", number, attempt, stage, owner, f"share-unopened-by-{holder}")

    def _admits(self, identity: Identity) -> bool:
        return self._plan.cohort.admits(identity.name) and identity.name not in self._excluded


def _method(plan: Plan) -> Aggregate:
    rate = plan.aggregation.server_learning_rate
    if plan.aggregation.method == "fedavgm":
        return fedavgm(plan.aggregation.momentum, rate)
    return fedavg(rate)
