"""`secagg.transport.slots`: never more than `count` at once, first come first served, no slot is lost."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from secagg.transport.slots import Ticket, UploadSlots


class Slots(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.slots = UploadSlots(2)
        self.model: list[Ticket] = []  # in the order they asked
        self.granted: list[Ticket] = []

    @rule()
    def ask(self) -> None:
        ticket = Ticket(lambda: self.granted.append(ticket))
        self.model.append(ticket)
        self.slots.ask(ticket)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def give_back(self, data) -> None:
        ticket = self.model.pop(data.draw(st.integers(0, len(self.model) - 1)))
        self.slots.give_back(ticket)
        self.slots.give_back(ticket)

    @invariant()
    def the_first_two_hold_the_slots(self) -> None:
        holding = [ticket for ticket in self.granted if ticket in self.model]
        assert set(holding) == set(self.model[:2])
        assert self.slots.waiting == max(0, len(self.model) - 2)


TestSlots = Slots.TestCase
TestSlots.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_who_was_too_slow_is_served_when_nobody_else_waits():
    slots, granted = UploadSlots(1), []
    tickets = {
        name: Ticket(lambda name=name: granted.append(name), last=name.startswith("slow"))
        for name in ("first", "slow", "slow too", "second", "third")
    }
    for ticket in tickets.values():
        slots.ask(ticket)
    assert slots.waiting == 4
    slots.give_back(tickets["slow too"])
    for name in ("first", "second", "third"):
        slots.give_back(tickets[name])
    assert granted == ["first", "second", "third", "slow"]


def test_no_slots_at_all_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        UploadSlots(0)
