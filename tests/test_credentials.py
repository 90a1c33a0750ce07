"""Certificates checked, keys kept: `secagg.certificates` and `secagg.credentials`."""

import asyncio
import copy
import dataclasses
import pickle
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.certificates import Authority, check_name
from secagg.credentials import Credentials, Identity, key_to_pem
from secagg.enrolment import issue, new_request
from secagg.errors import CredentialsError
from secagg.issuing import issue_credentials, issue_folder, new_authority, new_authority_folder

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DER, PEM = serialization.Encoding.DER, serialization.Encoding.PEM
OURS = new_authority("authority", now=NOW)
AUTHORITY = Authority.from_pem(OURS[1])
CLIENT = issue_credentials("hospital-1", "client", OURS, now=NOW)
SERVER = issue_credentials("aggregator", "server", OURS, hosts=["localhost", "127.0.0.1"], now=NOW)
CLIENT_AUTH, SERVER_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH


def certificate(
    *,
    names=("hospital-1",),
    issuer=None,
    key=None,
    signer=None,
    algorithm=hashes.SHA256,
    usages=(CLIENT_AUTH,),
    ca=False,
    key_usage="digital_signature",
    begin=NOW - timedelta(hours=1),
    end=NOW + timedelta(days=1),
    extra=(),
):
    """A certificate of any kind, signed by our authority unless told otherwise; its DER."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    uses = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign "
        "crl_sign encipher_only decipher_only"
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names]))
        .issuer_name(issuer or AUTHORITY.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    if key_usage:
        bits = {use: use == key_usage for use in uses.split()}
        builder = builder.add_extension(x509.KeyUsage(**bits), critical=True)
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    for value, critical in extra:
        builder = builder.add_extension(value, critical)
    return builder.sign(signer or OURS[0], algorithm()).public_bytes(DER)


def refused(der, role="client", now=NOW, authority=AUTHORITY):
    with pytest.raises(CredentialsError) as caught:
        authority.identify(der, role=role, now=now)
    assert caught.value.message
    return caught.value.code


def refused_folder(folder, now=NOW):
    with pytest.raises(CredentialsError) as caught:
        Credentials.load(folder, now)
    return caught.value


@pytest.fixture
def folder(tmp_path):
    new_authority_folder(tmp_path / "far" / "authority", "authority", now=NOW)
    issue_folder(tmp_path / "far" / "authority", tmp_path / "certs" / "h1", "h1", "client", now=NOW)
    return tmp_path / "certs" / "h1"


# who a certificate names


def test_a_client_is_identified_by_name_role_fingerprint_and_key():
    identity = AUTHORITY.identify(CLIENT.certificate_der, role="client", now=NOW)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(CLIENT.certificate_der)
    assert (identity.name, identity.role) == ("hospital-1", "client")
    assert identity.fingerprint == digest.finalize().hex()
    assert identity.verify(CLIENT.sign(b"message"), b"message")


def test_a_server_is_identified_and_either_role_passes_where_none_is_asked():
    assert AUTHORITY.identify(SERVER.certificate_der, role="server", now=NOW).name == "aggregator"
    assert AUTHORITY.identify(SERVER.certificate_der, role=None, now=NOW).role == "server"
    assert AUTHORITY.identify(CLIENT.certificate_der, role=None, now=NOW).role == "client"


def test_two_readings_of_one_certificate_are_equal_and_hash_alike():
    first, second = (AUTHORITY.identify(CLIENT.certificate_der, role=None, now=NOW) for _ in range(2))
    assert first == second == CLIENT.identity
    assert len({first, second, SERVER.identity}) == 2


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_bytes_like_certificate_is_read(kind):
    assert AUTHORITY.identify(kind(CLIENT.certificate_der), role="client", now=NOW) == CLIENT.identity


def test_a_certificate_without_optional_extensions_of_ours_is_still_one():
    assert AUTHORITY.identify(certificate(ca=None, key_usage=None), role="client", now=NOW)


# certificates that are refused


@pytest.mark.parametrize(("whose", "role"), [(CLIENT, "server"), (SERVER, "client")])
def test_a_certificate_in_the_wrong_role_is_refused(whose, role):
    assert refused(whose.certificate_der, role) == "certificate-role"


@pytest.mark.parametrize(
    "usages",
    [(), (CLIENT_AUTH, SERVER_AUTH), (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,), (CLIENT_AUTH,) * 2],
)
@pytest.mark.parametrize("role", ["client", "server", None])
def test_a_certificate_without_exactly_one_role_is_refused(usages, role):
    assert refused(certificate(usages=usages), role) == "certificate-role"


def test_an_authority_as_a_participant_is_refused():
    assert refused(certificate(ca=True)) == "certificate-role"
    assert refused(x509.load_pem_x509_certificate(OURS[1]).public_bytes(DER)) == "certificate-role"


def test_a_key_that_may_not_sign_is_refused():
    assert refused(certificate(key_usage="key_agreement")) == "certificate-role"


def test_a_foreign_certificate_is_refused_even_when_its_authority_has_our_name():
    theirs = new_authority("authority", now=NOW)
    assert refused(issue_credentials("hospital-1", "client", theirs, now=NOW).certificate_der) == (
        "certificate-foreign"
    )


def test_a_certificate_signed_by_a_participant_is_foreign():
    key = ec.generate_private_key(ec.SECP256R1())
    assert refused(certificate(signer=key)) == "certificate-foreign"


def test_a_certificate_of_our_key_that_names_another_issuer_is_refused():
    other = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "someone-else")])
    assert refused(certificate(issuer=other)) == "certificate-malformed"


@pytest.mark.parametrize("algorithm", [hashes.SHA384, hashes.SHA512, hashes.SHA224])
def test_a_signature_of_another_algorithm_is_refused_even_by_our_key(algorithm):
    assert refused(certificate(algorithm=algorithm)) == "certificate-foreign"


def test_an_expired_certificate_is_refused_by_name_and_date():
    with pytest.raises(CredentialsError, match="'hospital-1' expired on 2027-03-01 12:00 UTC") as caught:
        AUTHORITY.identify(CLIENT.certificate_der, role="client", now=NOW + timedelta(days=366))
    assert caught.value.code == "certificate-expired"


def test_a_certificate_is_valid_to_its_last_second_and_from_its_first():
    der = certificate(begin=NOW, end=NOW + timedelta(seconds=9))
    for seconds, code in ((-1, "certificate-not-yet-valid"), (10, "certificate-expired")):
        assert refused(der, now=NOW + timedelta(seconds=seconds)) == code
    for seconds in (0, 9):
        assert AUTHORITY.identify(der, role="client", now=NOW + timedelta(seconds=seconds))


def test_an_authority_out_of_date_identifies_no_one():
    der = certificate(begin=NOW - timedelta(days=9), end=NOW + timedelta(days=9999))
    assert refused(der, now=NOW + timedelta(days=3651)) == "authority-expired"
    assert refused(der, now=NOW - timedelta(days=1)) == "authority-not-yet-valid"


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP256K1()),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["rsa", "p384", "secp256k1", "ed25519"],
)
def test_a_key_that_is_not_p256_is_refused(key):
    assert refused(certificate(key=key)) == "certificate-key"


@pytest.mark.parametrize("names", [(), ("a", "b"), ("a", "a")])
def test_a_certificate_without_exactly_one_common_name_is_refused(names):
    assert refused(certificate(names=names)) == "certificate-name"


@pytest.mark.parametrize(
    "name",
    ["-a", ".", "..", "a b", "a/b", "a\\b", "a\n", "hôpital", "a*", "\u0430", "a\x00", " a", "_a", "a:b"],
)
def test_a_bad_name_is_refused_in_a_certificate_and_in_a_request(name):
    assert refused(certificate(names=(name,))) == "certificate-name"
    for bad in (name, "", "a" * 65):
        with pytest.raises(CredentialsError) as caught:
            new_request(bad, "client")
        assert caught.value.code == "certificate-name"


@settings(deadline=None)
@given(st.text(max_size=80))
def test_a_name_is_accepted_exactly_when_it_is_plain(name):
    plain = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
    good = 1 <= len(name) <= 64 and name[0] in plain and set(name) <= plain | set("._-")
    try:
        assert check_name(name) == name
        assert good
    except CredentialsError:
        assert not good


def test_a_critical_extension_nobody_understands_is_refused_and_an_optional_one_passed_over():
    odd = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    assert refused(certificate(extra=[(odd, True)])) == "certificate-malformed"
    assert AUTHORITY.identify(certificate(extra=[(odd, False)]), role="client", now=NOW)


# bytes that are no certificate


@pytest.mark.parametrize(
    "bad", [b"", b"0", b"\x30\x80\x00\x00", b"\x30\x84\xff\xff\xff\xff", b"\0" * 500, OURS[1]]
)
def test_what_is_no_der_is_malformed(bad):
    assert refused(bad) == "certificate-malformed"


def test_every_truncation_is_malformed():
    der = CLIENT.certificate_der
    assert {refused(der[:length]) for length in range(len(der))} == {"certificate-malformed"}


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=40))
def test_trailing_bytes_are_malformed(extra):
    assert refused(CLIENT.certificate_der + extra) == "certificate-malformed"


def test_bytes_hidden_at_the_end_of_the_outer_sequence_are_malformed():
    der = CLIENT.certificate_der
    length = int.from_bytes(der[2:4], "big")
    for extra in (b"\x05\x00", b"\0", b"\x03\x01\x00"):
        longer = der[:2] + (length + len(extra)).to_bytes(2, "big") + der[4:] + extra
        assert refused(longer) == "certificate-malformed"


def test_a_length_longer_than_it_must_be_is_malformed():
    der = CLIENT.certificate_der
    padded = b"\x30\x83\x00" + der[2:]
    assert refused(padded) == "certificate-malformed"
    signature = der.index(bytes.fromhex("300a06082a8648ce3d040302"), len(der) - 90) + 12
    inner = der[4:signature] + b"\x03\x81" + der[signature + 1 :]
    assert refused(b"\x30\x82" + len(inner).to_bytes(2, "big") + inner) == "certificate-malformed"


def test_an_enormous_certificate_is_malformed_before_it_is_read():
    names = x509.SubjectAlternativeName([x509.DNSName(f"host-{number}.example") for number in range(1000)])
    assert refused(certificate(extra=[(names, False)])) == "certificate-malformed"


def test_every_flipped_bit_is_refused():
    der = CLIENT.certificate_der
    for position in range(0, 8 * len(der), 3):
        flipped = bytearray(der)
        flipped[position // 8] ^= 1 << position % 8
        assert refused(flipped) in {"certificate-foreign", "certificate-malformed"}


@settings(deadline=None)
@given(st.data())
def test_no_altered_certificate_is_accepted_and_none_raises_anything_else(data):
    der = bytearray(CLIENT.certificate_der)
    places = st.tuples(st.integers(0, len(der) - 1), st.integers(1, 255))
    for place, change in data.draw(st.lists(places, min_size=1, max_size=4, unique_by=lambda pair: pair[0])):
        der[place] ^= change
    assert refused(der, role=None) in {"certificate-foreign", "certificate-malformed"}


@settings(deadline=None)
@given(st.binary(max_size=600))
def test_random_bytes_are_never_a_certificate(junk):
    assert refused(junk) == "certificate-malformed"


@pytest.mark.filterwarnings("ignore")
@settings(deadline=None, max_examples=300)
@given(st.data())
def test_nonsense_that_the_authority_has_signed_raises_nothing_but_a_credentials_error(data):
    """Past the signature, the fields themselves are altered: an authority that errs breaks no client."""
    body = bytearray(x509.load_der_x509_certificate(CLIENT.certificate_der).tbs_certificate_bytes)
    for place in data.draw(st.lists(st.integers(0, len(body) - 1), min_size=1, max_size=3)):
        body[place] = data.draw(st.integers(0, 255))
    signature = OURS[0].sign(bytes(body), ec.ECDSA(hashes.SHA256()))
    inner = bytes(body) + bytes.fromhex("300a06082a8648ce3d040302")
    inner += b"\x03" + bytes([len(signature) + 1]) + b"\0" + signature
    try:
        identity = AUTHORITY.identify(b"\x30\x82" + len(inner).to_bytes(2, "big") + inner, role=None, now=NOW)
    except CredentialsError:
        return
    assert isinstance(identity, Identity)


# signatures


def test_a_signature_holds_for_its_message_and_its_signer_only():
    signature = CLIENT.sign(b"message")
    assert CLIENT.identity.verify(signature, b"message")
    assert not CLIENT.identity.verify(signature, b"massage")
    assert not SERVER.identity.verify(signature, b"message")


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_a_malformed_signature_is_false_and_no_exception(signature):
    assert CLIENT.identity.verify(signature, b"message") is False


def test_a_signature_with_left_over_bytes_is_false():
    assert not CLIENT.identity.verify(CLIENT.sign(b"message") + b"\0", b"message")


def test_the_other_form_of_a_certificates_signature_changes_the_fingerprint_and_never_the_key():
    """ECDSA signatures are malleable (s and n - s): a pinned fingerprint does not match the twin."""
    der = CLIENT.certificate_der
    parsed = x509.load_der_x509_certificate(der)
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    r, s = decode_dss_signature(parsed.signature)
    twin = encode_dss_signature(r, order - s)
    inner = parsed.tbs_certificate_bytes + bytes.fromhex("300a06082a8648ce3d040302")
    inner += b"\x03" + bytes([len(twin) + 1]) + b"\0" + twin
    identity = AUTHORITY.identify(b"\x30\x82" + len(inner).to_bytes(2, "big") + inner, role=None, now=NOW)
    assert identity.public_key == CLIENT.identity.public_key
    assert identity.fingerprint != CLIENT.identity.fingerprint


# the authority's own certificate


def test_an_authority_is_read_and_shows_its_name_and_fingerprint():
    assert repr(AUTHORITY) == f"Authority(name='authority', fingerprint='{AUTHORITY.fingerprint}')"
    assert Authority.from_pem(AUTHORITY.pem) == AUTHORITY


def self_signed(**changes):
    key = changes.pop("key", None) or ec.generate_private_key(ec.SECP256R1())
    names = changes.pop("names", ("authority",))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])
    settled = {"ca": True, "key_usage": "key_cert_sign", "usages": (), "issuer": subject, "signer": key}
    der = certificate(key=key, names=names, **settled | changes)
    return x509.load_der_x509_certificate(der).public_bytes(PEM)


@pytest.mark.parametrize(
    ("pem", "code"),
    [
        (b"", "authority-malformed"),
        (b"-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n", "authority-malformed"),
        (OURS[1] * 2, "authority-malformed"),
        (CLIENT.certificate_pem, "authority-malformed"),
        (self_signed(ca=False), "authority-malformed"),
        (self_signed(ca=None), "authority-malformed"),
        (self_signed(key_usage=None), "authority-malformed"),
        (self_signed(key_usage="digital_signature"), "authority-malformed"),
        (self_signed(key=ec.generate_private_key(ec.SECP384R1())), "authority-malformed"),
        (self_signed(key=rsa.generate_private_key(65537, 2048)), "authority-malformed"),
        (self_signed(signer=OURS[0]), "authority-malformed"),
        (self_signed(issuer=SERVER.certificate.subject), "authority-malformed"),
        (self_signed(algorithm=hashes.SHA384), "authority-malformed"),
        (self_signed(names=("one", "two")), "certificate-name"),
    ],
    ids=range(14),
)
def test_what_is_not_one_self_signed_p256_authority_is_refused(pem, code):
    with pytest.raises(CredentialsError) as caught:
        Authority.from_pem(pem)
    assert caught.value.code == code


# credentials in a folder


def test_credentials_are_loaded_and_sign_as_whom_they_name(folder):
    loaded = Credentials.load(str(folder), NOW)
    assert (loaded.identity.name, loaded.identity.role, loaded.warnings) == ("h1", "client", ())
    assert loaded.identity.verify(loaded.sign(b"m"), b"m")
    assert loaded.certificate_pem == (folder / "certificate.pem").read_bytes()
    assert loaded.authority_pem == (folder / "authority.pem").read_bytes()
    assert loaded.key_pem() == (folder / "key.pem").read_bytes()
    assert loaded.authority.identify(loaded.certificate_der, role="client", now=NOW) == loaded.identity


@pytest.mark.parametrize("names", [["key.pem"], ["certificate.pem", "authority.pem"]])
def test_missing_files_are_named(folder, names):
    for name in names:
        (folder / name).unlink()
    error = refused_folder(folder)
    assert error.code == "credentials-missing"
    assert all(name in error.message for name in names)
    assert error.exit_code == 2


def test_a_folder_that_is_not_there_is_named(tmp_path):
    error = refused_folder(tmp_path / "nowhere")
    assert (error.code, "nowhere" in error.message) == ("credentials-missing", True)


def test_a_file_that_cannot_be_read_is_named(folder):
    (folder / "authority.pem").unlink()
    (folder / "authority.pem").mkdir()
    assert refused_folder(folder).code == "credentials-unreadable"


def test_a_link_that_leads_nowhere_is_named(folder):
    (folder / "authority.pem").unlink()
    (folder / "authority.pem").symlink_to(folder / "gone.pem")
    assert refused_folder(folder).code == "credentials-missing"


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644, 0o620, 0o602, 0o610, 0o777])
def test_a_key_that_others_can_touch_is_refused(folder, mode):
    (folder / "key.pem").chmod(mode)
    error = refused_folder(folder)
    assert error.code == "key-permissions"
    assert "chmod 600" in error.hint


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_key_of_its_owner_alone_is_read(folder, mode):
    (folder / "key.pem").chmod(mode)
    assert Credentials.load(folder, NOW)


def test_a_key_of_another_certificate_is_refused(folder):
    (folder / "key.pem").write_bytes(CLIENT.key_pem())
    assert refused_folder(folder).code == "key-mismatch"


def test_an_expired_certificate_is_refused_at_load(folder):
    error = refused_folder(folder, NOW + timedelta(days=366))
    assert (error.code, "2027-03-01" in error.message) == ("certificate-expired", True)


def test_a_certificate_of_another_authority_is_refused_at_load(folder):
    (folder / "authority.pem").write_bytes(new_authority("authority", now=NOW)[1])
    assert refused_folder(folder).code == "certificate-foreign"


@pytest.mark.parametrize("content", [b"", b"junk", b"\xff\xfe", CLIENT.certificate_pem * 2, CLIENT.key_pem()])
def test_a_certificate_file_that_holds_anything_else_is_malformed(folder, content):
    (folder / "certificate.pem").write_bytes(content)
    assert refused_folder(folder).code == "certificate-malformed"


ENCRYPTED = ec.generate_private_key(ec.SECP256R1()).private_bytes(
    PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
)
RSA = rsa.generate_private_key(65537, 2048).private_bytes(
    PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"junk",
        ENCRYPTED,
        RSA,
        key_to_pem(ec.generate_private_key(ec.SECP384R1())),
        CLIENT.certificate_pem,
    ],
    ids=["empty", "junk", "encrypted", "rsa", "p384", "certificate"],
)
def test_a_key_file_that_holds_anything_else_is_malformed(folder, content):
    (folder / "key.pem").write_bytes(content)
    error = refused_folder(folder)
    assert error.code == "key-malformed"
    assert error.__cause__ is None
    assert "BEGIN" not in str(error)


# secrets


def secret_texts(credentials):
    number = ec_number(credentials)
    body = b"".join(credentials.key_pem().splitlines()[1:-1]).decode()
    return body[40:90], f"{number:x}", str(number)


def ec_number(credentials):
    key = serialization.load_pem_private_key(credentials.key_pem(), None)
    return key.private_numbers().private_value


def test_the_key_shows_in_no_repr_and_no_format():
    texts = [
        repr(CLIENT),
        str(CLIENT),
        f"{CLIENT}",
        repr([CLIENT]),
        repr(CLIENT.identity),
        repr(CLIENT.authority),
    ]
    assert texts[0] == (
        f"Credentials(name='hospital-1', role='client', fingerprint='{CLIENT.identity.fingerprint[:16]}')"
    )
    assert not [secret for secret in secret_texts(CLIENT) if secret in "".join(texts)]


def test_no_attribute_prints_the_key():
    shown = "".join(repr(getattr(CLIENT, name)) for name in dir(CLIENT))
    assert not [secret for secret in secret_texts(CLIENT) if secret in shown]
    with pytest.raises(TypeError):
        vars(CLIENT)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_credentials_cannot_be_pickled(protocol):
    with pytest.raises(TypeError, match="private key"):
        pickle.dumps(CLIENT, protocol)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_credentials_cannot_be_copied(duplicate):
    with pytest.raises(TypeError, match="private key"):
        duplicate(CLIENT)
    with pytest.raises(TypeError, match="private key"):
        duplicate({"credentials": CLIENT}) if duplicate is copy.deepcopy else duplicate(CLIENT)


def test_an_identity_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        CLIENT.identity.name = "other"


# warnings


@pytest.mark.parametrize(("days", "count"), [(29, 1), (31, 0)])
def test_a_certificate_that_expires_within_thirty_days_is_a_warning(days, count):
    found = issue_credentials("h1", "client", OURS, now=NOW, days=days).warnings
    assert len(found) == count
    assert all("'h1' expires on 2026-03-30" in warning for warning in found)


def test_an_authority_that_expires_within_thirty_days_is_a_warning():
    short = new_authority("short", now=NOW, days=20)
    assert [
        "h1" in text or "short" in text for text in issue_credentials("h1", "client", short, now=NOW).warnings
    ] == ([True, True])


@pytest.mark.parametrize("place", [".", "..", "../authority"])
def test_an_authority_key_near_the_servers_is_a_warning(tmp_path, place):
    new_authority_folder(tmp_path / "far" / "authority", "authority", now=NOW)
    server = tmp_path / "certs" / "aggregator"
    assert (
        issue_folder(tmp_path / "far" / "authority", server, "aggregator", "server", now=NOW).warnings == ()
    )
    near = server / place
    near.mkdir(exist_ok=True)
    (near / "authority-key.pem").touch()
    (found,) = Credentials.load(server, NOW).warnings
    assert str((near / "authority-key.pem").resolve()) in found


def test_an_authority_key_near_a_clients_is_none(folder):
    (folder / "authority-key.pem").touch()
    assert Credentials.load(folder, NOW).warnings == ()


# what importing costs


def test_importing_credentials_loads_neither_grpc_nor_the_issuing_side():
    code = (
        "import sys, secagg.credentials; "
        "print([name for name in ('grpc', 'scipy', 'torch', 'sklearn', 'secagg.issuing', 'secagg.enrolment') "
        "if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


# a handshake


class Handshake(grpc.GenericRpcHandler):
    """Answers any call with the name the server's own check gave the caller's certificate."""

    def __init__(self, authority):
        self.authority = authority

    def service(self, details):
        async def answer(request, context):
            (pem,) = context.auth_context()["x509_pem_cert"]
            der = x509.load_pem_x509_certificate(pem).public_bytes(DER)
            try:
                return self.authority.identify(der, role="client", now=datetime.now(UTC)).name.encode()
            except CredentialsError as error:
                return error.code.encode()

        return grpc.unary_unary_rpc_method_handler(answer)


def handshake(server, client, authority=None, host="localhost"):
    """What the server says to `client` over mutual TLS on the loopback; None if TLS itself refuses."""

    async def run():
        listener = grpc.aio.server()
        listener.add_generic_rpc_handlers((Handshake(server.authority),))
        secure = grpc.ssl_server_credentials(
            [(server.key_pem(), server.certificate_pem)], server.authority_pem, require_client_auth=True
        )
        port = listener.add_secure_port("127.0.0.1:0", secure)
        await listener.start()
        own = (client.key_pem(), client.certificate_pem) if client else (None, None)
        trusted = (authority or server).authority_pem
        options = [("grpc.ssl_target_name_override", host)]
        channel = grpc.aio.secure_channel(
            f"127.0.0.1:{port}", grpc.ssl_channel_credentials(trusted, *own), options=options
        )
        try:
            return await channel.unary_unary("/test/Who")(b"", timeout=10)
        except grpc.aio.AioRpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE
            return None
        finally:
            await channel.close()
            await listener.stop(None)

    return asyncio.run(run())


TODAY = new_authority("authority")
HERE = issue_credentials("aggregator", "server", TODAY, hosts=["localhost", "127.0.0.1", "::1"])
THERE = issue_credentials("hospital-1", "client", TODAY)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_issued_certificates_make_a_mutual_tls_connection_and_name_the_client(host):
    assert handshake(HERE, THERE, host=host) == b"hospital-1"


def test_tls_refuses_a_host_the_servers_certificate_does_not_name():
    assert handshake(HERE, THERE, host="elsewhere.example") is None


def test_tls_refuses_a_client_without_a_certificate():
    assert handshake(HERE, None) is None


def test_tls_refuses_a_client_of_another_authority():
    foreign = issue_credentials("hospital-1", "client", new_authority("authority"))
    assert handshake(HERE, foreign) is None


def test_tls_refuses_a_server_of_another_authority():
    assert handshake(HERE, THERE, authority=issue_credentials("x", "client", new_authority("other"))) is None


def test_a_client_certificate_cannot_serve():
    key, request = new_request("hospital-2", "client")
    pem = issue(request, *TODAY)
    impostor = Credentials.from_pem(pem, key_to_pem(key), TODAY[1])
    assert handshake(impostor, THERE) is None


def test_a_server_certificate_cannot_be_a_client():
    assert handshake(HERE, HERE) is None
