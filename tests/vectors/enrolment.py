"""The one part of the known answers that cannot be made twice: certificates, and what their keys signed.

ECDSA draws a nonce, so `v1/enrolled.json` holds bytes. The private keys are forgotten once everything is
signed: whoever changes what is signed makes all of it anew (`python -m tests.vectors.make --enrol`).
Certificates are made by the library itself; what they are is tested elsewhere.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from secagg.credentials import Credentials
from secagg.enrolment import issue_credentials, new_authority
from tests.vectors import messages as wire
from tests.vectors.reference import le, signed

MEMBERS = ("client-a", "client-b", "client-c")
NOW = datetime(2026, 6, 1, tzinfo=UTC)
_BEGAN = datetime(2025, 1, 1, tzinfo=UTC)
_ISSUED = datetime(2026, 1, 1, tzinfo=UTC)


def enrol() -> dict[str, Any]:
    """The document: certificates of an authority, three clients and some who must be refused; signatures."""
    authority, stranger = new_authority("authority", now=_BEGAN), new_authority("stranger", now=_BEGAN)
    who = {name: issue_credentials(name, "client", authority, now=_ISSUED, days=3000) for name in MEMBERS}
    refused = {
        "expired": issue_credentials("client-b", "client", authority, now=_BEGAN, days=30),
        "early": issue_credentials(
            "client-b", "client", authority, now=datetime(2027, 1, 1, tzinfo=UTC), days=30
        ),
        "server": issue_credentials("client-b", "server", authority, now=_ISSUED, days=3000),
        "foreign": issue_credentials("client-b", "client", stranger, now=_ISSUED, days=3000),
    }
    certificates = {name: one.certificate_der for name, one in {**who, **refused}.items()}
    signatures = {
        f"advertise {name}": one.sign(wire.advertise_message(name, *wire.advertised(name)))
        for name, one in who.items()
    }
    signatures |= {
        f"advertise {why}": one.sign(wire.advertise_message("client-b", *wire.advertised("client-b")))
        for why, one in refused.items()
    }
    signatures |= _more(who, certificates)
    return {
        "about": "Certificates (DER) and ECDSA signatures made once; the keys are gone.",
        "authority": authority[1].decode(),
        "now": NOW.isoformat(),
        "certificates": {name: der.hex() for name, der in certificates.items()},
        "signatures": {name: signature.hex() for name, signature in signatures.items()},
    }


def _more(who: dict[str, Credentials], certificates: dict[str, bytes]) -> dict[str, bytes]:
    context = wire.bound_context([certificates[name] for name in MEMBERS])
    _, _, seed_digest, key_digest = wire.envelope_content(context)
    shares = signed("shares", "client-a", context, "client-b", seed_digest, key_digest)
    channel, mask, committed = wire.advertised("client-b")
    low_order = wire.advertise_message("client-b", le(1, 32), mask, committed)
    elsewhere = signed("advertise", "client-b", bytes(32), channel, mask, committed)
    repeated = wire.advertise_message("client-b", channel, channel, committed)
    return {
        "shares client-a": who["client-a"].sign(shares),
        **{
            f"confirm {name}": one.sign(signed("confirm", name, context, wire.SURVIVORS))
            for name, one in who.items()
        },
        "advertise low-order": who["client-b"].sign(low_order),
        "advertise elsewhere": who["client-b"].sign(elsewhere),
        "advertise repeated-key": who["client-b"].sign(repeated),
    }
