"""Two models in one round: a server that tries to make a sum of many the update of one.

"Eluding Secure Aggregation in Federated Learning via Model Inconsistency" (Pasquini, Francati, Ateniese 2022,
arXiv 2111.07380): the victim gets the true model, everyone else one whose first layer is dead, so
that its gradient there is zero whatever the data ("gradient suppression"). The sum of those coordinates is
the victim's alone, and every attack on a single update works on it.

Threat model: **malicious**. This one secure aggregation can stop, and here it must: every key of a session is
derived under a context that holds a digest of the model as *that client* was given it. What is played are
the library's own participants and sessions against a server of ours that lies, in one of two ways. With
"one-context" it names the victim's model to all. With "own-contexts" it tells each client what that client
expects, and makes up the next request from all their replies, leaving out each check of its own. Either is a
dead end unless `min_survivors` clients sign under the victim's context: those that were given the same model,
or collude, and against colluders stands the plan's own bound on them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from os import urandom
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import nn

import secagg
from secagg import weights as named_arrays
from secagg.credentials import Authority
from secagg.enrolment import issue_credentials, new_authority
from secagg.errors import ClientFault, ProtocolError
from secagg.frames import WIRE_VERSION, Reply, Request, TaskFrame, Welcome
from secagg.homomorphic import messages as homomorphic
from secagg.masking import messages as masking
from secagg.masking.parameters import threshold
from secagg.participant import Participant
from secagg.plan import policy_of
from secagg.protections import Assignment
from secagg.session import ServerSession
from secagg.weights import Weights
from secagg_attacks.inversion.errors import InversionError
from secagg_attacks.inversion.gradients import model_of
from secagg_attacks.inversion.layers import input_layer, parameters_of
from secagg_attacks.inversion.through_sum.first_layer import Floats, first_layer, quotients

__all__ = ["Lie", "Opened", "play", "silenced", "victims_input"]

Lie: TypeAlias = Literal["one-context", "own-contexts"]

_ATTEMPT = 1
_ROUND = 1


@dataclass(frozen=True, eq=False)
class Opened:
    """How it ended. mean: what the server opened; None: nothing, the attack is blocked. code: of the refusal
    that ended it, "" where something was opened. refusals: client -> the code it answered with. transcript:
    SHA-256, in hex, over every request and every answer, in their order.
    """

    mean: Weights | None
    code: str
    refusals: Mapping[str, str]
    transcript: str

    @property
    def blocked(self) -> bool:
        """Whether nothing was opened."""
        return self.mean is None


def silenced(model: nn.Module, weights: Weights, shape: tuple[int, ...]) -> Weights:
    """The model for everyone but the victim: weights of 0 and biases of -1 in the layer that sees the input.

    After a ReLU that layer's outputs and gradients are zero for any data. shape: of one input.
    Raises InversionError `not-silenced` where no ReLU follows, and what `input_layer` raises.
    """
    copy = model_of(model, nn.functional.cross_entropy)
    name = input_layer(copy, (1, *shape))
    names = parameters_of(name)
    dead = {key: array.copy() for key, array in weights.items()}
    for key, value in zip(names, (0.0, -1.0), strict=True):
        dead[key][...] = value
        with torch.no_grad():
            copy.parameters[key].fill_(value)
    dtype = copy.parameters[names[0]].dtype
    probe = torch.rand((1, *shape), generator=torch.Generator().manual_seed(0), dtype=dtype)
    gradient = copy.gradient(probe, torch.zeros(1, dtype=torch.long), differentiable=False)
    if any(bool(gradient[key].any()) for key in names):
        raise InversionError(
            "not-silenced",
            f"{' and '.join(names)} still have a gradient when all that their layer gives is negative",
            "a ReLU after it",
        )
    return dead


def play(
    plan: secagg.Plan,
    model: Weights,
    silent: Weights,
    clients: Mapping[str, secagg.Train],
    victim: str,
    lie: Lie = "own-contexts",
    *,
    masks: bool = True,
) -> Opened:
    """One round in which the victim trains `model` and everyone else `silent`.

    masks: False leaves the cryptography out, as in `secagg.simulate`. Raises InversionError `victim-unknown`,
    `roster-accepted`, and what training raises.
    """
    if victim not in clients:
        raise InversionError(
            "victim-unknown", f"'{victim}' is none of the clients", ", ".join(sorted(clients))
        )
    protected = masks and plan.protection.kind != "none"
    run, authority = urandom(16), new_authority("two-models")
    tasks, participants = {}, {}
    for name, train in clients.items():
        own = model if name == victim else silent
        tasks[name] = Assignment.of(plan, own, run, _ROUND, protected)
        participants[name] = Participant(
            train,
            credentials=issue_credentials(name, "client", authority) if protected else None,
            floor=None,
            name=name,
            protected=protected,
            max_failures=1,
        )
        participants[name].handle(Welcome(WIRE_VERSION, run, plan.to_json()))
        participants[name].handle(TaskFrame(_ROUND, plan.run.rounds, named_arrays.to_bytes(own)))
    server = _Liar(plan, victim, tasks, participants, {})
    session = tasks[victim].server_session(
        _ATTEMPT, sorted(clients), Authority.from_pem(authority[1]), lambda _identity: True, datetime.now(UTC)
    )
    try:
        if lie == "own-contexts" and protected:
            server.forge(session)
        else:
            server.open(session, translating=lie == "own-contexts")
    except ProtocolError as error:
        # What clients said comes first: the server's own error follows from it.
        code = next(iter(server.refusals.values()), error.code)
        return Opened(None, code, dict(server.refusals), server.heard.hexdigest())
    finally:
        for participant in participants.values():
            participant.close()
    decoded = tasks[victim].codec.decode(session.sum().vector)
    return Opened(dict(decoded.mean or {}), "", dict(server.refusals), server.heard.hexdigest())


def victims_input(model: nn.Module, opened: Opened, shape: tuple[int, ...]) -> Floats:
    """The victim's input, had it one and trained one step on it: the quotient of the row that moved most.

    float64 of `shape`. Raises InversionError `attack-blocked`, `gradient-zero` where the victim's example
    reached no row, and what `first_layer` raises.
    """
    if opened.mean is None:
        raise InversionError(
            "attack-blocked", f"nothing was opened: {opened.code}", "that is as it should be"
        )
    mixture = first_layer(model, opened.mean, shape)
    rows, inputs = quotients(mixture)
    if not len(rows):
        raise InversionError(
            "gradient-zero",
            "the first layer's gradient is 0 in every row",
            "an example that makes a neuron of that layer fire",
        )
    return np.asarray(inputs[np.abs(mixture.bias[rows]).argmax()].reshape(shape))


@dataclass(frozen=True, eq=False)
class _Liar:
    """The server. tasks: what each client was given. refusals: the first code of each client that refused.
    heard: everything that went to and fro."""

    plan: secagg.Plan
    victim: str
    tasks: Mapping[str, Assignment]
    participants: Mapping[str, Participant]
    refusals: dict[str, str]
    heard: hashlib._Hash = field(default_factory=hashlib.sha256)

    def open(self, session: ServerSession, translating: bool) -> None:
        """Plays the session to its end. Raises ProtocolError where it has none."""
        while stage := session.stage:
            for name, body in session.requests().items():
                reply = self._ask(name, stage, self._own(name, body) if translating else body)
                with suppress(ClientFault):
                    if reply is not None:
                        session.receive(name, reply.body)
            session.advance()

    def forge(self, session: ServerSession) -> None:
        """Has each client advertise under the context it expects, and gives all of them one roster."""
        stage = session.stage
        replies = {
            name: self._ask(name, stage, self._own(name, body)) for name, body in session.requests().items()
        }
        said = {name: bytes(reply.body) for name, reply in sorted(replies.items()) if reply is not None}
        next_stage, request = self._roster(said)
        accepted = [name for name in sorted(said) if self._ask(name, next_stage, request) is not None]
        if accepted:
            raise InversionError(
                "roster-accepted",
                f"{', '.join(accepted)} went on with members that signed under other contexts",
                "with two different models that is a failure of the protocol; with one it is as it should be",
            )
        raise ProtocolError("roster-refused", "no client goes on with the roster that was made up")

    def _ask(self, name: str, stage: str, body: bytes) -> Reply | None:
        answer = self.participants[name].handle(Request(_ROUND, _ATTEMPT, stage, bytes(body)))
        self.heard.update(f"{name} {stage} {len(body)} ".encode() + bytes(body))
        if isinstance(answer, Reply):
            self.heard.update(f"{name} {len(answer.body)} ".encode() + bytes(answer.body))
            return answer
        self.refusals.setdefault(name, getattr(answer, "code", ""))
        self.heard.update(f"{name} {self.refusals[name]}".encode())
        return None

    def _own(self, name: str, body: bytes) -> bytes:
        """A request with the context that this client computed in place of the victim's."""
        told, own = self.tasks[self.victim].context(_ATTEMPT), self.tasks[name].context(_ATTEMPT)
        return bytes(body).replace(told, own)

    def _roster(self, said: Mapping[str, bytes]) -> tuple[str, bytes]:
        """The next stage, and its request with everyone's advertisement in it."""
        if self.plan.protection.kind == "masks":
            limits = threshold(policy_of(self.plan), len(said))
            entries = tuple(
                masking.Entry(name, masking.Advertisement.from_bytes(body)) for name, body in said.items()
            )
            return "share", masking.ShareRequest(limits.k, limits.t, entries).to_bytes()
        roster = tuple(
            homomorphic.Entry(name, homomorphic.Advertisement.from_bytes(body)) for name, body in said.items()
        )
        return "key", homomorphic.KeyRequest(roster).to_bytes()
