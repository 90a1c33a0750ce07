"""The known answers of homomorphic summation: schemes, words, the draw, and its messages written by hand.

The members, certificates and signatures over advertisements are those of the masked protocol's answers; what
a message carries as a signature needs no meaning here, where only its place is known. Ciphertexts are not
among the answers: SEAL draws its randomness from the operating system.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from tests.vectors.messages import CONTEXT, N, private_key, sized, u32
from tests.vectors.reference import digest, encode, pack, public_key, signed

NAMES = ("client-a", "client-b", "client-c")
STAGE = {"advertise": 0, "key": 1, "upload": 2, "confirm": 3, "fetch": 4, "open": 5}
BULK = ("UploadReply", "FetchRequest", "OpenRequest", "OpenReply")
"""Messages that end with whatever is left."""

PUBLIC_KEY = bytes(range(7, 47))

SCHEMES: tuple[dict[str, Any], ...] = (
    {
        "kind": "bfv",
        "max_clients": 10,
        "bits": 25,
        "length": 40,
        "degree": 4096,
        "primes": (274877816833,),
        "special": 1152921504606830593,
        "plain_modulus": 33710081,
        "scale": 0,
        "per_slot": 1,
    },
    {
        "kind": "bfv",
        "max_clients": 100,
        "bits": 25,
        "length": 1000003,
        "degree": 4096,
        "primes": (4294828033, 4294729729),
        "special": 35184371884033,
        "plain_modulus": 1125899940413441,
        "scale": 0,
        "per_slot": 2,
    },
    {
        "kind": "bfv",
        "max_clients": 100,
        "bits": 29,
        "length": 1000003,
        "degree": 4096,
        "primes": (68719403009, 68719230977),
        "special": 137438822401,
        "plain_modulus": 288230376688607233,
        "scale": 0,
        "per_slot": 2,
    },
    {
        "kind": "ckks",
        "max_clients": 10,
        "bits": 20,
        "length": 40,
        "degree": 4096,
        "primes": (1099511480321,),
        "special": 1152921504606830593,
        "plain_modulus": 0,
        "scale": 741453,
        "per_slot": 2,
    },
    {
        "kind": "ckks",
        "max_clients": 100,
        "bits": 20,
        "length": 1000003,
        "degree": 4096,
        "primes": (4398046486529,),
        "special": 1152921504606830593,
        "plain_modulus": 0,
        "scale": 2965815,
        "per_slot": 2,
    },
)
"""What every side must choose for a largest cohort, a ring and a length."""


def head(stage: str) -> bytes:
    return bytes([1, STAGE[stage]])


# -- the scheme and its words -------------------------------------------------------------------------


def scheme_bytes(scheme: dict[str, Any]) -> bytes:
    return encode(
        scheme["kind"],
        *(scheme[name] for name in ("max_clients", "bits", "length", "degree")),
        len(scheme["primes"]),
        *scheme["primes"],
        *(scheme[name] for name in ("special", "plain_modulus", "scale", "per_slot")),
    )


def scheme_sizes(scheme: dict[str, Any]) -> dict[str, int]:
    """Bytes of a vector and of a public key: two polynomials modulo each prime, at the prime's bits."""
    block = scheme["degree"] * scheme["per_slot"] // (2 if scheme["kind"] == "ckks" else 1)
    blocks = (scheme["length"] + block - 1) // block
    bits = [prime.bit_length() for prime in scheme["primes"]]
    return {
        "size": blocks * sum(2 * scheme["degree"] * width // 8 for width in bits),
        "public_key_size": sum(
            2 * scheme["degree"] * width // 8 for width in (*bits, scheme["special"].bit_length())
        ),
    }


def words() -> dict[str, Any]:
    primes = (12289, 40961)
    one = [[0, 1, 12288, 6144, 77], [40960, 0, 3, 20480, 1234]]
    other = [[5, 12288, 12288, 6145, 1], [1, 0, 40960, 20481, 4321]]
    total = [
        [(a + b) % prime for a, b in zip(left, right, strict=True)]
        for left, right, prime in zip(one, other, primes, strict=True)
    ]

    def packed(vectors: Sequence[Sequence[int]]) -> str:
        return b"".join(
            pack(vector, prime.bit_length()) for vector, prime in zip(vectors, primes, strict=True)
        ).hex()

    return {
        "primes": list(primes),
        "count": len(one[0]),
        "one": {"words": one, "packed": packed(one)},
        "other": {"words": other, "packed": packed(other)},
        "sum": {"words": total, "packed": packed(total)},
        "refused": [
            {"code": "ciphertext-length", "hex": packed(one)[2:]},
            {"code": "ciphertext-length", "hex": packed(one) + "00"},
            {"code": "ciphertext-length", "hex": ""},
            {"code": "ciphertext-outside-ring", "hex": packed([[12289, *one[0][1:]], one[1]])},
            {"code": "ciphertext-outside-ring", "hex": packed([one[0], [*one[1][:-1], 40961]])},
        ],
    }


# -- the cohort -----------------------------------------------------------------------------------------


def channel_key(name: str) -> bytes:
    return public_key(private_key(name, "channel"))


def entry_digest(name: str, certificate: bytes) -> bytes:
    return digest("roster entry", name, channel_key(name), certificate)


def drawn(context: bytes, certificates: dict[str, bytes]) -> tuple[bytes, list[int], bytes]:
    """The roster's root, the decryptors in the order they are drawn, and the context that binds both."""
    entries = [entry_digest(name, certificates[name]) for name in NAMES]
    root = digest("roster", context, *entries)
    order = sorted(range(N), key=lambda position: digest("decryptor", root, position))
    return root, order, digest("roster context", context, root, N, *order)


def cohort(certificates: dict[str, bytes]) -> dict[str, Any]:
    draws = []
    for number in range(6):
        context = digest("known answer", "attempt", number)
        root, order, bound = drawn(context, certificates)
        draws.append({"base": context.hex(), "root": root.hex(), "decryptors": order, "context": bound.hex()})
    _, _, bound = drawn(CONTEXT, certificates)
    under = digest("homomorphic key", bound, PUBLIC_KEY)
    parts = known_parts()
    chosen = hashlib.sha256(confirm_request(parts)).digest()
    ciphertext = hashlib.sha256(b"ciphertext").digest()
    return {
        "entries": [entry_digest(name, certificates[name]).hex() for name in NAMES],
        "draws": draws,
        "context": bound.hex(),
        "public_key": PUBLIC_KEY.hex(),
        "under": under.hex(),
        "parts": chosen.hex(),
        "signed": [
            {"purpose": purpose, "context": context.hex(), "content": what.hex(), "message": message.hex()}
            for purpose, context, what in (
                ("advertise", CONTEXT, channel_key("client-a")),
                ("public key", bound, PUBLIC_KEY),
                ("ciphertext", under, ciphertext),
                ("confirm", under, chosen),
            )
            for message in [signed(purpose, "client-a", context, what)]
        ],
    }


# -- messages -------------------------------------------------------------------------------------------


def known_parts() -> list[tuple[int, bytes, bytes]]:
    """Position, digest of the ciphertext, signature."""
    return [(at, digest("known answer", "ciphertext", at), bytes([at % 256 + 1]) * 70) for at in (0, 2, 258)]


def confirm_request(parts: Sequence[tuple[int, bytes, bytes]]) -> bytes:
    return (
        head("confirm")
        + u32(len(parts))
        + b"".join(u32(at) for at, _, _ in parts)
        + b"".join(part + sized(signature) for _, part, signature in parts)
    )


def every_message(certificates: dict[str, bytes], signatures: dict[str, bytes]) -> list[dict[str, Any]]:
    """One of each kind: its class, its fields, its bytes."""
    entries = {}
    for name in NAMES:
        fields = (channel_key(name), certificates[name], signatures[f"advertise {name}"])
        entries[name] = (
            fields[0] + sized(fields[1]) + sized(fields[2]),
            dict(zip(("channel_pk", "certificate", "signature"), (one.hex() for one in fields), strict=True)),
        )
    roster = u32(N) + b"".join(sized(name.encode()) + entries[name][0] for name in NAMES)
    roster_fields = [{"id": name, "advertisement": entries[name][1]} for name in NAMES]
    signature, sealed, bulk = b"\x11" * 71, b"\x05" * 12 + bytes(range(40)), bytes(range(1, 27))
    parts = known_parts()
    confirmations = [(0, b"\x21" * 70), (2, b"\x22" * 72)]

    def message(kind: str, data: bytes, **fields: Any) -> dict[str, Any]:
        return {"message": kind, "fields": fields, "hex": data.hex()}

    def opening(survivors: list[int], signed_by: list[tuple[int, bytes]], rest: bytes) -> bytes:
        return (
            head("open")
            + u32(len(survivors))
            + b"".join(map(u32, survivors))
            + u32(len(signed_by))
            + b"".join(u32(at) for at, _ in signed_by)
            + b"".join(sized(one) for _, one in signed_by)
            + rest
        )

    def upload(holder: bytes) -> bytes:
        return head("upload") + roster + sized(PUBLIC_KEY) + sized(signature) + sized(holder)

    common = {"roster": roster_fields, "public_key": PUBLIC_KEY.hex(), "signature": signature.hex()}
    return [
        message("AdvertiseRequest", head("advertise") + CONTEXT, context=CONTEXT.hex()),
        message("Advertisement", head("advertise") + entries["client-a"][0], **entries["client-a"][1]),
        message("KeyRequest", head("key") + roster, roster=roster_fields),
        message(
            "KeyReply",
            head("key")
            + sized(PUBLIC_KEY)
            + sized(signature)
            + u32(2)
            + u32(1)
            + u32(70000)
            + sized(sealed)
            + sized(sealed[:13]),
            public_key=PUBLIC_KEY.hex(),
            signature=signature.hex(),
            sealed=[[1, sealed.hex()], [70000, sealed[:13].hex()]],
        ),
        message("UploadRequest", upload(b""), **common, sealed=""),
        message("UploadRequest", upload(sealed), **common, sealed=sealed.hex()),
        message(
            "UploadReply",
            head("upload") + sized(signature) + bulk,
            signature=signature.hex(),
            ciphertext=bulk.hex(),
        ),
        message(
            "ConfirmRequest",
            confirm_request(parts),
            parts=[{"position": at, "digest": part.hex(), "signature": one.hex()} for at, part, one in parts],
        ),
        message("ConfirmReply", head("confirm") + sized(signature), signature=signature.hex()),
        message("FetchRequest", head("fetch") + u32(258) + bulk, position=258, ciphertext=bulk.hex()),
        message("FetchReply", head("fetch") + u32(258), position=258),
        message(
            "OpenRequest",
            opening([0, 1, 2], [], bulk),
            survivors=[0, 1, 2],
            confirmations=[],
            ciphertext=bulk.hex(),
        ),
        message(
            "OpenRequest",
            opening([0, 2, 258], confirmations, b""),
            survivors=[0, 2, 258],
            confirmations=[[at, one.hex()] for at, one in confirmations],
            ciphertext="",
        ),
        message("OpenReply", head("open") + bulk, vector=bulk.hex()),
    ]


def refused_messages(accepted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Bytes that no reader takes, and the code each must give."""
    out: list[dict[str, Any]] = []

    def refuse(kind: str, data: bytes, code: str, why: str) -> None:
        out.append({"message": kind, "why": why, "hex": data.hex(), "code": code})

    for kind, data in {one["message"]: bytes.fromhex(one["hex"]) for one in accepted}.items():
        refuse(kind, b"", "message-short", "nothing at all")
        refuse(kind, b"\x02" + data[1:], "message-version", "another version")
        refuse(kind, data[:1] + bytes([data[1] ^ 1]) + data[2:], "message-stage", "another stage")
        if kind not in BULK:
            refuse(kind, data[:-1], "message-short", "the last byte is missing")
            refuse(kind, data + b"\x00", "message-long", "a byte is left over")
    entry = bytes(32) + sized(b"") + sized(b"")
    part = bytes(32) + sized(b"")
    key = sized(b"") + sized(b"")
    for kind, stage, data, code, why in (
        ("KeyRequest", "key", u32(1) + sized(b"\xff") + entry, "message-id", "an id that is not UTF-8"),
        ("KeyRequest", "key", u32(1) + sized(b"a" * 257) + entry, "message-long", "an id of 257 bytes"),
        ("KeyRequest", "key", u32(2) + sized(b"a") + entry, "message-short", "one entry of two"),
        ("KeyRequest", "key", u32(2**20 + 1), "message-long", "more entries than any roster has"),
        ("KeyReply", "key", key + u32(2) + u32(1) * 2 + sized(b"") * 2, "message-order", "one holder twice"),
        ("KeyReply", "key", u32(2**20 + 1), "message-long", "a key of more than a megabyte"),
        ("KeyReply", "key", sized(b"") + sized(bytes(81)), "message-long", "a signature of 81 bytes"),
        ("UploadReply", "upload", sized(bytes(81)), "message-long", "a signature of 81 bytes"),
        ("ConfirmRequest", "confirm", u32(2) + u32(1) * 2 + part * 2, "message-order", "one part twice"),
        (
            "ConfirmRequest",
            "confirm",
            u32(2) + u32(1) + u32(0) + part * 2,
            "message-order",
            "parts that go down",
        ),
        ("FetchRequest", "fetch", b"\x01\x00\x00", "message-short", "a position of three bytes"),
        ("OpenRequest", "open", u32(2) + u32(4) * 2 + u32(0), "message-order", "one survivor twice"),
        ("OpenRequest", "open", u32(0) + u32(2) + u32(4) * 2, "message-order", "one confirmation twice"),
        ("OpenRequest", "open", u32(1) + u32(0), "message-short", "survivors without confirmations"),
    ):
        refuse(kind, head(stage) + data, code, why)
    return out


def document(certificates: dict[str, bytes], signatures: dict[str, bytes]) -> dict[str, Any]:
    accepted = every_message(certificates, signatures)
    return {
        "about": "homomorphic summation: the parameters, the words, the draw, every message; what is refused",
        "schemes": [{**one, **scheme_sizes(one), "encoded": scheme_bytes(one).hex()} for one in SCHEMES],
        "words": words(),
        "cohort": cohort(certificates),
        "accepted": accepted,
        "refused": refused_messages(accepted),
    }
