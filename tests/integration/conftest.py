"""One authority for all these tests, and an arena for each."""

from __future__ import annotations

import pytest

from tests.integration.arena import Arena, Enrolment


@pytest.fixture(scope="session")
def enrolment(tmp_path_factory):
    return Enrolment(tmp_path_factory.mktemp("enrolment"))


@pytest.fixture
def arena(enrolment, tmp_path):
    arena = Arena(enrolment, tmp_path)
    try:
        yield arena
    finally:
        arena.close()
