"""Mutual TLS with the standard library, and its failures in words.

TLS 1.3 only, no session tickets (each connection is verified anew), the run's own authority and no other. The
server's side of every connection is made of these contexts (`secagg.transport.doorman`); the client's side
belongs to gRPC, which keeps its reasons to itself, so a client that failed asks again with `client_context`
(`secagg.transport.diagnosis`).

A failure has two sides, and `words` names it from either: who found it has OpenSSL's verification result
(X509_V_ERR_*), and the other has the alert of RFC 8446, section 6.2.

What this is not: the check of a client's identity, which is `Authority.identify`, and done as well.
"""

from __future__ import annotations

import os
import ssl
from contextlib import ExitStack
from typing import Final

from secagg.credentials import Credentials
from secagg.errors import CredentialsError, TransportError

__all__ = ["client_context", "server_context", "words"]

_RENEW: Final = "let the authority sign its request again (`secagg certs issue --renew`)"
_CLOCKS: Final = "compare the clocks of both machines"
_ENROL: Final = (
    "both sides must be enrolled by the same authority (`secagg certs show` prints its fingerprint)"
)
_ROLE: Final = "ask the authority for a certificate with the right role (`secagg certs request --role`)"
_HOST: Final = "dial a name that the server's certificate lists, or issue one that lists this name"

_VERIFICATION: Final[dict[int, tuple[str, str, str]]] = {
    9: ("not-yet-valid", "is not valid yet", _CLOCKS),
    10: ("expired", "has expired", _RENEW),
    18: ("foreign", "was issued by another authority", _ENROL),
    19: ("foreign", "was issued by another authority", _ENROL),
    20: ("foreign", "was issued by another authority", _ENROL),
    21: ("foreign", "was issued by another authority", _ENROL),
    26: ("role", "was issued for the other role", _ROLE),
    62: ("name", "does not name the host that was dialled", _HOST),
    64: ("name", "does not name the address that was dialled", _HOST),
}
"""X509_V_ERR_* -> end of the code, what is said of the certificate, the way out."""

_ALERTS: Final[dict[str, tuple[str, str, str]]] = {
    "ALERT_CERTIFICATE_EXPIRED": ("expired", "has expired", _RENEW),
    "ALERT_UNKNOWN_CA": ("foreign", "was issued by another authority", _ENROL),
    "ALERT_UNSUPPORTED_CERTIFICATE": ("role", "was issued for the other role", _ROLE),
    "ALERT_CERTIFICATE_REQUIRED": ("missing", "was not shown", _ENROL),
    "ALERT_BAD_CERTIFICATE": ("refused", "is not valid yet, or not for the host that was dialled", _CLOCKS),
}
"""End of OpenSSL's reason -> the same, as the other side's alert says it."""

_NOT_TLS: Final = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "PACKET_LENGTH_TOO_LONG")
_NOT_TLS_1_3: Final = ("UNSUPPORTED_PROTOCOL", "ALERT_PROTOCOL_VERSION", "VERSION_TOO_LOW", "NO_PROTOCOLS")


def server_context(credentials: Credentials) -> ssl.SSLContext:
    """For the server's side: a client certificate of the authority is required."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    return _prepared(context, credentials)


def client_context(credentials: Credentials) -> ssl.SSLContext:
    """For the client's side: the server's certificate is of the authority and names the host dialled."""
    return _prepared(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), credentials)


def words(error: ssl.SSLError | OSError, *, here: str, peer: str) -> TransportError:
    """A failed handshake as an error that says whose certificate was refused, by whom, and why.

    `here`: the side that this program is, "server" or "client". `peer`: the other side, as it is called.

    Codes: `tls-certificate-*` for the client's certificate, `tls-server-*` for the server's, each ending in
    `expired`, `not-yet-valid`, `foreign`, `role`, `missing`, `name` or `refused`; `tls-not-spoken`,
    `tls-version`, `tls-broken-off`.
    """
    there = "client" if here == "server" else "server"
    reason = getattr(error, "reason", None) or ""
    if isinstance(error, ssl.SSLCertVerificationError):
        end, said, hint = _VERIFICATION.get(
            error.verify_code, ("refused", f"was refused ({error.verify_message})", _ENROL)
        )
        verdict = "was turned away" if here == "server" else "is not trusted"
        return TransportError(
            f"tls-{_subject(there)}-{end}", f"{peer} {verdict}: its {there} certificate {said}", hint
        )
    if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return TransportError(
            f"tls-{_subject(there)}-missing", f"{peer} was turned away: it showed no certificate", _ENROL
        )
    for alert, (end, said, hint) in _ALERTS.items():
        if reason.endswith(alert):
            return TransportError(
                f"tls-{_subject(here)}-{end}", f"{peer} refused this {here}'s certificate: it {said}", hint
            )
    if reason in _NOT_TLS:
        return TransportError(
            "tls-not-spoken", f"{peer} does not speak TLS", "check the port, and what stands in between"
        )
    if reason.endswith(_NOT_TLS_1_3):
        return TransportError("tls-version", f"{peer} does not speak TLS 1.3", "nothing older is accepted")
    return TransportError(
        "tls-broken-off",
        f"{peer} broke off the TLS handshake" + (f" ({reason.lower().replace('_', ' ')})" if reason else ""),
    )


def _subject(side: str) -> str:
    return "certificate" if side == "client" else "server"


def _prepared(context: ssl.SSLContext, credentials: Credentials) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    context.load_verify_locations(cadata=credentials.authority_pem.decode("ascii"))
    with ExitStack() as stack:
        certificate = _through_a_pipe(stack, credentials.certificate_pem)
        key = _through_a_pipe(stack, credentials.key_pem())
        try:
            context.load_cert_chain(certificate, key)
        except (ssl.SSLError, OSError):
            raise CredentialsError(
                "credentials-unusable", "the TLS library does not accept the certificate and its key"
            ) from None
    return context


def _through_a_pipe(stack: ExitStack, content: bytes) -> str:
    """A path from which `content` can be read once: the standard library wants files, and a key should lie on
    disk in one place only. A pipe holds 4096 bytes or more; a P-256 key has 240 and a certificate 1000."""
    reading, writing = os.pipe()
    stack.callback(os.close, reading)
    try:
        os.set_blocking(writing, False)
        written = os.write(writing, content)
    except BlockingIOError:
        written = 0
    finally:
        os.close(writing)
    if written != len(content):
        raise CredentialsError("credentials-unusable", "a certificate or key is too long to be one")
    return f"/dev/fd/{reading}"
