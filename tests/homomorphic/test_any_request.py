"""No sequence of requests, however it was come by, gets more from an honest client than the protocol gives.

Single bits changed anywhere, requests replayed, redirected and out of order, survivors that differ from
decryptor to decryptor: the client stops, or does exactly what it would have done.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from secagg.encoding.packing import packed_size
from secagg.errors import ClientFault, SecaggError, ServerFault
from secagg.homomorphic.messages import (
    KINDS,
    ConfirmReply,
    ConfirmRequest,
    FetchRequest,
    OpenReply,
    OpenRequest,
)
from tests.homomorphic.lies import (
    Watch,
    assert_silent,
    ciphertext_of,
    confirm_request,
    keys_reachable,
    twin,
)
from tests.homomorphic.sessions import Sessions, terms
from tests.masking.lies import changed

N = 6
STAGES = ["advertise", "key", "upload", "confirm", "fetch-0", "fetch-4", "open"]
NUMBER = {stage: KINDS.index(stage.partition("-")[0]) for stage in STAGES}


@cache
def at(stage: str, recompute: bool = True) -> Sessions:
    sessions = Sessions(N, terms(recompute=recompute))
    sessions.run_to(stage)
    return sessions


def asked_of(sessions: Sessions, who: int) -> str:
    names = sorted(sessions.server.requests())
    return names[who % len(names)]


@pytest.mark.parametrize("stage", STAGES)
@given(bits=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=2), who=st.integers(0, N - 1))
@settings(max_examples=100, deadline=None)
def test_a_request_with_any_bit_changed_is_refused(stage: str, bits: list[float], who: int) -> None:
    """With recompute, every bit of every request is checked: nothing in one is only believed."""
    sessions = at(stage)
    name = asked_of(sessions, who)
    request = sessions.request(name)
    spoiled = request
    for bit in bits:
        spoiled = changed(spoiled, int(bit * 8 * len(request)))
    client = twin(sessions.clients[name])
    if spoiled == request:
        client.answer(spoiled)
        return
    watch = Watch(client)
    with pytest.raises(ServerFault) as refused:
        client.answer(spoiled)
    watch.assert_erased(refused.value)
    assert_silent(client, request, spoiled)


@given(bits=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=2), who=st.integers(0, 2))
@settings(max_examples=100, deadline=None)
def test_without_recompute_a_changed_sum_is_refused_or_opened_and_the_key_is_gone(
    bits: list[float], who: int
) -> None:
    """Survivors are only believed there, and so is the sum: see `test_limits`."""
    sessions = at("open", recompute=False)
    name = asked_of(sessions, who)
    request = sessions.request(name)
    spoiled = request
    for bit in bits:
        spoiled = changed(spoiled, int(bit * 8 * len(request)))
    client = twin(sessions.clients[name])
    try:
        reply = client.answer(spoiled)
    except ServerFault:
        assert_silent(client, request, spoiled)
    else:
        scheme = sessions.terms.scheme
        assert len(reply) == len(OpenReply.head()) + packed_size(scheme.length, scheme.bits)
        assert client.answer(spoiled) == reply
    assert keys_reachable(client) == []


@pytest.mark.parametrize("stage", STAGES)
@given(body=st.binary(max_size=400))
@settings(max_examples=60, deadline=None)
def test_bytes_that_are_no_request_are_refused_by_a_code(stage: str, body: bytes) -> None:
    sessions = at(stage)
    for prefix in (b"", bytes((1, NUMBER[stage]))):
        client = twin(sessions.clients[asked_of(sessions, 0)])
        with pytest.raises(SecaggError) as caught:
            client.answer(prefix + body)
        assert caught.value.code
        assert_silent(client)


@pytest.mark.parametrize("stage", STAGES)
@given(body=st.binary(max_size=400))
@settings(max_examples=60, deadline=None)
def test_bytes_that_are_no_answer_are_refused_by_a_code(stage: str, body: bytes) -> None:
    sessions = at(stage)
    name = asked_of(sessions, 0)
    honest = b"" if stage != "fetch-4" else (4).to_bytes(4, "little")
    if stage.startswith("fetch") and body == (honest or bytes(4)):
        return
    for prefix in (b"", bytes((1, NUMBER[stage]))):
        with pytest.raises(ClientFault) as caught:
            sessions.server.receive(name, prefix + body)
        assert caught.value.code
        sessions.server._answers.faults.clear()


SETS = st.frozensets(st.integers(0, N - 1), min_size=1)
PLACES = st.integers(0, 2)


class MaliciousServer(RuleBasedStateMachine):
    """Everything after the upload, with recompute, by a server that asks as it likes and has no key.

    Clients are numbered so that the first three are the decryptors, whoever is drawn: a run can be repeated.
    """

    @initialize(
        shown=st.lists(st.sampled_from([None, None, None, 3, 4]), min_size=3, max_size=3),
        fetched=st.lists(st.sampled_from([True, True, False]), min_size=3, max_size=3),
    )
    def uploaded(self, shown: list[int | None], fetched: list[bool]) -> None:
        """shown: who is left out of the survivors that each decryptor is asked to confirm."""
        self.sessions = Sessions(N, terms(length=5, recompute=True))
        self.sessions.run_to("upload")
        self.uploads = [ciphertext_of(reply) for reply in self.sessions.step().values()]
        drawn = self.sessions.cohort.decryptors
        self.order = [*drawn, *(position for position in range(N) if position not in drawn)]
        self.sent: dict[int, list[bytes]] = defaultdict(list)
        self.signed: dict[tuple[int, ...], dict[int, bytes]] = defaultdict(dict)
        self.opened: dict[tuple[int, ...], set[bytes]] = defaultdict(set)
        self.answers: dict[int, set[bytes]] = defaultdict(set)
        for place in range(3):
            self.confirm(place, frozenset(range(N)) - {shown[place]})
            if fetched[place]:
                self.fetch_all_that_is_due(place)

    def send(self, place: int, request: bytes) -> None:
        client = self.sessions.clients[self.sessions.decryptors[place]]
        self.sent[place].append(request)
        try:
            reply = bytes(client.answer(request))
        except SecaggError:
            assert_silent(client, *self.sent[place])
            assert keys_reachable(client) == []
            return
        kind = KINDS[reply[1]]
        if kind == "confirm":
            survivors = tuple(part.position for part in ConfirmRequest.from_bytes(request).parts)
            position = self.sessions.cohort.decryptors[place]
            self.signed[survivors][position] = ConfirmReply.from_bytes(reply).signature
        elif kind == "open":
            self.opened[OpenRequest.from_bytes(request).survivors].add(reply)
            self.answers[place].add(reply)

    @rule(place=PLACES, survivors=SETS)
    def confirm(self, place: int, survivors: frozenset[int]) -> None:
        positions = {self.order[number] for number in survivors}
        request = confirm_request(
            self.sessions, lambda parts: [part for part in parts if part.position in positions]
        )
        self.send(place, request)

    @rule(place=PLACES, number=st.integers(0, N - 1), other=st.integers(0, N - 1), lie=st.booleans())
    def fetch(self, place: int, number: int, other: int, lie: bool) -> None:
        content = self.uploads[self.order[other if lie else number]]
        self.send(place, FetchRequest(self.order[number], content).to_bytes())

    @rule(place=PLACES)
    def fetch_all_that_is_due(self, place: int) -> None:
        client = self.sessions.clients[self.sessions.decryptors[place]]
        while client._allowed and client._allowed[0].startswith("fetch-"):
            position = int(client._allowed[0].partition("-")[2])
            self.send(place, FetchRequest(position, self.uploads[position]).to_bytes())

    @rule(place=PLACES, which=st.integers(0, 20), mixed=st.booleans(), shown=st.sampled_from([0, 0, 1]))
    def open(self, place: int, which: int, mixed: bool, shown: int) -> None:
        if not self.signed:
            return
        survivors = list(self.signed)[which % len(self.signed)]
        signatures = dict(self.signed[survivors])
        if mixed:
            for others in self.signed.values():
                signatures = {**others, **signatures}
        content = b"".join(self.uploads[:shown])
        self.send(place, OpenRequest(survivors, tuple(sorted(signatures.items())), content).to_bytes())

    @rule()
    def open_to_all_who_confirmed(self) -> None:
        for survivors, signatures in list(self.signed.items()):
            for position in signatures:
                place = self.sessions.cohort.decryptors.index(position)
                request = OpenRequest(survivors, tuple(sorted(signatures.items())), b"")
                self.fetch_all_that_is_due(place)
                self.send(place, request.to_bytes())

    @rule(place=PLACES, other=PLACES, which=st.integers(0, 40))
    def replay(self, place: int, other: int, which: int) -> None:
        if self.sent[other]:
            self.send(place, self.sent[other][which % len(self.sent[other])])

    @invariant()
    def one_set_of_survivors_is_opened_and_it_is_the_exact_sum_of_enough_clients(self) -> None:
        opened = getattr(self, "opened", {})
        assert len(opened) <= 1
        for survivors, replies in opened.items():
            assert len(survivors) >= self.sessions.terms.min_survivors
            names = [self.sessions.ids[position] for position in survivors]
            for reply in replies:
                assert np.array_equal(self.sessions.opened(reply), self.sessions.expected(names))

    @invariant()
    def a_decryptor_opens_once(self) -> None:
        assert all(len(replies) == 1 for replies in getattr(self, "answers", {}).values())


TestMaliciousServer = MaliciousServer.TestCase
TestMaliciousServer.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
