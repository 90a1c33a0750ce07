"""Who is turned away learns why, and so does who turned it away: real processes, mutual TLS, both sides' words."""

from __future__ import annotations

import multiprocessing
import socket
import ssl
import stat
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from secagg.certificates import Authority
from secagg.credentials import Credentials
from secagg.errors import TransportError
from secagg.transport.connection import Connection
from secagg.transport.diagnosis import diagnose
from secagg.transport.link import GrpcLink
from secagg.transport.target import Target
from secagg.transport.tls import client_context, server_context, words
from tests.transport.world import LONG_AGO, OTHER, SOON, WELCOME, Events, enrol, serve

Parts = tuple[bytes, bytes, bytes, bool]
"""Certificate, key, trusted authority, expired: what may cross to another process."""


def taken_apart(credentials: Credentials, *, expired: bool = False) -> Parts:
    return credentials.certificate_pem, credentials.key_pem(), credentials.authority_pem, expired


def put_together(parts: Parts) -> Credentials:
    """Credentials without the checks that would refuse them before they are used."""
    certificate, key, trust, expired = parts
    issuer = _issuer(certificate, trust)
    made = Credentials.from_pem(certificate, key, issuer, LONG_AGO if expired else None)
    return Credentials(made.identity, Authority.from_pem(trust), made.certificate, made._key)


def _issuer(certificate: bytes, trust: bytes) -> bytes:
    from cryptography import x509

    issued_by = x509.load_pem_x509_certificate(certificate).issuer
    return trust if x509.load_pem_x509_certificate(trust).subject == issued_by else OTHER_PEM


OTHER_PEM = OTHER[1]


def server_process(parts: Parts, log, address, done) -> None:
    link = GrpcLink(
        put_together(parts),
        "127.0.0.1:0",
        welcome=WELCOME,
        admit=lambda identity: None,
        log=lambda event, **fields: log.put((event, fields)),
    )
    with link:
        address.put(link.address)
        done.wait(60)


def client_process(address: str, parts: Parts, outcome) -> None:
    with Connection(address, put_together(parts), library_version="0.1.0") as connection:
        try:
            outcome.put(("welcome", connection.next(SOON).plan))
        except TransportError as error:
            outcome.put((error.code, str(error)))
