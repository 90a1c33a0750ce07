"""Large replies: offered, granted, held in slots, and given up when nobody wants them any more."""

from __future__ import annotations

import threading

from secagg.frames import Ready, Reply, Request, RoundClosed
from secagg.transport.chunks import body_messages
from secagg.transport.envelopes import CHUNK, INLINE, Chunk, Grant, Offer, Question
from tests.transport.world import (
    ALICE,
    BOB,
    CAROL,
    LARGE,
    MASK,
    SOON,
    TASK,
    WELCOME,
    RawClient,
    ask,
    asking,
    in_background,
    read_all,
    serve,
    soon,
)


def upload(client, body, question):
    client.send(Offer(question, len(body)))
    assert client.read() == Grant(question, True)
    for message in body_messages(body):
        client.send_bytes(message)


def test_a_large_reply_is_offered_granted_and_arrives_whole(link, alice):
    answers = asking(link, {"alice": MASK})
    assert alice.read() == MASK
    body = bytes(range(256)) * (LARGE // 256)
    upload(alice, body, Question(1, 0, "mask"))
    assert answers() == {"alice": Reply(1, 0, "mask", body)}


def test_no_more_uploads_than_slots_are_held_at_once(events):
    with (
        serve(events, slots=1) as link,
        RawClient(link.address, ALICE) as alice,
        RawClient(link.address, BOB) as bob,
    ):
        assert (alice.read(), bob.read()) == (WELCOME, WELCOME)
        link.wait(2, SOON)
        exchange = ask(link, {"alice": MASK, "bob": MASK})
        first = in_background(next, exchange)
        question = Question(1, 0, "mask")
        assert (alice.read(), bob.read()) == (MASK, MASK)
        upload(alice, bytes(LARGE), question)
        bob.send(Offer(question, LARGE))
        assert first()[0] == "alice"
        # The answer is in use: its slot is not free until the next one is asked for.
        link.send({"bob": RoundClosed(0, False)})
        assert bob.read() == RoundClosed(0, False)
        second = in_background(next, exchange)
        assert bob.read() == Grant(question, True)
        for message in body_messages(bytes(LARGE)):
            bob.send_bytes(message)
        assert second()[0] == "bob"
        assert list(exchange) == []


def test_a_client_that_dies_with_a_slot_gives_it_back(events):
    with (
        serve(events, slots=1, grace=0.05) as link,
        RawClient(link.address, ALICE) as alice,
        RawClient(link.address, BOB) as bob,
    ):
        assert (alice.read(), bob.read()) == (WELCOME, WELCOME)
        link.wait(2, SOON)
        answers = asking(link, {"alice": MASK, "bob": MASK})
        question = Question(1, 0, "mask")
        assert (alice.read(), bob.read()) == (MASK, MASK)
        alice.send(Offer(question, LARGE))
        assert alice.read() == Grant(question, True)
        alice.send(Chunk(0, bytes(CHUNK)))
        bob.send(Offer(question, LARGE))
        alice.close()
        assert bob.read() == Grant(question, True)
        for message in body_messages(bytes(LARGE)):
            bob.send_bytes(message)
        assert list(answers()) == ["bob"]


def test_an_upload_that_stalls_loses_its_slot_and_its_stream(events):
    with (
        serve(events, grace=0.05, stall=0.1, min_rate=2e7) as link,
        RawClient(link.address, ALICE) as alice,
    ):
        alice.read()
        link.wait(1, SOON)
        answers = asking(link, {"alice": MASK})
        assert alice.read() == MASK
        alice.send(Offer(Question(1, 0, "mask"), LARGE))
        assert alice.read() == Grant(Question(1, 0, "mask"), True)
        assert answers() == {}
        events.wait("client-gone", client="alice")


def test_an_upload_that_trickles_loses_its_slot_and_not_its_stream(events):
    with (
        serve(events, slots=1, stall=0.5, min_rate=1e9) as link,
        RawClient(link.address, ALICE) as alice,
        RawClient(link.address, BOB) as bob,
        RawClient(link.address, CAROL) as carol,
    ):
        assert alice.read() == bob.read() == carol.read() == WELCOME
        link.wait(3, SOON)
        question = Question(1, 0, "mask")
        answers = asking(link, {"alice": MASK, "bob": MASK})
        assert alice.read() == bob.read() == MASK
        alice.send(Offer(question, LARGE))
        assert alice.read() == Grant(question, True)
        bob.send(Offer(question, LARGE))
        messages = list(body_messages(bytes(LARGE)))
        alice.send_bytes(messages[0])
        threading.Event().wait(0.3)
        alice.send_bytes(messages[1])
        events.wait("upload-too-slow", client="alice")
        assert bob.read() == Grant(question, True)
        for message in messages[2:]:
            alice.send_bytes(message)
        for message in messages:
            bob.send_bytes(message)
        assert list(answers()) == ["bob"]

        # In the next stage it asks first and is served last; and once it was in time, all is forgotten.
        question, again = Question(1, 0, "more"), Request(1, 0, "more", b"")
        answers = asking(link, dict.fromkeys(("alice", "bob", "carol"), again))
        assert alice.read() == bob.read() == carol.read() == again
        carol.send(Offer(question, LARGE))
        assert carol.read() == Grant(question, True)
        alice.send(Offer(question, LARGE))
        soon(lambda: link._switchboard._slots.waiting == 1)
        bob.send(Offer(question, LARGE))
        soon(lambda: link._switchboard._slots.waiting == 2)
        for message in messages:
            carol.send_bytes(message)
        for client in (bob, alice):
            assert client.read() == Grant(question, True)
            for message in messages:
                client.send_bytes(message)
        assert list(answers()) == ["carol", "bob", "alice"]
        assert not link._switchboard._seats["alice"].slow


def test_uploads_that_share_a_line_have_the_time_that_takes(events):
    """Two at once over a line of `min_rate` take twice as long as one."""
    with (
        serve(events, slots=2, stall=0.4, min_rate=LARGE / 0.8) as link,
        RawClient(link.address, ALICE) as alice,
    ):
        alice.read()
        link.wait(1, SOON)
        answers = asking(link, {"alice": MASK})
        assert alice.read() == MASK
        alice.send(Offer(Question(1, 0, "mask"), LARGE))
        assert alice.read() == Grant(Question(1, 0, "mask"), True)
        for message in body_messages(bytes(LARGE)):
            threading.Event().wait(0.35)  # 1.4 s in all, of the 1.6 s and 0.4 s that it may take
            alice.send_bytes(message)
        assert list(answers()) == ["alice"]


def test_an_offer_after_the_deadline_is_declined(link, alice):
    link.wait(1, SOON)
    read_all(ask(link, {"alice": MASK}, seconds=0.01))
    assert alice.read() == MASK
    alice.send(Offer(Question(1, 0, "mask"), LARGE))
    assert alice.read() == Grant(Question(1, 0, "mask"), False)
    assert link.wait(1, SOON) == ("alice",)


def test_an_upload_that_the_deadline_overtakes_is_dropped_and_the_stream_goes_on(link, alice):
    link.wait(1, SOON)
    exchange = asking(link, {"alice": MASK}, seconds=0.3)
    assert alice.read() == MASK
    alice.send(Offer(Question(1, 0, "mask"), LARGE))
    assert alice.read() == Grant(Question(1, 0, "mask"), True)
    assert exchange() == {}
    for message in body_messages(bytes(LARGE)):
        alice.send_bytes(message)
    answers = asking(link, {"alice": TASK})
    assert alice.read() == TASK
    alice.send(Ready(1))
    assert answers() == {"alice": Ready(1)}


def test_closing_the_iterator_gives_every_slot_back(events):
    with serve(events, slots=1) as link, RawClient(link.address, ALICE) as alice:
        alice.read()
        link.wait(1, SOON)
        for number in (1, 2):
            request = Request(number, 0, "mask", b"")
            exchange = ask(link, {"alice": request})
            first = in_background(next, exchange)
            assert alice.read() == request
            upload(alice, bytes(LARGE), Question(number, 0, "mask"))
            assert first()[0] == "alice"
            exchange.close()


def test_a_small_body_needs_no_offer(link, alice):
    answers = asking(link, {"alice": MASK})
    alice.read()
    alice.send(Reply(1, 0, "mask", bytes(INLINE)))
    assert answers() == {"alice": Reply(1, 0, "mask", bytes(INLINE))}
