"""Making requests and certificates in memory (X.509, RFC 5280; requests: PKCS #10, RFC 2986).

A participant makes a key and a request for it; the authority reads the request, checks that its maker holds
the key, and signs a certificate. From a request the authority takes the name, the role, the hosts and the
public key, and nothing else: whatever further extensions it asks for are left out.

What this is not: a public-key infrastructure. There is one authority without intermediates, no revocation
list (see `secagg.certificates`) and no register of what was issued: whoever runs the authority sees to it
that a name is given to one participant only. The files around it are `secagg.issuing`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from secagg.certificates import (
    ROLES,
    UNPARSABLE,
    Authority,
    Role,
    check_name,
    common_name,
    is_p256,
    is_signed,
    key_fingerprint,
    role_of,
    split_signed,
)
from secagg.credentials import AUTHORITY, AUTHORITY_KEY, Credentials, key_to_pem
from secagg.errors import CredentialsError

__all__ = [
    "LOOPBACK",
    "Requested",
    "issue",
    "issue_credentials",
    "new_authority",
    "new_request",
    "read_request",
]

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
CLOCK_SLACK: Final = timedelta(hours=1)
"""Certificates are valid from an hour before they are made: clocks differ."""

_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_KEY_USES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@dataclass(frozen=True)
class Requested:
    """What a request asks for. Its maker has proved to hold the private key of `public_key`."""

    name: str
    role: Role
    hosts: tuple[str, ...]
    public_key: ec.EllipticCurvePublicKey = field(repr=False, compare=False)

    @property
    def key_fingerprint(self) -> str:
        """What the two sides compare, so that no one between them exchanges the request."""
        return key_fingerprint(self.public_key)


def new_authority(
    name: str, *, now: datetime | None = None, days: int = 3650
) -> tuple[ec.EllipticCurvePrivateKey, bytes]:
    """A new authority: its private key and its self-signed certificate (PEM). Raises `certificate-name`."""
    now = now or datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(check_name(name))
    certificate = (
        _builder(subject, subject, key.public_key(), now - CLOCK_SLACK, now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage("key_cert_sign"), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return key, certificate.public_bytes(serialization.Encoding.PEM)


def new_request(name: str, role: Role, hosts: Sequence[str] = ()) -> tuple[ec.EllipticCurvePrivateKey, bytes]:
    """A new private key, and the request (PEM) that asks for a certificate for it.

    `hosts`: the DNS names and addresses clients will dial a server by; this machine's own if empty.

    Raises:
        CredentialsError: `certificate-name`, `certificate-host`.
    """
    check_name(name)
    names = _hosts(role, hosts)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder(_subject(name)).add_extension(
        x509.ExtendedKeyUsage([ROLES[role]]), critical=True
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return key, builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def read_request(pem: bytes) -> Requested:
    """Read a request and check that its maker holds the key.

    Raises:
        CredentialsError: `request-malformed`, `certificate-name`, `certificate-role`, `certificate-key`,
            `certificate-host`.
    """
    try:
        request = x509.load_pem_x509_csr(pem)
        key = request.public_key()
        extensions = request.extensions
        name = common_name(request.subject)
        role = role_of(extensions, name)
    except UNPARSABLE:
        raise CredentialsError(
            "request-malformed",
            "expected one certificate request in PEM, and it cannot be read",
            "make it with `secagg certs request NAME` and send the file request.pem unchanged",
        ) from None
    if not is_p256(key):
        raise CredentialsError("certificate-key", f"the key that '{name}' asks for is not on the curve P-256")
    split = split_signed(request.public_bytes(serialization.Encoding.DER))
    if split is None or not is_signed(split, key):
        raise CredentialsError(
            "request-malformed",
            f"the request of '{name}' is not signed by the key it asks for with ecdsa-with-SHA256, "
            "or was altered afterwards",
        )
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        hosts: tuple[str, ...] = ()
    else:
        hosts = tuple(str(host.value) for host in names)
        _hosts(role, hosts)
    if role == "server" and not hosts:
        raise CredentialsError(
            "certificate-host",
            f"the request of the server '{name}' names no host, and clients check the host they dial",
            "make it with `secagg certs request NAME --role server --host HOST`",
        )
    return Requested(name, role, hosts, key)


def issue(
    request_pem: bytes,
    authority_key: ec.EllipticCurvePrivateKey,
    authority_pem: bytes,
    *,
    role: Role | None = None,
    now: datetime | None = None,
    days: int = 365,
) -> bytes:
    """The certificate (PEM) that a request asks for; never valid longer than the authority's own.

    `role`: refuse a request that asks for another one.

    Raises:
        CredentialsError: `authority-key-mismatch`, `authority-malformed`, `authority-expired`,
            `authority-not-yet-valid`, `certificate-role`, and what `read_request` raises.
    """
    now = now or datetime.now(UTC)
    authority = Authority.from_pem(authority_pem)
    authority.check_dates(now)
    if authority_key.public_key() != authority.public_key:
        raise CredentialsError(
            "authority-key-mismatch",
            f"the private key is not the one of the authority '{authority.name}'",
            f"{AUTHORITY_KEY} and {AUTHORITY} are made together by `secagg certs init`",
        )
    asked = read_request(request_pem)
    if role is not None and asked.role != role:
        raise CredentialsError(
            "certificate-role",
            f"'{asked.name}' asks to be a {asked.role}, and only a {role} was to be enrolled",
            "let the participant make a request for the right role",
        )
    begin = max(now - CLOCK_SLACK, authority.not_before)
    end = min(now + timedelta(days=days), authority.not_after)
    builder = (
        _builder(_subject(asked.name), authority.subject, asked.public_key, begin, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ROLES[asked.role]]), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(asked.public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key), critical=False
        )
    )
    if asked.hosts:
        names = _hosts(asked.role, asked.hosts)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def issue_credentials(
    name: str,
    role: Role,
    authority: tuple[ec.EllipticCurvePrivateKey, bytes],
    *,
    hosts: Sequence[str] = (),
    now: datetime | None = None,
    days: int = 365,
) -> Credentials:
    """Key, request and certificate in memory, for participants that live in one process.

    `authority`: what `new_authority` returned.
    """
    now = now or datetime.now(UTC)
    key, request = new_request(name, role, hosts)
    certificate = issue(request, *authority, now=now, days=days)
    return Credentials.from_pem(certificate, key_to_pem(key), authority[1], now)


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begin: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )


def _key_usage(use: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{name: name == use for name in _KEY_USES})


def _hosts(role: Role, hosts: Sequence[str]) -> list[x509.GeneralName]:
    """The subject alternative names for `hosts`; those of this machine for a server that names none."""
    if role == "client":
        if hosts:
            raise CredentialsError(
                "certificate-host", "a client is dialled by no one: hosts are for servers", "leave out --host"
            )
        return []
    return [_host(host) for host in dict.fromkeys(hosts or LOOPBACK)]


def _host(host: str) -> x509.GeneralName:
    if "%" not in host:  # the scope of a link-local address means nothing on another machine
        with suppress(ValueError):
            return x509.IPAddress(ipaddress.ip_address(host.removeprefix("[").removesuffix("]")))
    labels = host.split(".")
    if len(host) > 253 or labels[-1].isdigit() or not all(_LABEL.fullmatch(label) for label in labels):
        raise CredentialsError(
            "certificate-host",
            f"{host[:80]!r} is neither a DNS name nor an IP address",
            "give the host alone, without port or scheme; no wildcards",
        )
    return x509.DNSName(host)
