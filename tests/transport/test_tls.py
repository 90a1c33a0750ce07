"""Who is turned away learns why, and so does who turned it away: real processes, both sides' words."""

from __future__ import annotations

import multiprocessing
import socket
import ssl
import threading
from contextlib import suppress

import pytest

from secagg.certificates import Authority
from secagg.credentials import Credentials
from secagg.errors import TransportError
from secagg.transport.connection import Connection
from secagg.transport.diagnosis import diagnose
from secagg.transport.link import GrpcLink
from secagg.transport.target import Target
from secagg.transport.tls import client_context, server_context, words
from tests.transport.world import AUTHORITY, LONG_AGO, OTHER, SOON, WELCOME, Events, enrol, serve

Parts = tuple[bytes, bytes, bytes, bytes, bool]
"""Certificate, key, who issued it, whom its holder trusts, expired: what may cross to another process."""


def parts(name: str, role: str = "client", *, issuer=AUTHORITY, trust=AUTHORITY, expired=False) -> Parts:
    made = enrol(name, role, authority=issuer, trust=trust, expired=expired)
    return made.certificate_pem, made.key_pem(), issuer[1], trust[1], expired


def put_together(given: Parts) -> Credentials:
    """Credentials without the checks that refuse them before they are used."""
    certificate, key, issuer, trust, expired = given
    made = Credentials.from_pem(certificate, key, issuer, LONG_AGO if expired else None)
    return Credentials(made.identity, Authority.from_pem(trust), made.certificate, made._key)


def server_process(given: Parts, log, address, done) -> None:
    with GrpcLink(
        put_together(given),
        "127.0.0.1:0",
        welcome=WELCOME,
        admit=lambda identity: None,
        log=lambda event, **fields: log.put((event, fields)),
    ) as link:
        address.put(link.address)
        done.wait(60)


def client_process(address: str, several: list[Parts], outcome) -> None:
    for given in several:
        with Connection(address, put_together(given), library_version="0.1.0") as connection:
            try:
                outcome.put(("welcome", connection.next(SOON).plan))
            except TransportError as error:
                outcome.put((error.code, str(error)))


def meet(server: Parts, *clients: Parts) -> tuple[list[tuple[str, str]], list[tuple[str, dict]]]:
    """A server process and a client process: what each client was told, and the server's log."""
    spawn = multiprocessing.get_context("spawn")
    log, address, outcome, done = spawn.Queue(), spawn.Queue(), spawn.Queue(), spawn.Event()
    serving = spawn.Process(target=server_process, args=(server, log, address, done))
    serving.start()
    dialling = spawn.Process(target=client_process, args=(address.get(timeout=30), list(clients), outcome))
    dialling.start()
    told = [outcome.get(timeout=30) for _ in clients]
    dialling.join(30)
    done.set()
    serving.join(30)
    assert (serving.exitcode, dialling.exitcode) == (0, 0)
    logged = []
    while not log.empty():
        logged.append(log.get())
    return told, logged


def test_every_wrong_client_certificate_is_named_on_both_sides():
    told, logged = meet(
        parts("aggregator", "server"),
        parts("good"),
        parts("expired", expired=True),
        parts("foreign", issuer=OTHER),
        parts("a-server", "server"),
    )
    assert [code for code, _ in told] == [
        "welcome",
        "tls-certificate-expired",
        "tls-certificate-foreign",
        "tls-certificate-role",
    ]
    for (_, message), said in zip(
        told[1:], ("it has expired", "was issued by another authority", "for the other role"), strict=True
    ):
        assert "refused this client's certificate" in message
        assert said in message
    refused = {fields["code"]: fields for event, fields in logged if event == "connection-refused"}
    assert set(refused) == {code for code, _ in told[1:]}
    for fields in refused.values():
        assert fields["peer"].startswith("127.0.0.1:")
        assert "was turned away: its client certificate" in fields["message"]
    assert [fields["client"] for event, fields in logged if event == "client-joined"] == ["good"]


@pytest.mark.parametrize(
    ("server", "code", "said"),
    [
        ({"expired": True}, "tls-server-expired", "has expired"),
        ({"issuer": OTHER}, "tls-server-foreign", "was issued by another authority"),
        ({"role": "client"}, "tls-server-role", "was issued for the other role"),
    ],
)
def test_every_wrong_server_certificate_is_named_on_both_sides(server, code, said):
    events = Events()
    credentials = enrol(
        "aggregator",
        server.get("role", "server"),
        authority=server.get("issuer", AUTHORITY),
        expired=server.get("expired", False),
    )
    with (
        GrpcLink(credentials, "127.0.0.1:0", welcome=WELCOME, admit=lambda _: None, log=events) as link,
        Connection(link.address, enrol("alice"), library_version="0.1.0") as alice,
    ):
        with pytest.raises(TransportError) as raised:
            alice.next(SOON)
        assert raised.value.code == code
        assert "is not trusted" in raised.value.message
        assert said in raised.value.message
        entry = events.wait("connection-refused", code=code)
        assert "refused this server's certificate" in entry["message"]
        assert said in entry["message"]


def test_a_server_of_another_name_than_was_dialled_is_not_trusted():
    server = enrol("aggregator", "server")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=handshakes, args=(listening, server_context(server)), daemon=True).start()
        host, port = listening.getsockname()
        # Through a proxy, which connects to whatever the name is.
        with pytest.raises(ssl.SSLCertVerificationError) as raised:
            plain = socket.create_connection((host, port), SOON)
            client_context(enrol("alice")).wrap_socket(plain, server_hostname="elsewhere.example")
        listening.shutdown(socket.SHUT_RDWR)
    error = words(raised.value, here="client", peer="the server")
    assert error.code == "tls-server-name"
    assert "does not name the host" in error.message


def handshakes(listening: socket.socket, context: ssl.SSLContext) -> None:
    with suppress(OSError):
        while True:
            near, _ = listening.accept()
            with suppress(OSError), context.wrap_socket(near, server_side=True) as secure:
                secure.recv(1)


def test_a_client_without_a_certificate_is_named():
    events = Events()
    with serve(events) as link:
        anonymous = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        anonymous.load_verify_locations(cadata=AUTHORITY[1].decode())
        host, port = link.address.split(":")
        with (
            socket.create_connection((host, int(port)), SOON) as plain,
            anonymous.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            with pytest.raises(ssl.SSLError) as raised:
                secure.recv(1)
            assert words(raised.value, here="client", peer="the server").code == "tls-certificate-missing"
        events.wait("connection-refused", code="tls-certificate-missing")


@pytest.mark.parametrize(
    ("said", "code"),
    [(b"GET / HTTP/1.1\r\n\r\n", "tls-not-spoken"), (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "tls-not-spoken")],
)
def test_a_client_without_tls_is_named(said, code):
    events = Events()
    with serve(events) as link:
        host, port = link.address.split(":")
        with socket.create_connection((host, int(port)), SOON) as plain:
            plain.sendall(said)
            events.wait("connection-refused", code=code)


def test_a_client_of_an_older_tls_is_named():
    events = Events()
    with serve(events) as link:
        old = client_context(enrol("alice"))
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
        host, port = link.address.split(":")
        with socket.create_connection((host, int(port)), SOON) as plain:
            with pytest.raises(ssl.SSLError) as raised:
                old.wrap_socket(plain, server_hostname="localhost")
            assert words(raised.value, here="client", peer="the server").code == "tls-version"
        events.wait("connection-refused", code="tls-version")


def test_a_good_connection_needs_no_diagnosis():
    with serve() as link:
        assert diagnose(Target.parse(link.address), enrol("alice")) is None


def test_a_server_without_tls_is_named():
    def answer(listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listening.accept()
                with near:
                    near.recv(1000)
                    near.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=answer, args=(listening,), daemon=True).start()
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        alice = Connection(address, enrol("alice"), library_version="0.1.0")
        with pytest.raises(TransportError) as raised:
            alice.next(SOON)
        listening.shutdown(socket.SHUT_RDWR)
    assert raised.value.code == "tls-not-spoken"


def test_a_server_that_hangs_up_may_come_to_itself():
    def answer(listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                listening.accept()[0].close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=answer, args=(listening,), daemon=True).start()
        target = Target.parse(f"127.0.0.1:{listening.getsockname()[1]}")
        error = diagnose(target, enrol("alice"))
        listening.shutdown(socket.SHUT_RDWR)
    assert error.code == "tls-broken-off"


def test_a_name_that_does_not_resolve_is_named():
    error = diagnose(Target.parse("nowhere.invalid:8443", proxy=""), enrol("alice"))
    assert error.code == "unreachable"
    assert "does not resolve" in error.message


def test_no_message_holds_a_key():
    alice = enrol("alice")
    key = alice.key_pem().decode().splitlines()[1]
    with pytest.raises(TransportError) as raised, serve() as link:
        foreign = enrol("alice", authority=OTHER)
        raise diagnose(Target.parse(link.address), foreign)
    assert key not in str(raised.value) + repr(raised.value)
