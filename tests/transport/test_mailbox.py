"""`secagg.transport.mailbox`: what a client says and hears outlives its streams."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from secagg.errors import TransportError
from secagg.frames import Finished, Ready, Refusal, Rejected, Reply, Request, RoundClosed, TaskFrame, Welcome
from secagg.transport.envelopes import Question
from secagg.transport.mailbox import Mailbox

TASK = TaskFrame(1, 3, b"")
MASK = Request(1, 0, "mask", b"")


def sent_on_a_new_stream(mailbox: Mailbox) -> list:
    mailbox.resume()
    sent = []
    while (answer := mailbox.to_send()) is not None:
        sent.append(answer)
        mailbox.sent()
    return sent


def test_nothing_is_held_before_the_first_question():
    assert Mailbox().resume() == (None, False)


@pytest.mark.parametrize(
    ("question", "held", "answer"),
    [
        (TASK, Question(1), Ready(1)),
        (TASK, Question(1), Refusal(1, 0, "", "training-failed")),
        (TASK, Question(1), Refusal(1, 0, "train", "training-failed")),
        (MASK, Question(1, 0, "mask"), Reply(1, 0, "mask", b"")),
        (MASK, Question(1, 0, "mask"), Refusal(1, 0, "mask", "refused")),
    ],
)
def test_the_last_answer_is_sent_on_every_stream_until_the_next_question(question, held, answer):
    mailbox = Mailbox()
    mailbox.deliver(question)
    assert mailbox.resume() == (held, False)
    mailbox.answer(answer)
    assert mailbox.resume() == (held, True)
    assert sent_on_a_new_stream(mailbox) == [answer]
    assert sent_on_a_new_stream(mailbox) == [answer]
    mailbox.deliver(Request(1, 1, "advertise", b""))
    assert mailbox.resume() == (Question(1, 1, "advertise"), False)
    assert sent_on_a_new_stream(mailbox) == []


def test_an_answer_that_was_not_sent_whole_is_sent_before_later_ones():
    mailbox = Mailbox()
    mailbox.deliver(TASK)
    mailbox.answer(Ready(1))
    mailbox.deliver(MASK)
    mailbox.answer(Reply(1, 0, "mask", b""))
    assert mailbox.to_send() == Ready(1)  # and the stream breaks
    assert sent_on_a_new_stream(mailbox) == [Ready(1), Reply(1, 0, "mask", b"")]


def test_the_first_reason_for_an_end_counts():
    mailbox = Mailbox()
    mailbox.deliver(TASK)
    mailbox.end(TransportError("first", "one"))
    mailbox.end(TransportError("second", "two"))
    assert mailbox.superseded(1)
    assert mailbox.take(0) == TASK
    with pytest.raises(TransportError, match="one"):
        mailbox.take(None)


def test_a_server_cannot_fill_the_memory_with_frames():
    mailbox = Mailbox()
    with pytest.raises(TransportError) as raised:
        for number in range(10_000):
            mailbox.deliver(RoundClosed(number, False))
    assert raised.value.code == "frame-unexpected"


def waiting_in(mailbox: Mailbox) -> list:
    frames = []
    while (frame := mailbox.take(0)) is not None:
        frames.append(frame)
    return frames


def test_a_later_question_takes_the_place_of_one_that_nobody_took():
    mailbox = Mailbox()
    welcome, last = Welcome(1, b"run", "{}"), TaskFrame(30, 30, b"last")
    mailbox.deliver(welcome)
    for number in range(1, 30):
        mailbox.deliver(TaskFrame(number, 30, bytes(100)))
        mailbox.deliver(Request(number, 0, "mask", bytes(100)))
    mailbox.deliver(RoundClosed(29, False))
    mailbox.deliver(last)
    assert waiting_in(mailbox) == [welcome, RoundClosed(29, False), last]
    assert mailbox.resume() == (Question(30), False)


def test_a_question_of_an_earlier_round_than_the_one_that_waits_is_refused():
    mailbox = Mailbox()
    mailbox.deliver(TaskFrame(2, 3, b""))
    with pytest.raises(TransportError) as raised:
        mailbox.deliver(MASK)
    assert raised.value.code == "frame-unexpected"


def test_another_run_leaves_nothing_of_the_one_before_and_owes_no_training():
    mailbox = Mailbox()
    first, second = Welcome(1, b"first", "{}"), Welcome(1, b"second", "{}")
    for frame in (first, RoundClosed(0, False), TASK, second):
        mailbox.deliver(frame)
    assert waiting_in(mailbox) == [second]
    assert sent_on_a_new_stream(mailbox) == [Refusal(1, 0, "train", "round-over")]


@pytest.mark.parametrize(
    ("frame", "ended"),
    [
        (RoundClosed(4, True), False),
        (RoundClosed(5, True), True),
        (RoundClosed(6, True), False),
        (TaskFrame(5, 9, b""), False),
        (TaskFrame(6, 9, b""), True),
        (Request(5, 0, "mask", b""), False),
        (Request(6, 0, "mask", b""), True),
        (Welcome(1, b"another", "{}"), True),
        (Finished(9, b""), True),
        (Rejected("no", "no"), True),
    ],
)
def test_a_round_is_superseded_by_its_own_end_and_by_what_comes_after_it(frame, ended):
    mailbox = Mailbox()
    mailbox.deliver(frame)
    assert mailbox.superseded(5) is ended


frames = st.one_of(
    st.builds(TaskFrame, st.integers(1, 4), st.just(4), st.just(b"")),
    st.builds(Request, st.integers(1, 4), st.integers(0, 1), st.just("mask"), st.just(b"")),
    st.builds(RoundClosed, st.integers(1, 4), st.booleans()),
    st.builds(Welcome, st.just(1), st.binary(max_size=1), st.just("")),
)


@given(st.lists(frames, max_size=12))
def test_a_round_that_was_superseded_stays_so_whatever_a_server_sends(several):
    """Else a server could call a training off, and have half of it summed all the same."""
    mailbox = Mailbox()
    ended: set[int] = set()
    for frame in several:
        try:
            mailbox.deliver(frame)
        except TransportError as error:
            mailbox.end(error)
        now = {number for number in range(5) if mailbox.superseded(number)}
        assert ended <= now
        ended = now


class Streams(RuleBasedStateMachine):
    """Questions come, answers go, streams break anywhere: each last answer reaches the server."""

    def __init__(self) -> None:
        super().__init__()
        self.mailbox = Mailbox()
        self.round = 0
        self.heard: set[int] = set()
        self.on_the_wire: list[Ready] = []

    @rule()
    def ask(self) -> None:
        self.round += 1
        self.mailbox.deliver(TaskFrame(self.round, 9, b""))

    @rule()
    def answer(self) -> None:
        if self.round:
            self.mailbox.answer(Ready(self.round))

    @rule()
    def write(self) -> None:
        answer = self.mailbox.to_send()
        if answer is not None:
            self.on_the_wire.append(answer)
            self.mailbox.sent()

    @rule(arrives=st.booleans())
    def break_the_stream(self, arrives: bool) -> None:
        if arrives:
            self.heard |= {answer.round for answer in self.on_the_wire}
        self.on_the_wire.clear()
        self.mailbox.resume()

    @invariant()
    def an_answer_to_the_last_question_is_heard_or_will_be(self) -> None:
        held, answered = self.mailbox.resume()
        if answered:
            assert held == Question(self.round)
            assert self.mailbox.to_send() is not None


TestStreams = Streams.TestCase
TestStreams.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
