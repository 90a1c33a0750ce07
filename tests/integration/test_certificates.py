"""Who is turned away at the door, and that both sides say why."""

from __future__ import annotations

from datetime import timedelta

import pytest

from secagg.issuing import issue_folder, new_authority_folder
from tests.integration.arena import LONG_AGO, plan_for
from tests.integration.model import assert_after


@pytest.fixture
def server(arena):
    server = arena.server(plan_for(clients=3, rounds=1, cohort={"clients": ["hospital-[0-2]"]}))
    assert server.address == arena.listen
    return server


def refused(party, code: str, *, exit_code: int = 1) -> str:
    """What the refused one printed, after checking how it ended."""
    assert party.exit_code() == exit_code, party.stderr
    assert f"[{code}]" in party.stderr
    return party.stderr


def test_who_shows_a_wrong_certificate_is_told_why_the_server_logs_why_and_the_run_goes_on(
    arena, server, tmp_path
):
    ours, folder = arena.enrolment, tmp_path / "others"
    new_authority_folder(folder / "ca", "elsewhere")
    issue_folder(folder / "ca", folder / "foreigner", "hospital-1", "client")
    issue_folder(ours.authority, folder / "expired", "hospital-1", "client", now=LONG_AGO, days=10)
    trusting = {"trusts": str(ours.authority / "authority.pem")}

    foreign = arena.knock("foreign", credentials=str(folder / "foreigner"), **trusting)
    expired = arena.knock(
        "expired",
        credentials=str(folder / "expired"),
        now=(LONG_AGO + timedelta(days=1)).isoformat(),
        **trusting,
    )
    as_client = arena.knock("server", credentials=str(ours.credentials("aggregator", "server")), **trusting)
    stranger = arena.client(1, credentials=str(folder / "foreigner"))
    unwanted = arena.client(7)

    codes = {
        foreign: ("tls-certificate-foreign", "was issued by another authority"),
        expired: ("tls-certificate-expired", "has expired"),
        as_client: ("tls-certificate-role", "was issued for the other role"),
    }
    for party, (code, words) in codes.items():
        assert words in refused(party, code)
        line = server.wait_for_log("connection-refused", code=code)
        assert words in line["message"] and line["peer"].startswith("127.0.0.1:")
        assert words in server.stderr

    assert "was issued by another authority" in refused(stranger, "tls-server-foreign")
    line = server.wait_for_log("connection-refused", code="tls-server-foreign")
    assert "refused this server's certificate" in line["message"]

    assert "[cohort] clients" in refused(unwanted, "client-not-admitted")
    assert server.wait_for_log("client-rejected", code="client-not-admitted")["client"] == "hospital-7"

    arena.clients(range(3))
    assert_after(server.weights(), [range(3)])


def test_a_client_refuses_its_own_bad_certificate_before_it_dials(arena, tmp_path):
    ours = arena.enrolment
    issue_folder(ours.authority, tmp_path / "expired", "hospital-1", "client", now=LONG_AGO, days=10)
    expired = arena.client(1, credentials=str(tmp_path / "expired"))
    as_client = arena.client(
        1, credentials=str(ours.credentials("aggregator", "server", hosts=("127.0.0.1",)))
    )
    refused(expired, "certificate-expired", exit_code=2)
    refused(as_client, "certificate-role", exit_code=2)
