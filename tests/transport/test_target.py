"""`secagg.transport.target`: addresses, and which of them go through a proxy."""

from __future__ import annotations

import pytest

from secagg.errors import TransportError
from secagg.transport.target import Target


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("https_proxy", "no_proxy", "http_proxy", "all_proxy", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("aggregator.example:8443", "aggregator.example", 8443),
        ("10.0.0.1:1", "10.0.0.1", 1),
        ("[::1]:9", "::1", 9),
    ],
)
def test_an_address_is_a_host_and_a_port(text, host, port):
    target = Target.parse(text)
    assert (target.host, target.port, target.proxy, str(target)) == (host, port, None, text)


@pytest.mark.parametrize(
    "text",
    ["", "host", "host:", ":1", "::1:9", "host:65536", "https://host:1", "host:1/x", "ho st:1", "host:-1"],
)
def test_anything_else_is_no_address(text):
    with pytest.raises(TransportError) as raised:
        Target.parse(text)
    assert raised.value.code == "target-malformed"


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
def test_the_environment_names_the_proxy(monkeypatch, name):
    monkeypatch.setenv(name, "http://user:secret@proxy.example:3128")
    target = Target.parse("aggregator.example:8443")
    assert target.proxy == ("proxy.example", 3128)
    assert target.proxy_url == "http://user:secret@proxy.example:3128"
    assert "secret" not in repr(target) + str(target)


def test_the_environment_names_the_exceptions(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "inside.example")
    assert Target.parse("a.inside.example:1").proxy is None
    assert Target.parse("a.outside.example:1").proxy is not None


@pytest.mark.parametrize("text", ["localhost:1", "127.0.0.1:1", "127.9.9.9:1", "[::1]:1"])
def test_this_machine_is_dialled_without_a_proxy(monkeypatch, text):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    assert Target.parse(text).proxy is None


@pytest.mark.parametrize(
    "proxy", ["https://proxy.example", "socks5://proxy.example:1", "http://:1", "http://p:x"]
)
def test_a_proxy_that_cannot_be_used_is_refused(proxy):
    with pytest.raises(TransportError) as raised:
        Target.parse("host:1", proxy)
    assert raised.value.code == "proxy-malformed"
