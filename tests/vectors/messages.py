"""The protocol's messages written by hand, for a cohort of three with fixed keys, seeds and shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.vectors.reference import digest, le, polynomial, public_key, signed

CONTEXT = bytes(range(32))
N, K, T, QUORUM = 3, 2, 2, 3
SURVIVORS = bytes([0b111])
STAGE = {"advertise": 0, "share": 1, "mask": 2, "confirm": 3, "reveal": 4}


def private_key(name: str, which: str) -> bytes:
    """A fixed private key; it protects nothing."""
    return digest("known answer", name, which)


def advertised(name: str) -> tuple[bytes, bytes, bytes]:
    """Channel key, mask key, commitment to the self-mask seed."""
    seed = private_key(name, "seed")
    committed = digest("seed commitment", CONTEXT, name, seed)
    return public_key(private_key(name, "channel")), public_key(private_key(name, "mask")), committed


def advertise_message(name: str, channel: bytes, mask: bytes, committed: bytes) -> bytes:
    return signed("advertise", name, CONTEXT, channel, mask, committed)


def member_digest(name: str, certificate: bytes) -> bytes:
    return digest("roster entry", name, *advertised(name), certificate)


def roster_digests(certificates: Sequence[bytes]) -> list[bytes]:
    return [
        member_digest(name, der)
        for name, der in zip(("client-a", "client-b", "client-c"), certificates, strict=True)
    ]


def roster_root(certificates: Sequence[bytes]) -> bytes:
    return digest("roster", CONTEXT, *roster_digests(certificates))


def bound_context(certificates: Sequence[bytes]) -> bytes:
    """ctx2: everything after `advertise` is derived under it."""
    return digest("roster context", CONTEXT, roster_root(certificates), N, K, T)


def envelope_content(context: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """What client-a entrusts to client-b: (seed share, key share, digest of each)."""
    shares = [
        le(polynomial([int.from_bytes(private_key("client-a", which), "little"), slope], 2), 33)
        for which, slope in (("seed", 7), ("mask", 11))
    ]
    digests = [
        digest("share", kind, "client-a", "client-b", share, context)
        for kind, share in zip(("seed", "key"), shares, strict=True)
    ]
    return shares[0], shares[1], digests[0], digests[1]


def u32(value: int) -> bytes:
    return le(value, 4)


def sized(content: bytes) -> bytes:
    return u32(len(content)) + content


def head(stage: str) -> bytes:
    return bytes([1, STAGE[stage]])


def advertisement(name: str, certificate: bytes, signature: bytes) -> tuple[bytes, dict[str, Any]]:
    """The bytes behind the head, and the fields."""
    channel, mask, committed = advertised(name)
    body = channel + mask + committed + sized(certificate) + sized(signature)
    return body, {
        "channel_pk": channel.hex(),
        "mask_pk": mask.hex(),
        "commitment": committed.hex(),
        "certificate": certificate.hex(),
        "signature": signature.hex(),
    }


def every_message(certificates: dict[str, bytes], signatures: dict[str, bytes]) -> list[dict[str, Any]]:
    """One of each kind: its class, its fields, its bytes."""
    names = ("client-a", "client-b", "client-c")
    entries = {
        name: advertisement(name, certificates[name], signatures[f"advertise {name}"]) for name in names
    }
    context = bound_context([certificates[name] for name in names])
    seed_share, key_share, seed_digest, key_digest = envelope_content(context)
    sealed = b"\x05" * 12 + bytes(range(82))
    signature = signatures["shares client-a"]
    envelope = sized(sealed) + seed_digest + key_digest + sized(signature)
    envelope_fields = {
        "ciphertext": sealed.hex(),
        "seed_digest": seed_digest.hex(),
        "key_digest": key_digest.hex(),
        "signature": signature.hex(),
    }
    confirmations = [signatures[f"confirm {name}"] for name in names]
    roster = b"".join(sized(name.encode()) + entries[name][0] for name in names)
    vector = bytes(range(1, 27))

    def message(kind: str, data: bytes, **fields: Any) -> dict[str, Any]:
        return {"message": kind, "fields": fields, "hex": data.hex()}

    return [
        message("AdvertiseRequest", head("advertise") + CONTEXT, context=CONTEXT.hex()),
        message("Advertisement", head("advertise") + entries["client-a"][0], **entries["client-a"][1]),
        message(
            "ShareRequest",
            head("share") + u32(K) + u32(T) + u32(N) + roster,
            k=K,
            t=T,
            roster=[{"id": name, "advertisement": entries[name][1]} for name in names],
        ),
        message("ShareReply", head("share") + u32(0), envelopes=[]),
        message("ShareReply", head("share") + u32(1) + u32(1) + envelope, envelopes=[[1, envelope_fields]]),
        message(
            "MaskRequest",
            head("mask") + u32(2) + u32(0) + envelope + u32(258) + envelope,
            envelopes=[[0, envelope_fields], [258, envelope_fields]],
        ),
        message("MaskReply", head("mask") + u32(0) + vector, failed=[], vector=vector.hex()),
        message(
            "MaskReply",
            head("mask") + u32(2) + u32(1) + u32(70000) + vector,
            failed=[1, 70000],
            vector=vector.hex(),
        ),
        message("ConfirmRequest", head("confirm") + sized(SURVIVORS), survivors=SURVIVORS.hex()),
        message("ConfirmReply", head("confirm") + sized(confirmations[0]), signature=confirmations[0].hex()),
        message(
            "RevealRequest",
            head("reveal")
            + sized(SURVIVORS)
            + u32(N)
            + b"".join(u32(i) + sized(one) for i, one in enumerate(confirmations)),
            survivors=SURVIVORS.hex(),
            confirmations=[[i, one.hex()] for i, one in enumerate(confirmations)],
        ),
        message(
            "RevealReply",
            head("reveal") + u32(2) + u32(0) + b"\x00" + seed_share + u32(2) + b"\x01" + key_share,
            shares=[[0, 0, seed_share.hex()], [2, 1, key_share.hex()]],
        ),
    ]


def refused_messages(accepted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Bytes that no reader takes, and the code each must give."""
    of = {one["message"]: bytes.fromhex(one["hex"]) for one in accepted}
    out: list[dict[str, Any]] = []

    def refuse(kind: str, data: bytes, code: str, why: str) -> None:
        out.append({"message": kind, "why": why, "hex": data.hex(), "code": code})

    for kind, data in of.items():
        refuse(kind, b"", "message-short", "nothing at all")
        refuse(kind, b"\x02" + data[1:], "message-version", "another version")
        refuse(kind, data[:1] + bytes([data[1] ^ 1]) + data[2:], "message-stage", "another stage")
        if kind != "MaskReply":  # whose vector takes all that is left
            refuse(kind, data[:-1], "message-short", "the last byte is missing")
            refuse(kind, data + b"\x00", "message-long", "a byte is left over")
    empty = bytes(32 * 3)
    entry = empty + sized(b"") + sized(b"")
    envelope = sized(b"") + bytes(64) + sized(b"")
    roster = head("share") + u32(K) + u32(T)
    for kind, stage in (("ShareReply", "share"), ("MaskRequest", "mask")):
        twice = u32(2) + u32(1) + envelope + u32(1) + envelope
        refuse(kind, head(stage) + twice, "message-order", "one position twice")
        back = u32(2) + u32(1) + envelope + u32(0) + envelope
        refuse(kind, head(stage) + back, "message-order", "positions that go down")
        long = u32(1) + u32(0) + sized(bytes(257)) + bytes(64) + sized(b"")
        refuse(kind, head(stage) + long, "message-long", "a ciphertext of 257 bytes")
        refuse(kind, head(stage) + u32(2**20 + 1), "message-long", "more entries than any roster has")
    share = bytes(33)
    for data, code, why in (
        (u32(2) + (u32(3) + b"\x00" + share) * 2, "message-order", "two shares of one owner"),
        (u32(1) + u32(0) + b"\x02" + share, "message-share-kind", "a third kind of share"),
        (u32(1) + u32(0) + b"\x01" + share[:-1], "message-short", "a share of 32 bytes"),
    ):
        refuse("RevealReply", head("reveal") + data, code, why)
    confirmation = u32(0) + sized(b"")
    for data, code, why in (
        (sized(b"\x07") + u32(2) + confirmation * 2, "message-order", "one confirmation twice"),
        (sized(b"\x07") + u32(1) + u32(0) + sized(bytes(81)), "message-long", "a signature of 81 bytes"),
        (u32(2**20 + 1), "message-long", "survivors beyond any roster"),
    ):
        refuse("RevealRequest", head("reveal") + data, code, why)
    for data, code, why in (
        (u32(1) + sized(b"\xff") + entry, "message-id", "an id that is not UTF-8"),
        (u32(1) + sized(b"a" * 257) + entry, "message-long", "an id of 257 bytes"),
        (u32(1) + sized(b"a") + empty + sized(bytes(8193)), "message-long", "a certificate of 8193 bytes"),
        (u32(2) + sized(b"a") + entry, "message-short", "one entry of two"),
    ):
        refuse("ShareRequest", roster + data, code, why)
    refuse("MaskReply", head("mask") + u32(2) + u32(4) * 2, "message-order", "one complaint twice")
    refuse("ConfirmReply", head("confirm") + sized(bytes(81)), "message-long", "a signature of 81 bytes")
    return out
