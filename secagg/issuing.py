"""The authority's side in files: `secagg certs init`, `request` and `issue`, as functions.

Layout: `authority-key.pem` and `authority.pem` in the authority's folder; `key.pem`, `request.pem` and, once
issued, `certificate.pem` and `authority.pem` in a participant's. No file is overwritten, but for a renewed
certificate, which is replaced at once. A private key's file is made with the mode 0600: whatever the umask,
others can not read it for a moment.

What this is not: something a participant's program imports, or protection for the authority's key, which is
not encrypted: keep it on a machine of its own. The authority must not be run by the server: who can enrol
clients can surround one with clients of its own.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from secagg.certificates import (
    UNPARSABLE,
    Authority,
    Role,
    certificate_from_pem,
    check_name,
    common_name,
    role_of,
)
from secagg.credentials import (
    AUTHORITY,
    AUTHORITY_KEY,
    CERTIFICATE,
    KEY,
    Credentials,
    key_to_pem,
    load_key,
    read,
    read_key,
)
from secagg.enrolment import (
    Requested,
    issue,
    issue_credentials,
    new_authority,
    new_request,
    read_request,
)
from secagg.errors import CredentialsError

__all__ = [
    "REQUEST",
    "issue_credentials",
    "issue_folder",
    "issue_request",
    "new_authority",
    "new_authority_folder",
    "new_request_folder",
]

REQUEST: Final = "request.pem"


def new_authority_folder(
    folder: str | Path, name: str, *, now: datetime | None = None, days: int = 3650
) -> Authority:
    """Make an authority in `folder`: `authority-key.pem` (0600) and `authority.pem`.

    Raises:
        CredentialsError: `certificate-name`, `authority-exists`, `credentials-unwritable`.
    """
    folder = Path(folder)
    check_name(name)
    _refuse_present(
        folder,
        (AUTHORITY_KEY, AUTHORITY),
        "authority-exists",
        "use that authority, or choose another --folder; what it enrolled does not know a new one",
    )
    key, pem = new_authority(name, now=now, days=days)
    _make(folder)
    _create(folder / AUTHORITY_KEY, key_to_pem(key), private=True)
    _create(folder / AUTHORITY, pem)
    return Authority.from_pem(pem)


def new_request_folder(folder: str | Path, name: str, role: Role, hosts: Sequence[str] = ()) -> Requested:
    """Make a key in `folder` (`key.pem`, 0600) and the request for it (`request.pem`).

    Raises:
        CredentialsError: `key-exists`, `credentials-unwritable`, and what `new_request` raises.
    """
    folder = Path(folder)
    key, pem = new_request(name, role, hosts)
    _refuse_present(
        folder,
        (KEY, REQUEST, CERTIFICATE),
        "key-exists",
        "to renew a certificate let the authority sign the same request again "
        "(`secagg certs issue request.pem --renew`); for a new key choose another --folder",
    )
    _make(folder)
    _create(folder / KEY, key_to_pem(key), private=True)
    _create(folder / REQUEST, pem)
    return read_request(pem)


def issue_request(
    request: str | Path,
    authority_folder: str | Path,
    *,
    folder: str | Path | None = None,
    role: Role | None = None,
    renew: bool = False,
    now: datetime | None = None,
    days: int = 365,
) -> x509.Certificate:
    """Sign the request in the file `request`; write `certificate.pem` and `authority.pem` into `folder`.

    `folder`: beside the request if None. `renew`: replace the certificate that is there, if it is of the same
    name, role and key.

    Raises:
        CredentialsError: `certificate-exists`, `authority-differs`, `renewal-mismatch`, `key-permissions`,
            `credentials-missing`, `credentials-unwritable`, and what `issue` raises.
    """
    now = now or datetime.now(UTC)
    request, source = Path(request), Path(authority_folder)
    out = request.parent if folder is None else Path(folder)
    authority = Authority.from_pem(read(source / AUTHORITY))
    authority_key = load_key(read_key(source / AUTHORITY_KEY))
    request_pem = read(request)
    pem = issue(request_pem, authority_key, authority.pem, role=role, now=now, days=days)
    certificate = certificate_from_pem(pem)
    asked = read_request(request_pem)

    present, known = out / CERTIFICATE, out / AUTHORITY
    if os.path.lexists(known) and Authority.from_pem(read(known)) != authority:
        raise CredentialsError(
            "authority-differs",
            f"{known} is the certificate of another authority",
            "choose another --out, or the authority that enrolled this participant",
        )
    if os.path.lexists(present):
        if not renew:
            raise CredentialsError(
                "certificate-exists",
                f"{present} is already there",
                "--renew replaces it; --out writes elsewhere",
            )
        _check_renewal(present, asked)
    _make(out)
    if not os.path.lexists(known):
        _create(known, authority.pem)
    if renew and os.path.lexists(present):
        _replace(present, pem)
    else:
        _create(present, pem)
    return certificate


def issue_folder(
    authority_folder: str | Path,
    folder: str | Path,
    name: str,
    role: Role,
    hosts: Sequence[str] = (),
    *,
    now: datetime | None = None,
    days: int = 365,
) -> Credentials:
    """Request and issue in one go, where authority and participant are on one machine: demos and tests."""
    new_request_folder(folder, name, role, hosts)
    issue_request(Path(folder) / REQUEST, authority_folder, role=role, now=now, days=days)
    return Credentials.load(folder, now)


def _check_renewal(path: Path, asked: Requested) -> None:
    try:
        present = certificate_from_pem(read(path))
        name = common_name(present.subject)
        same = (name, role_of(present.extensions, name)) == (asked.name, asked.role)
        same = same and present.public_key() == asked.public_key
    except UNPARSABLE:
        same = False
    if not same:
        raise CredentialsError(
            "renewal-mismatch",
            f"{path} is not a certificate for the name, role and key of '{asked.name}'s request",
            "--renew takes the request that the present certificate was issued for; --out writes elsewhere",
        )


def _refuse_present(folder: Path, names: Sequence[str], code: str, hint: str) -> None:
    present = [name for name in names if os.path.lexists(folder / name)]
    if present:
        raise CredentialsError(code, f"{folder} already holds {', '.join(present)}", hint)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from None


def _create(path: Path, content: bytes, *, private: bool = False) -> None:
    """Write a file that must not be there yet; a private one is its owner's alone from its first moment."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o644)
    except FileExistsError:
        raise CredentialsError(
            "credentials-exist", f"{path} is already there", "nothing is overwritten; choose another folder"
        ) from None
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        raise _unwritable(path, error) from None


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    _create(draft, content)
    try:
        draft.replace(path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> CredentialsError:
    return CredentialsError("credentials-unwritable", f"{path} cannot be written: {error.strerror}")
