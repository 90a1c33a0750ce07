"""Whose certificate is it: the authority's signature and the rules a certificate keeps, checked strictly.

The role stands in the certificate as its extended key usage (RFC 5280, 4.2.1.12): `serverAuth` alone is a
server, `clientAuth` alone a client. The name of the protocol is the certificate's common name; there is
exactly one.

The few bytes around the signed part are split by hand and the authority's signature is verified first, so
nothing the authority has not signed reaches an X.509 parser. One signed certificate has then one encoding, up
to the two forms (s and n - s) of its ECDSA signature: a fingerprint pins a document; two members are told
apart by their keys as well.

What this is not: a path builder (one self-signed authority; no intermediates, no name constraints) and not
revocation. There are no revocation lists: a certificate holds until it expires. To shut a participant out
sooner, leave its name out of the plan's cohort and its fingerprint out of the clients' floors, or begin again
with a new authority.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Final, Literal, TypeGuard

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID, ObjectIdentifier

from secagg.errors import CredentialsError

__all__ = [
    "ECDSA",
    "ROLES",
    "UNPARSABLE",
    "Authority",
    "Identity",
    "Role",
    "certificate_from_pem",
    "check_name",
    "common_name",
    "day",
    "is_p256",
    "is_signed",
    "key_fingerprint",
    "role_of",
    "split_signed",
]

Role = Literal["client", "server"]
ROLES: Final[dict[Role, ObjectIdentifier]] = {
    "client": ExtendedKeyUsageOID.CLIENT_AUTH,
    "server": ExtendedKeyUsageOID.SERVER_AUTH,
}
MAX_CERTIFICATE_BYTES: Final = 16_384

ECDSA: Final = ec.ECDSA(hashes.SHA256())
UNPARSABLE: Final = (  # what `cryptography` raises for bytes it cannot make sense of
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)

_ECDSA_WITH_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")  # AlgorithmIdentifier, RFC 5758, 3.2
_CLOCK_HINT = "check the clock and the date of this machine"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_UNDERSTOOD = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    }
)


@dataclass(frozen=True)
class Identity:
    """A participant whose certificate the authority has signed. Equal when the certificate is the same.

    `fingerprint` is the SHA-256 of the certificate's DER, in hex.
    """

    name: str
    role: Role
    fingerprint: str
    public_key: ec.EllipticCurvePublicKey = field(repr=False, compare=False)

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Whether `signature` (ECDSA, P-256, SHA-256, DER) over `message` was made by this participant."""
        try:
            self.public_key.verify(signature, message, ECDSA)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class Authority:
    """The one who enrols: its self-signed certificate. Make one with `Authority.from_pem`."""

    name: str
    fingerprint: str
    pem: bytes = field(repr=False)
    subject: x509.Name = field(repr=False, compare=False)
    public_key: ec.EllipticCurvePublicKey = field(repr=False, compare=False)
    not_before: datetime = field(repr=False)
    not_after: datetime = field(repr=False)

    @classmethod
    def from_pem(cls, pem: bytes) -> Authority:
        """Read one self-signed P-256 authority certificate. Whether it is in date is asked at each use.

        Raises:
            CredentialsError: `authority-malformed`, `certificate-name`.
        """
        try:
            certificate = certificate_from_pem(pem)
            name = common_name(certificate.subject)
            key = certificate.public_key()
            constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
            usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        except x509.ExtensionNotFound:
            raise _not_an_authority("it lacks basicConstraints or keyUsage") from None
        except UNPARSABLE:
            raise _not_an_authority("it is not one readable certificate in PEM") from None
        if not constraints.ca or not usage.key_cert_sign:
            raise _not_an_authority("it may not sign certificates (a participant's, not an authority's?)")
        if not is_p256(key):
            raise _not_an_authority("its key is not on the curve P-256")
        der, subject = certificate.public_bytes(serialization.Encoding.DER), certificate.subject
        split = split_signed(der)
        if split is None or certificate.issuer != subject or not is_signed(split, key):
            raise _not_an_authority("it is not signed by its own key with ecdsa-with-SHA256")
        return cls(
            name=name,
            fingerprint=sha256(der).hexdigest(),
            pem=certificate.public_bytes(serialization.Encoding.PEM),
            subject=subject,
            public_key=key,
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
        )

    def check_dates(self, now: datetime) -> None:
        """Raise `authority-expired` or `authority-not-yet-valid` unless the authority itself is in date."""
        if now > self.not_after:
            raise CredentialsError(
                "authority-expired",
                f"the certificate of the authority '{self.name}' expired on {day(self.not_after)}",
                "make a new authority with `secagg certs init` and enrol every participant again",
            )
        if now < self.not_before:
            raise CredentialsError(
                "authority-not-yet-valid",
                f"the certificate of the authority '{self.name}' is valid only from {day(self.not_before)}",
                _CLOCK_HINT,
            )

    def identify(self, certificate_der: bytes, *, role: str | None, now: datetime) -> Identity:
        """Check one certificate (DER) completely and say whose it is.

        `role`: "client" or "server", or None for either. `now`: an aware time.

        Raises:
            CredentialsError: `certificate-malformed`, `certificate-foreign`, `certificate-expired`,
                `certificate-not-yet-valid`, `certificate-role`, `certificate-key`, `certificate-name`,
                `authority-expired`, `authority-not-yet-valid`.
        """
        der = bytes(certificate_der)
        split = split_signed(der)
        if split is None:
            raise _malformed("not one DER certificate, or bytes are left over")
        if not is_signed(split, self.public_key):
            raise CredentialsError(
                "certificate-foreign",
                f"the certificate was not signed by the authority '{self.name}' "
                f"({self.fingerprint[:16]}) with ecdsa-with-SHA256, or was altered afterwards",
                "every participant of a run is enrolled by the same authority; compare the fingerprints "
                "that `secagg certs show` prints",
            )
        try:
            certificate = x509.load_der_x509_certificate(der)
            if certificate.issuer != self.subject:
                raise _malformed("it names another issuer than the authority that signed it")
            name = common_name(certificate.subject)
            self.check_dates(now)
            _check_dates(certificate, name, now)
            _check_leaf(certificate.extensions, name)
            own_role = role_of(certificate.extensions, name)
            key = certificate.public_key()
        except UNPARSABLE:
            raise _malformed("its fields cannot be read") from None
        if role is not None and own_role != role:
            raise CredentialsError(
                "certificate-role",
                f"'{name}' is enrolled as a {own_role} and was used as a {role}",
                f"ask the authority for a certificate with the role {role}",
            )
        if not is_p256(key):
            raise CredentialsError(
                "certificate-key",
                f"the key of '{name}' is not on the curve P-256",
                "make the key with `secagg certs request`",
            )
        return Identity(name, own_role, sha256(der).hexdigest(), key)


def check_name(name: str) -> str:
    """Return `name` if it may name a participant, else raise `certificate-name`."""
    if not _NAME.fullmatch(name):
        raise CredentialsError(
            "certificate-name",
            f"{name[:80]!r} cannot name a participant: expected 1 to 64 of A-Z a-z 0-9 . _ - "
            "beginning with a letter or a digit",
        )
    return name


def key_fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    """SHA-256 of a public key's SubjectPublicKeyInfo, in hex: what two people compare over the telephone."""
    encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return sha256(key.public_bytes(encoding, form)).hexdigest()


def _element(data: bytes, start: int, tag: int) -> tuple[int, int] | None:
    """Where the content of the DER element at `start` begins and ends; None if it is not a `tag`."""
    header = data[start : start + 4]
    if len(header) < 2 or header[0] != tag:
        return None
    length, content = header[1], start + 2
    if length >= 0x80:
        octets = length - 0x80
        if not 1 <= octets <= 2 or len(header) < 2 + octets:
            return None
        length, content = int.from_bytes(header[2 : 2 + octets], "big"), content + octets
        if length < (0x80, 0x100)[octets - 1]:
            return None  # DER: the shortest form
    end = content + length
    return (content, end) if end <= len(data) else None


def split_signed(der: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Signed part, algorithm and signature of a certificate (RFC 5280, 4.1) or a request; None if not DER."""
    if len(der) > MAX_CERTIFICATE_BYTES:
        return None
    whole = _element(der, 0, 0x30)
    body = _element(der, whole[0], 0x30) if whole else None
    algorithm = _element(der, body[1], 0x30) if body else None
    signature = _element(der, algorithm[1], 0x03) if algorithm else None
    if not (whole and body and algorithm and signature) or not whole[1] == signature[1] == len(der):
        return None
    if der[signature[0] : signature[0] + 1] != b"\0":  # unused bits of the bit string
        return None
    return der[whole[0] : body[1]], der[body[1] : algorithm[1]], der[signature[0] + 1 : signature[1]]


def is_signed(split: tuple[bytes, bytes, bytes], key: ec.EllipticCurvePublicKey) -> bool:
    """Whether `key` made the signature in what `split_signed` returned, with ecdsa-with-SHA256."""
    body, algorithm, signature = split
    if algorithm != _ECDSA_WITH_SHA256:
        return False
    try:
        key.verify(signature, body, ECDSA)
    except InvalidSignature:
        return False
    return True


def certificate_from_pem(pem: bytes) -> x509.Certificate:
    """The one certificate in `pem`; a ValueError (or another of `UNPARSABLE`) if there is none or several."""
    certificates = x509.load_pem_x509_certificates(pem)
    if len(certificates) != 1:
        raise ValueError("expected one certificate")
    return certificates[0]


def common_name(subject: x509.Name) -> str:
    """The one common name in `subject`, checked; raises `certificate-name`."""
    names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(names) != 1:
        raise CredentialsError(
            "certificate-name",
            f"expected one common name in the certificate's subject, and {len(names)} came",
        )
    name = names[0].value
    return check_name(name if isinstance(name, str) else repr(name))


def role_of(extensions: x509.Extensions, name: str) -> Role:
    """The one role that `extensions` give `name`; raises `certificate-role`."""
    try:
        usage = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        purposes = []
    else:
        purposes = list(usage)
    for role, purpose in ROLES.items():
        if purposes == [purpose]:
            return role
    raise CredentialsError(
        "certificate-role",
        f"'{name}' has no role: expected clientAuth alone or serverAuth alone as the extended key usage, "
        f"and came {', '.join(purpose.dotted_string for purpose in purposes) or 'none'}",
        "ask for the certificate with `secagg certs request NAME --role client` (or server)",
    )


def is_p256(key: object) -> TypeGuard[ec.EllipticCurvePublicKey]:
    """Whether `key` is a public key on the curve P-256."""
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)


def day(moment: datetime) -> str:
    """A time as messages print it."""
    return moment.strftime("%Y-%m-%d %H:%M UTC")


def _check_dates(certificate: x509.Certificate, name: str, now: datetime) -> None:
    if now > certificate.not_valid_after_utc:
        raise CredentialsError(
            "certificate-expired",
            f"the certificate of '{name}' expired on {day(certificate.not_valid_after_utc)}",
            "let the authority sign the same request again: secagg certs issue request.pem --renew",
        )
    if now < certificate.not_valid_before_utc:
        raise CredentialsError(
            "certificate-not-yet-valid",
            f"the certificate of '{name}' is valid only from {day(certificate.not_valid_before_utc)}",
            _CLOCK_HINT,
        )


def _check_leaf(extensions: x509.Extensions, name: str) -> None:
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.BasicConstraints) and value.ca:
            raise CredentialsError(
                "certificate-role",
                f"'{name}' is an authority, and an authority takes no part in a run",
                "make a certificate for the participant with `secagg certs request`",
            )
        if isinstance(value, x509.KeyUsage) and not value.digital_signature:
            raise CredentialsError("certificate-role", f"the key usage of '{name}' does not allow signing")
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise _malformed(f"its critical extension {extension.oid.dotted_string} is not understood")


def _malformed(what: str) -> CredentialsError:
    return CredentialsError("certificate-malformed", f"the certificate cannot be used: {what}")


def _not_an_authority(what: str) -> CredentialsError:
    return CredentialsError(
        "authority-malformed",
        f"the authority's certificate cannot be used: {what}",
        "take the authority.pem that `secagg certs init` made",
    )
