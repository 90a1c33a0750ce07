"""Requests, certificates and the files they live in: `secagg.enrolment` and `secagg.issuing`."""

import ipaddress
import os
import stat
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.certificates import Authority, key_fingerprint
from secagg.credentials import Credentials
from secagg.enrolment import LOOPBACK, issue, new_authority, new_request, read_request
from secagg.errors import CredentialsError
from secagg.issuing import issue_folder, issue_request, new_authority_folder, new_request_folder

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PEM = serialization.Encoding.PEM
OURS = new_authority("authority", now=NOW)
REQUEST = new_request("h1", "client")[1]
CLIENT_AUTH, SERVER_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH


def request_pem(
    *, names=("h1",), key=None, usages=(CLIENT_AUTH,), hosts=(), extra=(), algorithm=hashes.SHA256
):
    """A request of any kind."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])
    builder = x509.CertificateSigningRequestBuilder(subject)
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
    for value in extra:
        builder = builder.add_extension(value, critical=True)
    return builder.sign(key, algorithm() if algorithm else None).public_bytes(PEM)


def code_of(call, *arguments, **named):
    with pytest.raises(CredentialsError) as caught:
        call(*arguments, **named)
    assert "PRIVATE" not in str(caught.value)
    return caught.value.code


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def authority(tmp_path):
    new_authority_folder(tmp_path / "authority", "authority", now=NOW)
    return tmp_path / "authority"


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


# requests


def test_a_request_says_who_asks_for_what_with_which_key():
    key, pem = new_request("hospital-1", "client")
    asked = read_request(pem)
    assert (asked.name, asked.role, asked.hosts) == ("hospital-1", "client", ())
    assert asked.key_fingerprint == key_fingerprint(key.public_key())


def test_a_server_is_dialled_on_the_loopback_unless_it_names_hosts():
    assert read_request(new_request("a", "server")[1]).hosts == LOOPBACK
    hosts = ["Aggregator.example", "10.1.2.3", "[2001:db8::1]", "my_service", "10.1.2.3"]
    assert read_request(new_request("a", "server", hosts)[1]).hosts == (
        "Aggregator.example",
        "10.1.2.3",
        "2001:db8::1",
        "my_service",
    )


@pytest.mark.parametrize(
    "host",
    [
        "",
        "a b",
        "a:8443",
        "http://a",
        "a/b",
        "*.example",
        "a..b",
        ".a",
        "a.",
        "-a",
        "a-",
        "hôte",
        "10.0.0.300",
        "10.0.0.0/8",
        "fe80::1%eth0",
        "a" * 64,
        ".".join(["abcdefg"] * 40),
        "a\n",
    ],
)
def test_a_host_that_is_neither_name_nor_address_is_refused(host):
    assert code_of(new_request, "a", "server", [host]) == "certificate-host"


def test_a_client_has_no_hosts():
    assert code_of(new_request, "a", "client", ["a.example"]) == "certificate-host"
    named = request_pem(hosts=[x509.DNSName("a.example")])
    assert code_of(read_request, named) == "certificate-host"


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        [x509.RFC822Name("a@b.example")],
        [x509.UniformResourceIdentifier("https://a.example")],
        [x509.IPAddress(ipaddress.ip_network("10.0.0.0/8"))],
        [x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a")]))],
        [x509.DNSName("*.example")],
    ],
    ids=["none", "email", "uri", "network", "directory", "wildcard"],
)
def test_a_server_request_with_no_host_or_another_kind_of_name_is_refused(hosts):
    assert code_of(read_request, request_pem(usages=(SERVER_AUTH,), hosts=hosts)) == "certificate-host"


@pytest.mark.parametrize("names", [(), ("a", "b"), ("-a",), ("a b",)])
def test_a_request_without_exactly_one_plain_name_is_refused(names):
    assert code_of(read_request, request_pem(names=names)) == "certificate-name"


@pytest.mark.parametrize("usages", [(), (CLIENT_AUTH, SERVER_AUTH), (ExtendedKeyUsageOID.CODE_SIGNING,)])
def test_a_request_without_exactly_one_role_is_refused(usages):
    assert code_of(read_request, request_pem(usages=usages)) == "certificate-role"


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (rsa.generate_private_key(65537, 2048), hashes.SHA256),
        (ec.generate_private_key(ec.SECP384R1()), hashes.SHA256),
        (ed25519.Ed25519PrivateKey.generate(), None),
    ],
    ids=["rsa", "p384", "ed25519"],
)
def test_a_request_for_a_key_that_is_not_p256_is_refused(key, algorithm):
    assert code_of(read_request, request_pem(key=key, algorithm=algorithm)) == "certificate-key"


def test_a_request_of_another_algorithm_is_refused():
    assert code_of(read_request, request_pem(algorithm=hashes.SHA384)) == "request-malformed"


@pytest.mark.parametrize("bad", [b"", b"junk", b"\xff", OURS[1], new_request("a", "client")[1][:200]])
def test_what_is_no_request_is_malformed(bad):
    assert code_of(read_request, bad) == "request-malformed"


@settings(deadline=None)
@given(st.data())
def test_a_request_altered_after_it_was_signed_is_refused(data):
    der = bytearray(x509.load_pem_x509_csr(REQUEST).public_bytes(serialization.Encoding.DER))
    place = data.draw(st.integers(0, len(der) - 1))
    der[place] ^= data.draw(st.integers(1, 255))
    try:
        pem = x509.load_der_x509_csr(bytes(der)).public_bytes(PEM)
    except (ValueError, x509.InvalidVersion):
        return
    codes = {"request-malformed", "certificate-name", "certificate-role", "certificate-key"}
    assert code_of(read_request, pem) in codes


def test_a_request_whose_signature_claims_unused_bits_is_refused():
    der = x509.load_pem_x509_csr(REQUEST).public_bytes(serialization.Encoding.DER)
    signature = x509.load_pem_x509_csr(REQUEST).signature
    while signature[-1] & 1:  # the parser takes an unused bit that is zero
        pem = new_request("h1", "client")[1]
        der = x509.load_pem_x509_csr(pem).public_bytes(serialization.Encoding.DER)
        signature = x509.load_pem_x509_csr(pem).signature
    altered = der[: -len(signature) - 1] + b"\x01" + signature
    pem = x509.load_der_x509_csr(altered).public_bytes(PEM)
    assert code_of(read_request, pem) == "request-malformed"


# certificates


def extensions_of(pem):
    certificate = x509.load_pem_x509_certificate(pem)
    return {extension.oid: extension for extension in certificate.extensions}


def test_a_certificate_says_exactly_what_its_role_needs():
    found = extensions_of(issue(REQUEST, *OURS, now=NOW))
    assert set(found) == {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    }
    for oid in (ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE, ExtensionOID.EXTENDED_KEY_USAGE):
        assert found[oid].critical
    assert found[ExtensionOID.BASIC_CONSTRAINTS].value.ca is False
    assert list(found[ExtensionOID.EXTENDED_KEY_USAGE].value) == [CLIENT_AUTH]
    authority_id = extensions_of(OURS[1])[ExtensionOID.SUBJECT_KEY_IDENTIFIER].value.digest
    assert found[ExtensionOID.AUTHORITY_KEY_IDENTIFIER].value.key_identifier == authority_id


def test_a_servers_certificate_names_its_hosts_and_serves_only():
    found = extensions_of(issue(new_request("a", "server", ["a.example", "::1"])[1], *OURS, now=NOW))
    assert list(found[ExtensionOID.EXTENDED_KEY_USAGE].value) == [SERVER_AUTH]
    names = [str(name.value) for name in found[ExtensionOID.SUBJECT_ALTERNATIVE_NAME].value]
    assert names == ["a.example", "::1"]


def test_an_authority_signs_leaves_only():
    found = extensions_of(OURS[1])
    constraints, usage = found[ExtensionOID.BASIC_CONSTRAINTS], found[ExtensionOID.KEY_USAGE]
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
    assert (usage.critical, usage.value.key_cert_sign, usage.value.digital_signature) == (True, True, False)


def test_nothing_a_request_asks_for_beyond_name_role_hosts_and_key_is_granted():
    greedy = request_pem(extra=[x509.BasicConstraints(ca=True, path_length=None)])
    assert extensions_of(issue(greedy, *OURS, now=NOW))[ExtensionOID.BASIC_CONSTRAINTS].value.ca is False


def test_two_certificates_for_one_request_have_different_serials():
    serials = {x509.load_pem_x509_certificate(issue(REQUEST, *OURS, now=NOW)).serial_number for _ in range(3)}
    assert len(serials) == 3


def test_a_certificate_begins_an_hour_ago_and_never_outlives_its_authority():
    certificate = x509.load_pem_x509_certificate(issue(REQUEST, *OURS, now=NOW, days=7))
    assert certificate.not_valid_before_utc == NOW - timedelta(hours=1)
    assert certificate.not_valid_after_utc == NOW + timedelta(days=7)
    long = x509.load_pem_x509_certificate(issue(REQUEST, *OURS, now=NOW, days=9999))
    assert long.not_valid_after_utc == Authority.from_pem(OURS[1]).not_after


def test_a_pinned_role_refuses_a_request_for_the_other():
    assert code_of(issue, REQUEST, *OURS, role="server", now=NOW) == "certificate-role"
    assert issue(REQUEST, *OURS, role="client", now=NOW)


def test_an_authority_out_of_date_issues_nothing():
    assert code_of(issue, REQUEST, *OURS, now=NOW + timedelta(days=3651)) == "authority-expired"
    assert code_of(issue, REQUEST, *OURS, now=NOW - timedelta(days=1)) == "authority-not-yet-valid"


def test_the_key_of_another_authority_issues_nothing():
    other = new_authority("authority", now=NOW)
    assert code_of(issue, REQUEST, other[0], OURS[1], now=NOW) == "authority-key-mismatch"


@pytest.mark.parametrize("name", ["", "a b", "../a", "a" * 65])
def test_an_authority_with_a_bad_name_is_not_made(name, tmp_path):
    assert code_of(new_authority_folder, tmp_path / "a", name) == "certificate-name"
    assert list(tmp_path.iterdir()) == []


# files


def test_request_and_issue_give_credentials_that_load(authority, tmp_path):
    credentials = issue_folder(authority, tmp_path / "h1", "h1", "client", now=NOW)
    assert (credentials.identity.name, credentials.identity.role) == ("h1", "client")
    assert sorted(contents(tmp_path / "h1")) == [
        "authority.pem",
        "certificate.pem",
        "key.pem",
        "request.pem",
    ]


def test_keys_are_their_owners_alone_whatever_the_umask(umask, tmp_path):
    new_authority_folder(tmp_path / "authority", "authority", now=NOW)
    new_request_folder(tmp_path / "h1", "h1", "client")
    for key in (tmp_path / "authority" / "authority-key.pem", tmp_path / "h1" / "key.pem"):
        assert mode(key) == 0o600 & ~umask
        assert mode(key.parent) == 0o700 & ~umask


def test_a_key_is_never_readable_by_others_not_even_while_it_is_written(tmp_path, monkeypatch):
    opened = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda *call: opened.append(call) or real(*call))
    new_request_folder(tmp_path / "h1", "h1", "client")
    ((_, flags, wanted),) = [call for call in opened if call[0].name == "key.pem"]
    assert flags & os.O_EXCL
    assert flags & os.O_CREAT
    assert wanted == 0o600


@pytest.mark.parametrize("present", ["authority-key.pem", "authority.pem"])
def test_an_authority_is_never_overwritten(authority, present):
    for path in authority.iterdir():
        if path.name != present:
            path.unlink()
    before = contents(authority)
    assert code_of(new_authority_folder, authority, "other") == "authority-exists"
    assert contents(authority) == before


@pytest.mark.parametrize("present", ["key.pem", "request.pem", "certificate.pem"])
def test_a_key_or_request_is_never_overwritten(tmp_path, present):
    (tmp_path / present).write_bytes(b"precious")
    assert code_of(new_request_folder, tmp_path, "h1", "client") == "key-exists"
    assert contents(tmp_path) == {present: b"precious"}


def test_a_key_is_not_written_through_a_link_that_leads_nowhere(tmp_path):
    (tmp_path / "h1").mkdir()
    (tmp_path / "h1" / "key.pem").symlink_to(tmp_path / "elsewhere")
    assert code_of(new_request_folder, tmp_path / "h1", "h1", "client") == "key-exists"
    assert not (tmp_path / "elsewhere").exists()


def test_a_certificate_is_overwritten_only_to_renew_it(authority, tmp_path):
    folder = tmp_path / "h1"
    issue_folder(authority, folder, "h1", "client", now=NOW)
    before = contents(folder)
    assert code_of(issue_request, folder / "request.pem", authority, now=NOW) == "certificate-exists"
    assert contents(folder) == before

    later = NOW + timedelta(days=300)
    issue_request(folder / "request.pem", authority, renew=True, now=later)
    after = contents(folder)
    assert {name for name in before if before[name] != after[name]} == {"certificate.pem"}
    assert set(after) == set(before)
    assert Credentials.load(folder, NOW + timedelta(days=600)).identity.name == "h1"


def test_renewing_where_there_is_nothing_yet_issues(authority, tmp_path):
    new_request_folder(tmp_path / "h1", "h1", "client")
    issue_request(tmp_path / "h1" / "request.pem", authority, renew=True, now=NOW)
    assert Credentials.load(tmp_path / "h1", NOW)


@pytest.mark.parametrize(
    "other", [("h1", "client"), ("h2", "client"), ("h1", "server")], ids=["key", "name", "role"]
)
def test_a_renewal_for_another_key_name_or_role_is_refused(authority, tmp_path, other):
    folder = tmp_path / "h1"
    issue_folder(authority, folder, "h1", "client", now=NOW)
    new_request_folder(tmp_path / "other", *other)
    before = contents(folder)
    call = {"folder": folder, "renew": True, "now": NOW}
    assert code_of(issue_request, tmp_path / "other" / "request.pem", authority, **call) == "renewal-mismatch"
    assert contents(folder) == before


def test_an_unreadable_certificate_is_not_renewed(authority, tmp_path):
    new_request_folder(tmp_path / "h1", "h1", "client")
    (tmp_path / "h1" / "certificate.pem").write_bytes(b"precious")
    call = {"renew": True, "now": NOW}
    assert code_of(issue_request, tmp_path / "h1" / "request.pem", authority, **call) == "renewal-mismatch"
    assert (tmp_path / "h1" / "certificate.pem").read_bytes() == b"precious"


def test_another_authoritys_certificate_is_never_overwritten(authority, tmp_path):
    folder = tmp_path / "h1"
    issue_folder(authority, folder, "h1", "client", now=NOW)
    new_authority_folder(tmp_path / "second", "authority", now=NOW)
    before = contents(folder)
    for renew in (False, True):
        code = code_of(issue_request, folder / "request.pem", tmp_path / "second", renew=renew, now=NOW)
        assert code == "authority-differs"
    assert contents(folder) == before


def test_certificates_may_be_written_elsewhere(authority, tmp_path):
    new_request_folder(tmp_path / "h1", "h1", "client")
    issue_request(tmp_path / "h1" / "request.pem", authority, folder=tmp_path / "out" / "h1", now=NOW)
    assert sorted(contents(tmp_path / "out" / "h1")) == ["authority.pem", "certificate.pem"]
    assert sorted(contents(tmp_path / "h1")) == ["key.pem", "request.pem"]


def test_an_authority_key_that_others_can_read_issues_nothing(authority, tmp_path):
    new_request_folder(tmp_path / "h1", "h1", "client")
    (authority / "authority-key.pem").chmod(0o640)
    assert code_of(issue_request, tmp_path / "h1" / "request.pem", authority, now=NOW) == "key-permissions"


def test_a_missing_request_or_authority_is_named(authority, tmp_path):
    assert code_of(issue_request, tmp_path / "no.pem", authority) == "credentials-missing"
    new_request_folder(tmp_path / "h1", "h1", "client")
    assert code_of(issue_request, tmp_path / "h1" / "request.pem", tmp_path) == "credentials-missing"


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    assert code_of(new_request_folder, tmp_path / "file" / "h1", "h1", "client") == "credentials-unwritable"
    assert code_of(new_authority_folder, tmp_path / "file", "authority") == "credentials-unwritable"
