"""Every lie a server can tell of stages, contexts and rosters: the honest client stops, and revealed nothing.

Six clients, some of whom sign whatever the server likes. Lies about keys are in `test_malicious_keys`, about
the sum in `test_malicious_opening` and `test_recompute`; what lies do get is in `test_limits`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from secagg import keys
from secagg.certificates import Identity
from secagg.credentials import Credentials
from secagg.enrolment import issue_credentials, new_authority
from secagg.errors import FloorError, ServerFault
from secagg.homomorphic.client import HomomorphicClient
from secagg.homomorphic.messages import (
    Advertisement,
    AdvertiseRequest,
    ConfirmRequest,
    Entry,
    FetchRequest,
    KeyRequest,
    OpenRequest,
    UploadRequest,
)
from secagg.homomorphic.scheme import Kind
from tests import cohort as cohorts
from tests.cohort import CONTEXT, NOW, credentials
from tests.homomorphic.lies import (
    ROLES,
    Change,
    Watch,
    advertised,
    assert_silent,
    assert_the_lie_ends_it,
    ciphertext_of,
    ends,
    named,
    twin,
    with_roster,
)
from tests.homomorphic.sessions import Sessions, terms
from tests.masking.lies import changed

N = 6
KINDS: list[Kind] = ["bfv", "ckks"]


def at(stage: str, recompute: bool = False, context: bytes = CONTEXT, kind: Kind = "bfv") -> Sessions:
    sessions = Sessions(N, terms(kind, recompute), context)
    sessions.run_to(stage)
    return sessions


# -- which stage ------------------------------------------------------------------------------------------

ALL = tuple(range(N))
BARE = {
    "advertise": AdvertiseRequest(bytes(32)).to_bytes(),
    "key": KeyRequest(()).to_bytes(),
    "upload": UploadRequest((), b"", b"").to_bytes(),
    "confirm": ConfirmRequest(()).to_bytes(),
    "fetch": FetchRequest(0, b"").to_bytes(),
    "open": OpenRequest(ALL, (), b"").to_bytes(),
}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("asked", BARE)
@pytest.mark.parametrize("due", BARE)
def test_stages_can_neither_be_skipped_nor_gone_back_to(due: str, asked: str, role: str) -> None:
    sessions = at(due, recompute=True)
    name = "client-000" if due == "advertise" else named(sessions, role)
    client = sessions.clients[name]
    if asked == due:
        return
    answered = asked if asked != "fetch" else "fetch-0"
    code = "request-changed" if answered in client._cache._replies else "stage-order"
    if asked in ("key", "upload") and asked in client._allowed:
        code = (
            "cohort-too-small"  # both are open after `advertise`: which it is, the roster says; this has none
        )
    assert_the_lie_ends_it(client, BARE[asked], code)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("stage", [*BARE])
def test_two_different_requests_for_one_stage_end_the_session(stage: str, recompute: bool) -> None:
    if not recompute and stage in ("confirm", "fetch"):
        return
    sessions = at(stage, recompute)
    name = "client-000" if stage == "advertise" else sessions.decryptors[0]
    client, request = sessions.clients[name], sessions.request(name)
    watch = Watch(client)
    first = client.answer(request)
    watch.secrets += Watch(client).secrets
    assert client.answer(request) == first
    with pytest.raises(ServerFault, match="request-changed"):
        client.answer(request + b"\0")
    watch.assert_erased()
    assert_silent(client, request)


@pytest.mark.parametrize("stage", BARE)
@pytest.mark.parametrize("version", [0, 2, 255])
def test_a_request_of_another_protocol_version_is_refused(stage: str, version: int) -> None:
    sessions = at(stage, recompute=True)
    name = "client-000" if stage == "advertise" else sessions.decryptors[0]
    ends(sessions, name, bytes((version,)) + sessions.request(name)[1:], "message-version")


def test_a_client_that_holds_no_key_answers_nothing_after_its_upload() -> None:
    for stage in ("confirm", "fetch", "open"):
        sessions = at("confirm", recompute=True)
        ends(sessions, sessions.uploaders[0], BARE[stage], "stage-order")


def test_a_plan_without_recompute_refuses_its_stages() -> None:
    for stage in ("confirm", "fetch"):
        sessions = at("open")
        ends(sessions, sessions.decryptors[0], BARE[stage], "stage-order")


# -- which context ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bit", [0, 7, 128, 255])
def test_a_context_that_is_not_the_clients_own_is_refused(bit: int) -> None:
    lie = AdvertiseRequest(changed(CONTEXT, bit)).to_bytes()
    assert_the_lie_ends_it(Sessions(N).clients["client-000"], lie, "context-mismatch")


def test_every_number_of_a_scheme_is_in_its_bytes() -> None:
    scheme = terms().scheme
    changes: list[dict[str, object]] = [
        {"kind": "ckks"},
        {"max_clients": 9},
        {"bits": 26},
        {"length": 61},
        {"degree": 8192},
        {"primes": (*scheme.primes, 97)},
        {"primes": (97,)},
        {"special": 97},
        {"plain_modulus": 97},
        {"scale": 1},
        {"per_slot": 2},
    ]
    seen = {scheme.encode(), *(replace(scheme, **change).encode() for change in changes)}  # type: ignore[arg-type]
    assert len(seen) == 1 + len(changes)


def test_clients_given_different_contexts_do_not_accept_each_other() -> None:
    """A server that tells each its own model or configuration gets no further than the roster."""
    sessions, other = at("upload"), at("upload", context=bytes(32))
    theirs = UploadRequest.from_bytes(other.request("client-005")).roster[-1]
    lie = with_roster(sessions.request("client-000"), lambda roster: [*roster[:-1], theirs])
    ends(sessions, "client-000", lie, "member-signature")


# -- the roster -------------------------------------------------------------------------------------------


def refuses_roster(change: Change, code: str) -> None:
    """The lie is told to a client of each role, at `upload`, and to the key maker at `key`."""
    for role in ROLES:
        sessions = at("upload")
        name = named(sessions, role)
        ends(sessions, name, with_roster(sessions.request(name), moved(change, name)), code)
    sessions = at("key")
    name = named(sessions, "maker")
    ends(sessions, name, with_roster(sessions.request(name), moved(change, name)), code)


def moved(change: Change, name: str) -> Change:
    """The change, written for a roster that begins with the one lied to, in one sorted by id."""

    def apply(roster: list[Entry]) -> list[Entry]:
        own = [entry for entry in roster if entry.id == name]
        others = [entry for entry in roster if entry.id != name]
        return sorted(change([*own, *others]), key=lambda entry: entry.id)

    return apply


def last_is(make: Callable[[str], Entry]) -> Change:
    """The last of the others is exchanged for what `make` gives of its name."""
    return lambda roster: [*roster[:-1], make(roster[-1].id)]


def test_an_invented_member_without_a_certificate_is_refused() -> None:
    def invent(roster: list[Entry]) -> list[Entry]:
        return [*roster, Entry("client-999", replace(roster[1].advertisement, certificate=b"invented"))]

    refuses_roster(invent, "member-certificate")


def test_an_invented_member_with_the_certificate_of_another_is_refused() -> None:
    refuses_roster(lambda roster: [*roster, replace(roster[1], id="client-999")], "member-id")


def foreign(name: str, days: int = 365) -> Credentials:
    return issue_credentials(name, "client", new_authority("other"), now=NOW, days=days)


def test_a_member_enrolled_by_another_authority_is_refused() -> None:
    refuses_roster(last_is(lambda name: advertised(foreign(name))), "member-certificate")


def test_an_authority_that_the_server_made_up_enrols_nobody() -> None:
    made_up = new_authority("authority", now=NOW)
    refuses_roster(
        last_is(lambda name: advertised(issue_credentials(name, "client", made_up, now=NOW))),
        "member-certificate",
    )


def test_a_member_whose_certificate_has_expired_is_refused() -> None:
    sessions = at("upload")
    old = issue_credentials("client-005", "client", cohorts._AUTHORITY, now=NOW, days=1)
    name = next(name for name in sessions.ids if name != "client-005")
    sessions.clients[name]._now = NOW + timedelta(days=2)
    lie = with_roster(sessions.request(name), lambda roster: [*roster[:-1], advertised(old)])
    error = ends(sessions, name, lie, "member-certificate")
    assert "expired" in error.message and "client-005" in error.message


def test_a_server_certificate_is_no_member() -> None:
    refuses_roster(last_is(lambda name: advertised(credentials(name, "server"))), "member-certificate")


def test_a_substituted_key_is_refused() -> None:
    def substitute(roster: list[Entry]) -> list[Entry]:
        theirs = replace(roster[3].advertisement, channel_pk=keys.KeyPair.fresh().public)
        return [*roster[:3], replace(roster[3], advertisement=theirs), *roster[4:]]

    refuses_roster(substitute, "member-signature")


def test_the_advertisements_of_two_members_cannot_be_swapped() -> None:
    def swap(roster: list[Entry]) -> list[Entry]:
        roster[3], roster[4] = (
            replace(roster[3], advertisement=roster[4].advertisement),
            replace(roster[4], advertisement=roster[3].advertisement),
        )
        return roster

    refuses_roster(swap, "member-id")


def test_the_clients_own_key_reflected_by_a_colluder_is_refused() -> None:
    def reflect(roster: list[Entry]) -> list[Entry]:
        own = roster[0].advertisement.channel_pk
        return [*roster[:-1], advertised(credentials(roster[-1].id), channel_pk=own)]

    refuses_roster(reflect, "key-repeated")


def test_a_key_that_two_members_show_is_refused() -> None:
    shown = keys.KeyPair.fresh().public

    def repeat(roster: list[Entry]) -> list[Entry]:
        return [
            *roster[:4],
            *(advertised(credentials(entry.id), channel_pk=shown) for entry in roster[4:]),
        ]

    refuses_roster(repeat, "key-repeated")


def test_the_same_point_in_other_bytes_is_no_other_key() -> None:
    top = bytearray(keys.KeyPair.fresh().public)
    top[-1] |= 0x80
    above = (2**255 - 19 + 9).to_bytes(32, "little")
    for key in (bytes(top), above):
        refuses_roster(
            last_is(lambda name, key=key: advertised(credentials(name), channel_pk=key)), "key-encoding"
        )


@pytest.mark.parametrize("point", sorted(keys._LOW_ORDER), ids=lambda point: point.hex()[:8])
def test_a_key_of_small_order_is_refused_though_it_is_signed(point: bytes) -> None:
    refuses_roster(last_is(lambda name: advertised(credentials(name), channel_pk=point)), "key-low-order")


def test_one_id_cannot_stand_in_the_roster_twice() -> None:
    refuses_roster(lambda roster: [*roster, advertised(credentials(roster[-1].id))], "member-repeated")


@pytest.mark.parametrize("role", ROLES)
def test_a_roster_out_of_order_is_refused(role: str) -> None:
    sessions = at("upload")
    name = named(sessions, role)
    lie = with_roster(sessions.request(name), lambda roster: roster[::-1])
    ends(sessions, name, lie, "member-repeated")


def test_a_roster_without_the_client_or_with_the_client_twice_is_refused() -> None:
    refuses_roster(lambda roster: [*roster[1:], advertised(credentials("client-006"))], "own-entry")
    refuses_roster(lambda roster: [roster[0], *roster], "own-entry")


@pytest.mark.parametrize("field", ["channel_pk", "certificate", "signature"])
def test_the_clients_own_entry_must_be_as_it_sent_it(field: str) -> None:
    def change(roster: list[Entry]) -> list[Entry]:
        ours = replace(roster[0].advertisement, **{field: getattr(roster[1].advertisement, field)})
        return [replace(roster[0], advertisement=ours), *roster[1:]]

    refuses_roster(change, "own-entry")


def test_the_clients_own_entry_signed_by_it_in_another_attempt_is_refused() -> None:
    refuses_roster(lambda roster: [advertised(credentials(roster[0].id)), *roster[1:]], "own-entry")


def test_an_advertisement_replayed_from_another_attempt_is_refused() -> None:
    refuses_roster(last_is(lambda name: advertised(credentials(name), context=bytes(32))), "member-signature")


@pytest.mark.parametrize("size", [1, 2])
def test_a_cohort_below_the_plans_least_sum_is_refused(size: int) -> None:
    refuses_roster(lambda roster: roster[:size], "cohort-too-small")


def test_a_cohort_above_the_plans_largest_is_refused() -> None:
    more = [advertised(credentials(f"client-{i:03d}")) for i in range(N, 9)]
    refuses_roster(lambda roster: roster + more, "cohort-too-large")


def test_a_roster_of_the_wrong_size_is_refused_before_any_certificate_is_looked_at() -> None:
    """Or a server could have a client parse and verify as many as a message holds."""

    def garbage(count: int) -> Change:
        fake = Advertisement(bytes(32), b"no certificate", b"")
        return lambda roster: [roster[0], *(Entry(f"stranger-{at:04d}", fake) for at in range(count))]

    refuses_roster(garbage(1), "cohort-too-small")
    refuses_roster(garbage(5000), "cohort-too-large")
    refuses_roster(garbage(N - 1), "member-certificate")  # of the right size, they are looked at


@pytest.mark.parametrize("role", ROLES)
def test_a_member_below_the_clients_own_floor_is_refused(role: str) -> None:
    sessions = at("upload")
    name = named(sessions, role)
    stranger = next(other for other in sessions.ids if other != name)

    def admits(identity: Identity) -> bool:
        return identity.name != stranger

    sessions.clients[name]._admits = admits
    error = ends(sessions, name, sessions.request(name), "floor-member")
    assert isinstance(error, FloorError)


# -- what the honest roles would have said ----------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_the_clients_that_were_lied_to_would_have_answered_the_truth(role: str) -> None:
    """So that every refusal above is for the lie, and not for something else."""
    sessions = at("upload")
    client: HomomorphicClient = twin(sessions.clients[named(sessions, role)])
    assert ciphertext_of(client.answer(sessions.request(named(sessions, role))))
