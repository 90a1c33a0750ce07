"""`secagg certs`: make an authority, ask for a certificate, issue it, show it.

Thin: each command calls one function of `secagg.issuing` or `secagg.credentials` and prints what came of it,
plain lines for people or, with `--json`, one object for machines. Errors go through to the command above.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import click
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from secagg.certificates import Authority, Role, common_name, day, is_p256, key_fingerprint, role_of
from secagg.credentials import AUTHORITY, AUTHORITY_KEY, CERTIFICATE, KEY, Credentials, read
from secagg.issuing import REQUEST, issue_request, new_authority_folder, new_request_folder

__all__ = ["certs"]

Fact = str | datetime | list[str]
Facts = dict[str, Fact]

_ROLE = click.Choice(["client", "server"])
_DAYS = click.IntRange(1, 36500)
_FOLDER = click.Path(path_type=Path)
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group()
def certs() -> None:
    """Certificates: who may take part in a run, and as what.

    A key is made where it lives and never moves: `request` on the participant's machine, `issue` on the
    authority's. There is no revocation: a certificate holds until it expires.
    """


@certs.command()
@click.option("--folder", type=_FOLDER, default=Path("certs/authority"), show_default=True)
@click.option("--name", default="authority", show_default=True, help="The authority's name.")
@click.option("--days", type=_DAYS, default=3650, show_default=True, help="How long it is valid.")
@_json
def init(folder: Path, name: str, days: int, as_json: bool) -> None:
    """Make an authority: the one who says who takes part. Not on the server's machine."""
    authority = new_authority_folder(folder, name, days=days)
    facts = _about_authority(authority) | {
        "private key": str(folder / AUTHORITY_KEY),
        "certificate": str(folder / AUTHORITY),
    }
    _print(
        facts,
        as_json,
        next_step=f"keep {AUTHORITY_KEY} where the server cannot read it; whoever has it can enrol anyone",
    )


@certs.command()
@click.argument("name")
@click.option("--role", type=_ROLE, default="client", show_default=True)
@click.option(
    "--host",
    "hosts",
    multiple=True,
    help="A DNS name or IP address that clients dial a server by; repeat for more. "
    "[default for a server: localhost, 127.0.0.1, ::1]",
)
@click.option("--folder", type=_FOLDER, help="[default: certs/NAME]")
@_json
def request(name: str, role: Role, hosts: tuple[str, ...], folder: Path | None, as_json: bool) -> None:
    """Make a key here, and the request for its certificate."""
    folder = folder or Path("certs") / name
    asked = new_request_folder(folder, name, role, hosts)
    facts: Facts = {
        "name": asked.name,
        "role": asked.role,
        "hosts": list(asked.hosts),
        "key fingerprint": asked.key_fingerprint,
        "private key": str(folder / KEY),
        "request": str(folder / REQUEST),
    }
    _print(
        facts,
        as_json,
        next_step=f"send {folder / REQUEST} to the authority and tell it the key fingerprint by another way; "
        f"the key stays here",
    )


@certs.command()
@click.argument("request", type=_FOLDER)
@click.option(
    "--authority",
    type=_FOLDER,
    default=Path("certs/authority"),
    show_default=True,
    help="The authority's folder.",
)
@click.option("--days", type=_DAYS, default=365, show_default=True, help="How long it is valid.")
@click.option("--role", type=_ROLE, help="Refuse a request for another role.")
@click.option("--out", type=_FOLDER, help="Where to write. [default: beside the request]")
@click.option("--renew", is_flag=True, help="Replace the certificate that is there.")
@_json
def issue(
    request: Path,
    authority: Path,
    days: int,
    role: Role | None,
    out: Path | None,
    renew: bool,
    as_json: bool,
) -> None:
    """Sign REQUEST: its maker becomes a participant, in the role it asks for."""
    certificate = issue_request(request, authority, folder=out, role=role, renew=renew, days=days)
    folder = out or request.parent
    facts = _about_certificate(certificate) | {
        "certificate": str(folder / CERTIFICATE),
        "authority": str(folder / AUTHORITY),
    }
    _print(
        facts,
        as_json,
        next_step=f"compare the key fingerprint with the participant's; {CERTIFICATE} and {AUTHORITY} "
        f"belong beside its {KEY}",
    )


@certs.command()
@click.argument("folder", type=_FOLDER, default=Path())
@_json
def show(folder: Path, as_json: bool) -> None:
    """Check the credentials in FOLDER (or an authority's folder) and say whose they are."""
    if os.path.lexists(folder / AUTHORITY) and not os.path.lexists(folder / CERTIFICATE):
        authority = Authority.from_pem(read(folder / AUTHORITY))
        authority.check_dates(datetime.now(UTC))
        _print(_about_authority(authority), as_json)
        return
    credentials = Credentials.load(folder)
    facts = _about_certificate(credentials.certificate) | {
        "authority": credentials.authority.name,
        "authority fingerprint": credentials.authority.fingerprint,
        "warnings": list(credentials.warnings),
    }
    _print(facts, as_json)


def _about_certificate(certificate: x509.Certificate) -> Facts:
    key, extensions = certificate.public_key(), certificate.extensions
    name = common_name(certificate.subject)
    hosts: list[str] = []
    with suppress(x509.ExtensionNotFound):
        hosts = [
            str(host.value) for host in extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        ]
    return {
        "name": name,
        "role": role_of(extensions, name),
        "hosts": hosts,
        "fingerprint": certificate.fingerprint(hashes.SHA256()).hex(),
        "key fingerprint": key_fingerprint(key) if is_p256(key) else "",
        "valid from": certificate.not_valid_before_utc,
        "valid until": certificate.not_valid_after_utc,
    }


def _about_authority(authority: Authority) -> Facts:
    return {
        "name": authority.name,
        "role": "authority",
        "fingerprint": authority.fingerprint,
        "valid from": authority.not_before,
        "valid until": authority.not_after,
    }


def _print(facts: Facts, as_json: bool, *, next_step: str = "") -> None:
    if as_json:
        click.echo(json.dumps({key.replace(" ", "_"): fact for key, fact in facts.items()}, default=_iso))
        return
    warnings = facts.pop("warnings", [])
    width = max(map(len, facts))
    for key, fact in facts.items():
        click.echo(f"{key:<{width}}  {_text(fact)}")
    for warning in warnings if isinstance(warnings, list) else ():
        click.echo(f"warning: {warning}", err=True)
    if next_step:
        click.echo(f"\nnext: {next_step}")


def _iso(moment: datetime) -> str:
    return moment.isoformat()


def _text(fact: Fact) -> str:
    if isinstance(fact, datetime):
        return day(fact)
    return fact if isinstance(fact, str) else ", ".join(fact) or "-"
