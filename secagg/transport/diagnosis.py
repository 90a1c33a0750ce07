"""Why a client cannot reach its server, in words.

gRPC reports a failed handshake as "socket closed". So a client that failed dials once more, with the standard
library's TLS and the same certificate, and reads what gRPC does not show: whether the name resolves, whether
something listens, what is wrong with the server's certificate, and (in TLS 1.3 only after the handshake) the
alert in which the server says what is wrong with this client's.
"""

from __future__ import annotations

import base64
import socket
from typing import Final
from urllib.parse import unquote

from secagg.credentials import Credentials
from secagg.errors import TransportError
from secagg.transport.target import Target
from secagg.transport.tls import client_context, words

__all__ = ["PASSING", "diagnose"]

PASSING: Final = frozenset({"unreachable", "proxy-refused", "tls-broken-off", "run-over"})
"""The codes of what may pass by itself; all others stay until somebody acts. `run-over` a server says."""

_HELLO: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
"""HTTP/2's preface and empty settings (RFC 9113, 3.4); the server answers with its own."""


def diagnose(target: Target, credentials: Credentials, seconds: float = 5.0) -> TransportError | None:
    """What stands between this client and `target`; None if a connection comes about. Blocks.

    Codes: `unreachable`, `proxy-refused`, and those of `secagg.transport.tls.words`.
    """
    try:
        plain = _dial(target, seconds)
    except TransportError as error:
        return error
    except OSError as error:
        via = f" through the proxy {target.proxy[0]}:{target.proxy[1]}" if target.proxy else ""
        return TransportError(
            "unreachable",
            f"{target} cannot be reached{via}: {_reason(error)}",
            "is the server running, and is the address right? HTTPS_PROXY names a proxy if there must be one",
        )
    with plain:
        try:
            with client_context(credentials).wrap_socket(plain, server_hostname=target.host) as secure:
                secure.sendall(_HELLO)
                if secure.recv(1):
                    return None
        except OSError as error:
            return words(error, here="client", peer=f"the server {target}")
    return TransportError("tls-broken-off", f"the server {target} closed the connection at once")


def _dial(target: Target, seconds: float) -> socket.socket:
    if target.proxy is None:
        return socket.create_connection((target.host, target.port), seconds)
    connection = socket.create_connection(target.proxy, seconds)
    try:
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        if target.proxy_credentials:
            token = base64.b64encode(unquote(target.proxy_credentials).encode()).decode("ascii")
            lines.append(f"Proxy-Authorization: Basic {token}")
        connection.sendall("\r\n".join([*lines, "", ""]).encode("ascii"))
        answer = b""
        while not answer.endswith(b"\r\n\r\n") and len(answer) < 1 << 16:
            byte = connection.recv(1)  # not one byte of what comes after belongs to the proxy
            if not byte:
                break
            answer += byte
        status = answer.split(b"\r\n", 1)[0].split(b" ", 2)
        if len(status) < 2 or status[1] != b"200":
            code = status[1].decode("ascii", "replace") if len(status) > 1 else "nothing"
            raise TransportError(
                "proxy-refused",
                f"the proxy {target.proxy[0]}:{target.proxy[1]} does not connect to {target}: "
                f"it answered {code[:8]!r}",
                "ask the network's administrators to allow CONNECT to this host and port",
            )
    except (OSError, TransportError):
        connection.close()
        raise
    return connection


def _reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "its name does not resolve"
    if isinstance(error, TimeoutError):
        return "it does not answer"
    return (error.strerror or type(error).__name__).lower()
