"""A participant's own credentials: its certificate, the authority's, and the private key that signs.

One P-256 key authenticates the TLS connection and signs the protocol's messages, so the party that a client
agrees on keys with is the party the authority enrolled. A key is made where it lives (`secagg certs request`)
and never moves; its protection is its file's mode, 0600, which is checked at every load.

What this is not: a key store, and not the authority's side (`secagg.issuing`), which a participant never
imports. What a certificate must be is in `secagg.certificates`; there is no revocation (see there). Python
cannot promise that a key is erased from memory.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NoReturn

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from secagg.certificates import ECDSA, UNPARSABLE, Authority, Identity, certificate_from_pem, day, is_p256
from secagg.errors import CredentialsError

__all__ = ["AUTHORITY", "AUTHORITY_KEY", "CERTIFICATE", "KEY", "Authority", "Credentials", "Identity"]

CERTIFICATE: Final = "certificate.pem"
KEY: Final = "key.pem"
AUTHORITY: Final = "authority.pem"
AUTHORITY_KEY: Final = "authority-key.pem"
EXPIRY_NOTICE: Final = timedelta(days=30)


class Credentials:
    """One participant's own certificate, the authority's, and the private key, checked to belong together.

    The key shows in no repr, and the object can neither be pickled nor copied. `warnings` are sentences a
    command prints: nothing is wrong yet.
    """

    __slots__ = ("_key", "authority", "certificate", "identity", "warnings")

    def __init__(
        self,
        identity: Identity,
        authority: Authority,
        certificate: x509.Certificate,
        key: ec.EllipticCurvePrivateKey,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.identity: Final = identity
        self.authority: Final = authority
        self.certificate: Final = certificate
        self.warnings: Final = warnings
        self._key: Final = key

    @classmethod
    def load(cls, folder: str | Path, now: datetime | None = None) -> Credentials:
        """Read `certificate.pem`, `key.pem` and `authority.pem` from `folder` and check them.

        Raises:
            CredentialsError: `credentials-missing`, `credentials-unreadable`, `key-permissions`, and what
                `from_pem` raises.
        """
        folder = Path(folder)
        missing = [name for name in (CERTIFICATE, KEY, AUTHORITY) if not os.path.lexists(folder / name)]
        if missing:
            raise CredentialsError(
                "credentials-missing",
                f"{folder} lacks {', '.join(missing)}",
                "make the key with `secagg certs request NAME` on this machine, let the authority sign "
                "request.pem with `secagg certs issue`, and put what it returns beside the key",
            )
        key_pem = read_key(folder / KEY)
        loaded = cls.from_pem(read(folder / CERTIFICATE), key_pem, read(folder / AUTHORITY), now)
        if loaded.identity.role != "server":
            return loaded
        beside = tuple(
            f"an authority's private key lies beside the server's ({path}): whoever runs the server could "
            "enrol clients of its own and surround a real one; move it to a machine the server cannot reach"
            for path in _authority_keys_near(folder)
        )
        return cls(
            loaded.identity, loaded.authority, loaded.certificate, loaded._key, loaded.warnings + beside
        )

    @classmethod
    def from_pem(
        cls, certificate_pem: bytes, key_pem: bytes, authority_pem: bytes, now: datetime | None = None
    ) -> Credentials:
        """The same from memory.

        Raises:
            CredentialsError: `authority-malformed`, `key-malformed`, `key-mismatch`, and what
                `Authority.identify` raises.
        """
        now = now or datetime.now(UTC)
        authority = Authority.from_pem(authority_pem)
        certificate = _certificate(certificate_pem)
        identity = authority.identify(
            certificate.public_bytes(serialization.Encoding.DER), role=None, now=now
        )
        key = load_key(key_pem)
        if key.public_key() != identity.public_key:
            raise CredentialsError(
                "key-mismatch",
                f"the private key is not the one that the certificate of '{identity.name}' was issued for",
                "put the key.pem beside the certificate that `secagg certs request` made with its request",
            )
        warnings = tuple(
            f"the certificate of {whose} expires on {day(end)}; a new one is needed before then"
            for whose, end in (
                (f"'{identity.name}'", certificate.not_valid_after_utc),
                (f"the authority '{authority.name}'", authority.not_after),
            )
            if end - now < EXPIRY_NOTICE
        )
        return cls(identity, authority, certificate, key, warnings)

    @property
    def certificate_der(self) -> bytes:
        """This participant's certificate, DER."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def certificate_pem(self) -> bytes:
        """This participant's certificate, PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def authority_pem(self) -> bytes:
        """The authority's certificate, PEM."""
        return self.authority.pem

    def key_pem(self) -> bytes:
        """The private key (PKCS #8, PEM, not encrypted), for the TLS library."""
        return key_to_pem(self._key)

    def sign(self, message: bytes) -> bytes:
        """ECDSA over P-256 with SHA-256, DER. Not deterministic: keep the bytes if they must be the same."""
        return self._key.sign(message, ECDSA)

    def __repr__(self) -> str:
        who = self.identity
        return f"Credentials(name={who.name!r}, role={who.role!r}, fingerprint={who.fingerprint[:16]!r})"

    def __copy__(self) -> NoReturn:
        raise TypeError("Credentials hold a private key and cannot be copied")

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise TypeError("Credentials hold a private key and cannot be copied")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("Credentials hold a private key and cannot be pickled")


def key_to_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as PKCS #8 PEM, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """A P-256 private key from PEM, or `key-malformed`."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except UNPARSABLE:
        raise CredentialsError(
            "key-malformed",
            "the private key is not an unencrypted key in PEM",
            "make a key with `secagg certs request`; its protection is its file's mode",
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not is_p256(key.public_key()):
        raise CredentialsError(
            "key-malformed",
            "the private key is not on the curve P-256",
            "make a key with `secagg certs request`",
        )
    return key


def read(path: Path) -> bytes:
    """The bytes of a credentials file, or `credentials-missing` or `credentials-unreadable`."""
    return _read(path, private=False)


def read_key(path: Path) -> bytes:
    """The bytes of a private key's file, which only its owner may read (`key-permissions`)."""
    return _read(path, private=True)


def _read(path: Path, *, private: bool) -> bytes:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)  # of the opened file, not of a later one
            if private and mode & 0o077:
                raise CredentialsError(
                    "key-permissions",
                    f"{path} has the mode {mode:04o}: others than its owner can read or change it",
                    f"chmod 600 {path}; if others may have read it, make a new key",
                )
            return file.read()
    except FileNotFoundError:
        raise CredentialsError("credentials-missing", f"{path} is not there") from None
    except OSError as error:
        raise CredentialsError("credentials-unreadable", f"{path} cannot be read: {error.strerror}") from None


def _certificate(pem: bytes) -> x509.Certificate:
    try:
        return certificate_from_pem(pem)
    except UNPARSABLE:
        raise CredentialsError(
            "certificate-malformed",
            f"{CERTIFICATE} is not one readable certificate in PEM",
            "put the certificate.pem that the authority returned beside the key",
        ) from None


def _authority_keys_near(folder: Path) -> Iterator[Path]:
    """Authority keys in `folder`, the folder around it, and the folders beside it, found by file name."""
    around = folder.resolve().parent
    try:
        beside = sorted(around.iterdir())
    except OSError:
        beside = [folder.resolve()]
    for place in (around, *beside):
        key = place / AUTHORITY_KEY
        try:
            if key.is_file():
                yield key
        except OSError:  # a folder that may not be entered: its key is out of reach as well
            continue
