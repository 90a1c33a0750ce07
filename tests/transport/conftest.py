"""A link that listens, what it logged, and Alice, who has joined."""

from __future__ import annotations

import pytest

from tests.transport.world import ALICE, WELCOME, Events, RawClient, serve


@pytest.fixture
def events():
    return Events()


@pytest.fixture
def link(events):
    with serve(events) as link:
        yield link


@pytest.fixture
def alice(link):
    with RawClient(link.address, ALICE) as client:
        assert client.read() == WELCOME
        yield client
