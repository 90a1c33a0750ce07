"""Where a client dials, and through which proxy.

`HTTPS_PROXY` and `NO_PROXY` (upper or lower case) are read here and handed to gRPC, which would see only the
lower-case ones; one place decides for gRPC and for the diagnosis alike. This machine itself is never dialled
through a proxy.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from secagg.errors import TransportError

__all__ = ["Target"]

_TARGET = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.%a-z]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True)
class Target:
    """A server's host and port, and the proxy to ask for it: (host, port), or None."""

    host: str
    port: int
    proxy: tuple[str, int] | None = None
    proxy_credentials: str = ""

    @classmethod
    def parse(cls, text: str, proxy: str | None = None) -> Target:
        """From `host:port` or `[address]:port`. `proxy`: a URL, "" for none, or None for the environment's.

        Raises TransportError `target-malformed` or `proxy-malformed`.
        """
        match = _TARGET.fullmatch(text)
        if not match or not 0 <= int(match["port"]) <= 65535:
            raise TransportError(
                "target-malformed",
                f"{text[:80]!r} is no address: host:port or [address]:port was expected",
                "for example aggregator.example:8443",
            )
        host, port = match["six"] or match["host"], int(match["port"])
        if proxy is None:
            proxy = "" if _is_this_machine(host) else _environment_proxy(host)
        if not proxy:
            return cls(host, port)
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        try:
            place = (parts.hostname or "", parts.port or 3128)
        except ValueError:
            place = ("", 0)
        if parts.scheme != "http" or not place[0]:
            raise TransportError(
                "proxy-malformed",
                "the proxy is not given as http://host:port",
                "check HTTPS_PROXY; a proxy that itself speaks TLS cannot be used",
            )
        credentials = parts.netloc.rpartition("@")[0]
        return cls(host, port, place, credentials)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"Target({str(self)!r})"  # a proxy's password is nobody's to print

    @property
    def proxy_url(self) -> str:
        """The proxy as gRPC takes it; empty for none."""
        if self.proxy is None:
            return ""
        host, port = self.proxy
        before = f"{self.proxy_credentials}@" if self.proxy_credentials else ""
        return f"http://{before}{f'[{host}]' if ':' in host else host}:{port}"


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _environment_proxy(host: str) -> str:
    if proxy_bypass(host):
        return ""
    return getproxies_environment().get("https", "")
