"""No sequence of requests, however it was come by, gets more from an honest client than the protocol gives.

Single bits changed anywhere, requests replayed, redirected, relabelled and out of order, survivors that
differ from client to client: the client stops, or does exactly what it would have done.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from secagg.errors import ClientFault, ProtocolError, SecaggError, ServerFault
from secagg.frames import Frame, Ready, Refusal, Reply, Request
from secagg.masking.messages import (
    KEY_SHARE,
    SEED_SHARE,
    STAGES,
    ConfirmReply,
    ConfirmRequest,
    MaskReply,
    RevealReply,
    RevealRequest,
    bitmap,
    positions,
)
from secagg.masking.parameters import Policy
from secagg.membership import signed
from secagg.session import ServerSession
from tests.cohort import Cohort
from tests.masking.lies import assert_silent, changed, confirmation, mask_request, twin
from tests.test_participant import Room, task, vector_of

N = 6
NAMES = [f"client-{i:03d}" for i in range(N)]
LIAR = N - 1
HONEST = range(N - 1)


@cache
def at(stage: str) -> Cohort:
    cohort = Cohort(N, policy=Policy(8, 3))
    cohort.run_to(stage)
    return cohort


@pytest.mark.parametrize("stage", STAGES)
@given(bits=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=2), who=st.integers(0, N - 1))
@settings(max_examples=120, deadline=None)
def test_a_request_with_any_bit_changed_is_refused_or_changes_nothing(
    stage: str, bits: list[float], who: int
) -> None:
    cohort = at(stage)
    name = NAMES[who]
    request = cohort.server.requests()[name]
    spoiled = request
    for bit in bits:
        spoiled = changed(spoiled, int(bit * 8 * len(request)))
    client = twin(cohort.clients[name])
    try:
        reply = client.answer(spoiled)
    except ServerFault:
        assert_silent(client, request, spoiled)
        return
    if spoiled == request:
        return
    assert stage in ("mask", "confirm")
    if stage == "mask":  # envelopes that do not open any more are reported, and are masked against
        honest = MaskReply.from_bytes(twin(cohort.clients[name]).answer(request))
        answer = MaskReply.from_bytes(reply)
        assert answer.failed and answer.vector == honest.vector
    else:  # other survivors: signed as they are, and worth nothing without a quorum
        survivors = ConfirmRequest.from_bytes(spoiled).survivors
        assert who in positions(survivors, N)
        roster = cohort.server._roster
        assert roster is not None
        message = signed("confirm", name, roster.context, survivors)
        assert roster.members[who].identity.verify(ConfirmReply.from_bytes(reply).signature, message)


@pytest.mark.parametrize("stage", STAGES)
@given(body=st.binary(max_size=400))
@settings(max_examples=60, deadline=None)
def test_bytes_that_are_no_request_are_refused_by_a_code(stage: str, body: bytes) -> None:
    for prefix in (b"", bytes((1, STAGES.index(stage)))):
        client = twin(at(stage).clients[NAMES[0]])
        with pytest.raises(SecaggError) as caught:
            client.answer(prefix + body)
        assert caught.value.code
        assert_silent(client)


@pytest.mark.parametrize("stage", STAGES)
@given(body=st.binary(max_size=400))
@settings(max_examples=60, deadline=None)
def test_bytes_that_are_no_answer_are_refused_by_a_code(stage: str, body: bytes) -> None:
    server = at(stage).server
    for prefix in (b"", bytes((1, STAGES.index(stage)))):
        with pytest.raises(ClientFault) as caught:
            server.receive(NAMES[0], prefix + body)
        assert caught.value.code
        server._answers.faults.clear()


SURVIVORS = st.frozensets(st.integers(0, N - 1), min_size=2)


class MaliciousServer(RuleBasedStateMachine):
    """Everything after the roster, by a server that has one client on its side and asks as it likes."""

    @initialize(missing=st.frozensets(st.sampled_from(HONEST), max_size=1))
    def masked(self, missing: frozenset[int]) -> None:
        self.cohort = Cohort(N, length=5, policy=Policy(8, 3))
        self.cohort.run_to("mask")
        self.sent: dict[int, list[bytes]] = defaultdict(list)
        self.signed: dict[bytes, dict[int, bytes]] = defaultdict(dict)
        self.revealed: dict[int, set[tuple[int, int]]] = defaultdict(set)
        self.opened: set[bytes] = set()
        self.vectors: dict[int, set[bytes]] = defaultdict(set)
        for who in HONEST:
            self.mask(who, missing)

    def send(self, who: int, request: bytes) -> None:
        client = self.cohort.clients[NAMES[who]]
        self.sent[who].append(request)
        try:
            reply = client.answer(request)
        except SecaggError:
            assert_silent(client, *self.sent[who])
            return
        stage = STAGES[reply[1]]
        if stage == "mask":
            self.vectors[who].add(bytes(reply))
        elif stage == "confirm":
            survivors = ConfirmRequest.from_bytes(request).survivors
            self.signed[survivors][who] = ConfirmReply.from_bytes(reply).signature
        elif stage == "reveal":
            self.opened.add(RevealRequest.from_bytes(request).survivors)
            shares = RevealReply.from_bytes(reply).shares
            self.revealed[who] |= {(owner, kind) for owner, kind, _ in shares}

    def reveal_request(self, survivors: bytes, *, all_signers: bool) -> bytes:
        signatures = {
            **self.signed[survivors],
            LIAR: confirmation(self.cohort, NAMES[LIAR], survivors),
        }
        members = positions(survivors, N)
        chosen = {i: s for i, s in signatures.items() if all_signers or i in members}
        return RevealRequest(survivors, tuple(sorted(chosen.items()))).to_bytes()

    @rule(who=st.sampled_from(HONEST), missing=st.frozensets(st.integers(0, N - 1), max_size=3))
    def mask(self, who: int, missing: frozenset[int]) -> None:
        def shown(envelopes: dict) -> dict:  # type: ignore[type-arg]
            return {owner: sealed for owner, sealed in envelopes.items() if owner not in missing}

        self.send(who, mask_request(self.cohort, NAMES[who], shown))

    @rule(who=st.sampled_from(HONEST), survivors=SURVIVORS)
    def confirm(self, who: int, survivors: frozenset[int]) -> None:
        self.send(who, ConfirmRequest(bitmap(survivors | {who}, N)).to_bytes())

    @rule(
        gone=st.sampled_from([*range(N), None]),
        but=st.frozensets(st.sampled_from(HONEST), max_size=3),
        reveal=st.booleans(),
    )
    def confirm_together(self, gone: int | None, but: frozenset[int], reveal: bool) -> None:
        survivors = bitmap((i for i in range(N) if i != gone), N)
        for who in frozenset(HONEST) - but - {gone}:
            self.send(who, ConfirmRequest(survivors).to_bytes())
        if reveal:
            self.reveal_to_all_who_confirmed()

    @rule(who=st.sampled_from(HONEST), strangers=st.booleans(), data=st.data())
    @precondition(lambda self: self.signed)
    def reveal(self, who: int, strangers: bool, data: st.DataObject) -> None:
        survivors = data.draw(st.sampled_from(sorted(self.signed)))
        self.send(who, self.reveal_request(survivors, all_signers=strangers))

    @rule()
    @precondition(lambda self: self.signed)
    def reveal_to_all_who_confirmed(self) -> None:
        for survivors, signers in list(self.signed.items()):
            for who in signers:
                self.send(who, self.reveal_request(survivors, all_signers=False))

    @rule(who=st.sampled_from(HONEST), other=st.sampled_from(HONEST), data=st.data())
    @precondition(lambda self: any(self.sent.values()))
    def replay(self, who: int, other: int, data: st.DataObject) -> None:
        if self.sent[other]:
            self.send(who, data.draw(st.sampled_from(self.sent[other])))

    @invariant()
    def one_set_of_survivors_is_opened(self) -> None:
        assert len(getattr(self, "opened", ())) <= 1

    @invariant()
    def a_client_gives_one_share_of_each_owner_and_one_vector(self) -> None:
        for shares in getattr(self, "revealed", {}).values():
            assert len(shares) == len({owner for owner, _ in shares})
        assert all(len(vectors) == 1 for vectors in getattr(self, "vectors", {}).values())

    @invariant()
    def nobodys_two_secrets_are_both_opened(self) -> None:
        roster = getattr(self, "cohort", None) and self.cohort.server._roster
        if not roster:
            return
        for owner in HONEST:
            held = {
                kind: sum((owner, kind) in shares for shares in self.revealed.values())
                for kind in (SEED_SHARE, KEY_SHARE)
            }
            assert min(held.values()) + 1 < roster.threshold.t  # the colluder gives both of its shares


FEW: st.SearchStrategy[set[str]] = st.one_of(st.just(set()), st.sets(st.sampled_from(NAMES), max_size=2))


class RetryingServer(RuleBasedStateMachine):
    """Attempt after attempt over one round's vectors, with any clients, any labels and any replays."""

    @initialize()
    def trained(self) -> None:
        self.room = Room(n=N)
        self.vectors = {name: vector_of(one).copy() for name, one in self.room.all.items()}
        self.attempt = 0
        self.sessions: dict[int, ServerSession] = {}
        self.frames: list[tuple[str, Request]] = []
        self.bodies: dict[tuple[str, int, int], set[bytes]] = defaultdict(set)
        self.masked: dict[str, int] = {}
        self.opened: dict[int, tuple[str, ...]] = {}

    def send(self, name: str, frame: Request) -> Frame | None:
        self.frames.append((name, frame))
        answer = self.room.all[name].handle(frame)
        if isinstance(answer, Reply):
            body = bytes(answer.body)
            stage = body[1]
            if stage == STAGES.index("mask"):
                assert self.masked.setdefault(name, frame.attempt) == frame.attempt, "masked twice"
            self.bodies[name, frame.attempt, stage].add(body)
        return answer

    @rule(left_out=FEW, steps=st.integers(1, 5), silent=FEW)
    @precondition(lambda self: self.attempt < 8)
    def begin(self, left_out: set[str], steps: int, silent: set[str]) -> None:
        self.attempt += 1
        names = [name for name in NAMES if name not in left_out]
        self.sessions[self.attempt] = self.room.session(self.attempt, names)
        self.play(self.attempt, steps, silent, None)

    @rule(steps=st.integers(1, 4), silent=FEW, label=st.sampled_from([None, "mask"]), data=st.data())
    @precondition(lambda self: self.sessions)
    def go_on(self, steps: int, silent: set[str], label: str | None, data: st.DataObject) -> None:
        self.play(data.draw(st.sampled_from(sorted(self.sessions))), steps, silent, label)

    def play(self, attempt: int, steps: int, silent: set[str], label: str | None) -> None:
        session = self.sessions[attempt]
        for _ in range(steps):
            for name, body in session.requests().items():
                if name in silent:
                    continue
                answer = self.send(name, Request(1, attempt, label or session.stage, body))
                if isinstance(answer, Reply):
                    session.receive(name, answer.body)
            try:
                session.advance()
            except ProtocolError:
                return
            if not session.stage:
                self.opened[attempt] = session.sum().survivors
                self.check_sum(session)
                del self.sessions[attempt]
                return

    def check_sum(self, session: ServerSession) -> None:
        opened = session.sum()
        total = sum(self.vectors[name].astype(np.uint64) for name in opened.survivors)
        assert not ((total - opened.vector.astype(np.uint64)) & np.uint64(0xFFFFFF)).any()

    @rule(data=st.data(), to=st.sampled_from(NAMES))
    @precondition(lambda self: self.frames)
    def replay(self, data: st.DataObject, to: str) -> None:
        """An earlier frame once more, to whom it was sent or to another; perhaps as another attempt's."""
        name, frame = data.draw(st.sampled_from(self.frames[-40:]))
        attempt = data.draw(st.sampled_from([frame.attempt, frame.attempt, self.attempt]))
        name = data.draw(st.sampled_from([name, to]))
        self.send(name, Request(frame.round, attempt, frame.stage, frame.body))

    @rule(name=st.sampled_from(NAMES))
    @precondition(lambda self: self.attempt)
    def the_task_again(self, name: str) -> None:
        answer = self.room.all[name].handle(task())
        assert isinstance(answer, Refusal) if name in self.masked else answer == Ready(1)

    @invariant()
    def a_request_has_one_answer(self) -> None:
        assert all(len(bodies) == 1 for bodies in getattr(self, "bodies", {}).values())

    @invariant()
    def nobody_is_in_two_sums(self) -> None:
        opened = [name for survivors in getattr(self, "opened", {}).values() for name in survivors]
        assert len(opened) == len(set(opened))


_STEPS = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestMaliciousServer = MaliciousServer.TestCase
TestMaliciousServer.settings = _STEPS
TestRetryingServer = RetryingServer.TestCase
TestRetryingServer.settings = _STEPS
