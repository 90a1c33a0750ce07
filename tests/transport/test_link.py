"""`secagg.transport.link`: the server's side over real sockets, against clients that do as they like."""

from __future__ import annotations

import time

import grpc
import pytest

from secagg.errors import FloorError, RunError, TransportError
from secagg.frames import (
    WIRE_VERSION,
    Finished,
    Hello,
    Ready,
    Refusal,
    Rejected,
    Reply,
    Request,
    RoundClosed,
    TaskFrame,
)
from secagg.transport.envelopes import CHUNK, Chunk, Grant, Greeting, Offer, Question
from secagg.transport.link import GrpcLink
from tests.transport.world import (
    ALICE,
    BOB,
    LARGE,
    MASK,
    SOON,
    TASK,
    WELCOME,
    Events,
    RawClient,
    ask,
    asking,
    enrol,
    in_background,
    read_all,
    serve,
    soon,
)

# Who is there


def test_a_client_that_was_welcomed_is_idle(link, alice):
    assert link.wait(1, SOON) == ("alice",)


def test_wait_returns_as_soon_as_enough_are_idle(link, alice):
    waiting = in_background(link.wait, 2, SOON)
    with RawClient(link.address, BOB) as bob:
        bob.read()
        assert waiting() == ("alice", "bob")


def test_wait_returns_with_those_there_are_when_time_is_up(link, alice):
    link.wait(1, SOON)
    assert link.wait(2, 0.01) == ("alice",)


def test_a_client_that_left_is_not_idle(link, alice, events):
    link.wait(1, SOON)
    alice.close()
    events.wait("client-left", client="alice")
    assert link.wait(1, 0) == ()


def test_an_identity_that_is_not_admitted_is_told_why(events):
    def admit(identity):
        raise FloorError("not-admitted", f"'{identity.name}' is not on the plan's list", "ask to be added")

    with serve(events, admit=admit) as link, RawClient(link.address, ALICE) as alice:
        assert alice.read() == Rejected(
            "not-admitted", "'alice' is not on the plan's list", "ask to be added"
        )
        assert alice.read() is None
        assert events.wait("client-rejected", client="alice")["code"] == "not-admitted"
        assert link.wait(1, 0) == ()


def test_another_wire_version_is_refused_with_both_named(link, events):
    with RawClient(link.address, ALICE, Greeting(Hello(WIRE_VERSION + 1, "9.0"))) as alice:
        rejected = alice.read()
    assert rejected.code == "wire-version"
    assert f"version {WIRE_VERSION + 1}" in rejected.message
    assert f"version {WIRE_VERSION}" in rejected.message
    assert events.wait("client-rejected")["code"] == "wire-version"


def test_a_stream_that_does_not_begin_with_hello_is_refused(link):
    with RawClient(link.address, ALICE, Ready(1)) as alice:
        assert alice.read().code == "frame-unexpected"


def test_the_newest_stream_of_a_name_wins(link, alice):
    link.wait(1, SOON)
    with RawClient(link.address, ALICE) as again:
        assert again.read() == WELCOME
        rejected = alice.read()
        assert (type(rejected), rejected.code) == (Rejected, "replaced")
        assert alice.read() is None
        answers = asking(link, {"alice": TASK})
        assert again.read() == TASK
        again.send(Ready(1))
        assert answers() == {"alice": Ready(1)}


def test_a_dismissed_client_is_told_why_and_waited_for_no_longer(link, alice):
    answers = asking(link, {"alice": TASK})
    assert alice.read() == TASK
    link.dismiss("alice", TransportError("share-forged", "a share did not match", "left out"))
    assert alice.read() == Rejected("share-forged", "a share did not match", "left out")
    assert answers() == {}
    assert link.wait(1, 0) == ()


def test_who_is_behind_the_door_but_did_not_come_through_it_is_refused(link):
    inner = link._doorman.inner
    with grpc.insecure_channel(f"unix:{inner}") as channel:
        call = channel.stream_stream("/secagg.v1.Aggregation/Join")(iter([b""]), timeout=SOON)
        with pytest.raises(grpc.RpcError) as raised:
            next(call)
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert inner.parent.stat().st_mode & 0o077 == 0


# Questions and answers


def test_each_client_is_asked_its_own_question_and_answers_once(link, alice):
    with RawClient(link.address, BOB) as bob:
        bob.read()
        link.wait(2, SOON)
        to_bob = Request(1, 0, "mask", b"only for bob")
        answers = asking(link, {"alice": MASK, "bob": to_bob})
        assert (alice.read(), bob.read()) == (MASK, to_bob)
        bob.send(Refusal(1, 0, "mask", "refused"))
        alice.send(Reply(1, 0, "mask", b"masked"))
        alice.send(Reply(1, 0, "mask", b"again"))
        assert answers() == {"alice": Reply(1, 0, "mask", b"masked"), "bob": Refusal(1, 0, "mask", "refused")}


def test_an_answer_to_another_question_is_dropped(link, alice, events):
    answers = asking(link, {"alice": MASK})
    assert alice.read() == MASK
    for stray in (
        Reply(1, 1, "mask", b""),
        Reply(2, 0, "mask", b""),
        Reply(1, 0, "share", b""),
        Ready(1),
        Refusal(1, 0, "", "no"),
    ):
        alice.send(stray)
    alice.send(Reply(1, 0, "mask", b"right"))
    assert answers() == {"alice": Reply(1, 0, "mask", b"right")}
    assert [entry["kind"] for name, entry in events.seen if name == "late-answer"] == [
        "reply",
        "reply",
        "reply",
        "ready",
        "refusal",
    ]


def test_an_exchange_ends_at_its_deadline(link, alice):
    link.wait(1, SOON)
    began = time.monotonic()
    assert read_all(ask(link, {"alice": MASK}, seconds=0.05)) == {}
    assert time.monotonic() - began < 2
    assert link.wait(1, 0) == ("alice",)


def test_an_exchange_with_nobody_ends_at_once(link):
    assert read_all(ask(link, {})) == {}


def test_a_name_nobody_has_is_not_waited_for(link):
    assert read_all(ask(link, {"nobody": MASK})) == {}


def test_a_client_that_still_trains_is_not_idle_until_its_late_answer(link, alice, events):
    link.wait(1, SOON)
    assert read_all(ask(link, {"alice": TASK}, seconds=0.05)) == {}
    assert link.wait(1, 0) == ()
    link.send({"alice": RoundClosed(1, False)})
    assert (alice.read(), alice.read()) == (TASK, RoundClosed(1, False))
    alice.send(Ready(1))
    events.wait("late-answer", client="alice", kind="ready", round=1)
    assert link.wait(1, SOON) == ("alice",)


def test_a_frame_that_no_client_would_accept_is_refused_to_the_caller(link):
    with pytest.raises(TransportError) as raised:
        read_all(ask(link, {"alice": Request(1, 0, "No Stage", b"")}))
    assert raised.value.code == "frame-malformed"
    with pytest.raises(TransportError):
        link.send({"alice": RoundClosed(-1, False)})


# Coming back


def test_a_client_that_returns_in_time_is_asked_again_with_the_same_bytes(link, alice, events):
    answers = asking(link, {"alice": MASK})
    assert alice.read() == MASK
    alice.close()
    events.wait("client-left", client="alice")
    with RawClient(link.address, ALICE) as back:
        assert back.read() == WELCOME
        assert back.read() == MASK
        back.send(Reply(1, 0, "mask", b"masked"))
        assert answers() == {"alice": Reply(1, 0, "mask", b"masked")}


def test_a_client_that_returns_with_the_question_in_hand_is_not_asked_again(link, alice, events):
    answers = asking(link, {"alice": TASK})
    assert alice.read() == TASK
    alice.close()
    events.wait("client-left", client="alice")
    greeting = Greeting(Hello(WIRE_VERSION, "raw"), holding=Question(1))
    with RawClient(link.address, ALICE, greeting) as back:
        assert back.read() == WELCOME
        link.send({"alice": RoundClosed(0, False)})
        assert back.read() == RoundClosed(0, False)  # and not the task
        back.send(Ready(1))
        assert answers() == {"alice": Ready(1)}


def test_a_client_that_does_not_return_in_time_is_gone(events):
    with serve(events, grace=0.05) as link, RawClient(link.address, ALICE) as alice:
        alice.read()
        link.wait(1, SOON)
        answers = asking(link, {"alice": MASK}, seconds=SOON)
        assert alice.read() == MASK
        alice.close()
        assert answers() == {}
        events.wait("client-gone", client="alice")


def test_a_client_that_is_gone_may_still_return_while_others_are_waited_for(events):
    with (
        serve(events, grace=0.01) as link,
        RawClient(link.address, ALICE) as alice,
        RawClient(link.address, BOB) as bob,
    ):
        assert (alice.read(), bob.read()) == (WELCOME, WELCOME)
        link.wait(2, SOON)
        answers = asking(link, {"alice": TASK, "bob": TASK})
        assert (alice.read(), bob.read()) == (TASK, TASK)
        alice.close()
        events.wait("client-gone", client="alice")
        greeting = Greeting(Hello(WIRE_VERSION, "raw"), holding=Question(1), answered=True)
        with RawClient(link.address, ALICE, greeting) as back:
            assert back.read() == WELCOME
            back.send(Ready(1))  # trained while it was away
            bob.send(Ready(1))
            assert answers() == {"alice": Ready(1), "bob": Ready(1)}


def test_a_client_that_trains_for_a_server_before_this_one_is_not_handed_a_task(link):
    greeting = Greeting(Hello(WIRE_VERSION, "raw"), holding=Question(7))
    with RawClient(link.address, ALICE, greeting) as alice:
        assert alice.read() == WELCOME
        assert link.wait(1, 0.01) == ()
        alice.send(Ready(7))
        assert link.wait(1, SOON) == ("alice",)


def test_a_client_whose_process_is_new_owes_no_training(link, alice, events):
    link.wait(1, SOON)
    read_all(ask(link, {"alice": TASK}, seconds=0.01))
    alice.close()
    events.wait("client-left")
    with RawClient(link.address, ALICE) as back:
        back.read()
        assert link.wait(1, SOON) == ("alice",)


def test_the_final_model_is_kept_for_a_client_that_is_away(link, alice, events):
    link.wait(1, SOON)
    alice.close()
    events.wait("client-left")
    final = Finished(3, b"model" * CHUNK)
    link.send({"alice": final})
    with RawClient(link.address, ALICE) as back:
        assert (back.read(), back.read()) == (WELCOME, final)


def test_closing_waits_until_the_final_model_has_left(events):
    link = serve(events)
    with RawClient(link.address, ALICE) as alice:
        alice.read()
        link.wait(1, SOON)
        final = Finished(3, b"model" * CHUNK)
        link.send({"alice": final})
        closing = in_background(lambda: (link.close(), "closed")[1])
        assert alice.read() == final
        alice.close()
        assert closing() == "closed"


def test_the_last_frame_goes_to_who_is_there_and_to_who_comes_back(link, alice, events):
    with RawClient(link.address, BOB) as bob:
        bob.read()
        link.wait(2, SOON)
        bob.close()
    events.wait("client-left", client="bob")
    final = Finished(3, b"model")
    link.finish(final)
    assert alice.read() == final
    with RawClient(link.address, BOB) as bob:
        assert (bob.read(), bob.read()) == (WELCOME, final)


def test_the_last_frame_of_nobody_s_reading_is_refused_to_the_caller(link):
    with pytest.raises(TransportError) as raised:
        link.finish(Finished(-1, b""))
    assert raised.value.code == "frame-malformed"


def test_a_run_that_fails_tells_everyone_why_and_ends_what_is_asked(link, alice, events):
    with RawClient(link.address, BOB) as bob:
        bob.read()
        link.wait(2, SOON)
        answers = asking(link, {"alice": TASK})
        assert alice.read() == TASK
        link.fail(TransportError("run-without-sum", "there is no model to send"))
        for client in (alice, bob):
            assert client.read() == Rejected("run-without-sum", "there is no model to send")
            assert client.read() is None
        assert answers() == {}
        assert link.wait(1, 0) == ()


def test_who_has_had_the_last_frame_and_comes_anew_is_told_that_the_run_is_over(link, alice, events):
    link.wait(1, SOON)
    final = Finished(3, b"model" * CHUNK)
    link.finish(final)
    assert alice.read() == final
    alice.hang_up()
    events.wait("client-left")
    with RawClient(link.address, ALICE) as anew:
        assert anew.read().code == "run-over"
    # One that still holds a question is the same process: it may have lost the last frame on the way.
    with RawClient(link.address, ALICE, Greeting(Hello(WIRE_VERSION, "raw"), Question(3))) as back:
        assert (back.read(), back.read()) == (WELCOME, final)


def test_nobody_new_is_welcomed_to_a_run_that_says_goodbye(link, alice):
    link.wait(1, SOON)
    link.finish(Finished(3, b"model"))
    closing = in_background(lambda: (link.close(), "closed")[1])
    soon(lambda: link._switchboard.closing)
    with RawClient(link.address, BOB) as bob:
        assert bob.read().code == "run-over"
    assert alice.read() == Finished(3, b"model")
    alice.hang_up()
    assert closing() == "closed"


def test_a_log_that_fails_leaves_nobody_in_a_seat():
    events = Events()

    def log(event, **fields):
        events(event, **fields)
        if event in ("client-left", "client-rejected"):
            raise RunError("run-unwritable", "the disk is full")

    with serve(log, grace=0.05) as link, RawClient(link.address, ALICE) as alice:
        assert alice.read() == WELCOME
        link.wait(1, SOON)
        answers = asking(link, {"alice": MASK})
        assert alice.read() == MASK
        alice.send(Chunk(0, b"x"))
        assert alice.read().code == "frame-unexpected"
        assert answers() == {}
        events.wait("client-left")
        assert link.wait(1, 0) == ()


# What no client may send


@pytest.mark.parametrize("stray", [Ready(9), Reply(9, 0, "mask", b""), Refusal(9, 0, "mask", "no")])
def test_who_sends_one_stray_answer_after_another_is_rejected(link, alice, events, stray):
    link.wait(1, SOON)
    for _ in range(101):
        alice.send(stray)
    assert alice.read().code == "frame-unexpected"
    events.wait("client-rejected", code="frame-unexpected")
    assert len([name for name, _ in events.seen if name == "late-answer"]) == 100


def test_who_offers_again_and_again_what_nobody_asked_is_rejected(link, alice, events):
    link.wait(1, SOON)
    question = Question(1, 0, "mask")
    for _ in range(100):
        alice.send(Offer(question, LARGE))
        assert alice.read() == Grant(question, False)
    alice.send(Offer(question, LARGE))
    while isinstance(frame := alice.read(), Grant):
        pass
    assert frame.code == "frame-unexpected"


def test_a_client_that_is_late_in_many_rounds_is_not_taken_for_one_that_floods(link, alice, events):
    link.wait(1, SOON)
    for number in range(1, 4):
        task = TaskFrame(number, 9, b"")
        answers = asking(link, {"alice": task})
        assert alice.read() == task
        for _ in range(60):
            alice.send(Ready(0))
        alice.send(Ready(number))
        assert answers() == {"alice": Ready(number)}


@pytest.mark.parametrize(
    ("unit", "limit", "code"),
    [
        (Offer(Question(1, 0, "mask"), LARGE), LARGE - 1, "frame-oversized"),
        (Offer(Question(1, 0, "mask"), 2**60), LARGE, "frame-oversized"),
        (Reply(1, 0, "mask", bytes(101)), 100, "frame-oversized"),
        (Chunk(0, b"x"), LARGE, "frame-unexpected"),
        (Greeting(Hello(WIRE_VERSION, "twice")), LARGE, "frame-unexpected"),
        (RoundClosed(1, True), LARGE, "frame-unexpected"),
        (Grant(Question(1, 0, "mask"), True), LARGE, "frame-unexpected"),
    ],
)
def test_who_sends_what_it_may_not_is_rejected_and_waited_for_no_longer(
    link, alice, events, unit, limit, code
):
    link.wait(1, SOON)
    answers = asking(link, {"alice": MASK}, limit=limit)
    assert alice.read() == MASK
    alice.send(unit)
    assert alice.read().code == code
    assert alice.read() is None
    assert answers() == {}
    assert events.wait("client-rejected", client="alice")["code"] == code


@pytest.mark.parametrize("raw", [b"", b"\xff", b"\xfa\x07\x01x"])
def test_bytes_that_are_no_frame_end_the_stream_with_a_code(link, alice, raw):
    alice.send_bytes(raw)
    assert alice.read().code == "frame-malformed"


def test_a_message_larger_than_any_ends_the_stream_and_the_server_goes_on(link, alice, events):
    link.wait(1, SOON)
    alice.send_bytes(bytes(2 * CHUNK))
    with pytest.raises(grpc.RpcError) as raised:
        alice.read()
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    events.wait("client-left", client="alice")
    with RawClient(link.address, BOB) as bob:
        assert bob.read() == WELCOME


# Listening


@pytest.mark.parametrize("listen", ["", "8443", "host", "[::]", "127.0.0.1:65536", "http://x:1"])
def test_an_address_that_is_none_is_refused(listen):
    with pytest.raises(TransportError) as raised:
        GrpcLink(enrol("s", "server"), listen, welcome=WELCOME, admit=lambda _: None, log=Events())
    assert raised.value.code == "listen-malformed"


def test_a_port_in_use_is_named(link):
    with pytest.raises(TransportError) as raised:
        GrpcLink(enrol("s", "server"), link.address, welcome=WELCOME, admit=lambda _: None, log=Events())
    assert raised.value.code == "listen-failed"
    assert link.address in raised.value.message


def test_closing_twice_does_nothing(events):
    link = serve(events)
    link.close()
    link.close()
    assert not link._doorman.inner.parent.exists()
