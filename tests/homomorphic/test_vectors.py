"""The library gives the committed known answers of homomorphic summation, and refuses the committed bytes."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pytest

from secagg.credentials import Authority
from secagg.encoding.packing import pack
from secagg.errors import EncodingError, ProtocolError
from secagg.homomorphic import messages
from secagg.homomorphic.cohort import Cohort, Member, verify_entry
from secagg.homomorphic.messages import Advertisement, ConfirmRequest, Entry
from secagg.homomorphic.scheme import scheme_for
from secagg.homomorphic.words import add_words, check_words, pack_words, unpack_words, zero_words
from secagg.membership import signed
from tests.homomorphic.sessions import terms
from tests.vectors import make

KNOWN: dict[str, Any] = make.load("homomorphic.json")
NAMES = ("client-a", "client-b", "client-c")


# -- the scheme and its words -----------------------------------------------------------------------------


@pytest.mark.parametrize("known", KNOWN["schemes"], ids=lambda one: f"{one['kind']}-{one['length']}")
def test_a_plan_has_its_known_scheme(known: dict[str, Any]) -> None:
    scheme = scheme_for(known["kind"], known["max_clients"], known["bits"], known["length"])
    assert {field.name: _plain(getattr(scheme, field.name)) for field in fields(scheme)} == {
        name: value for name, value in known.items() if name not in ("size", "public_key_size", "encoded")
    }
    assert (scheme.size, scheme.public_key_size) == (known["size"], known["public_key_size"])
    assert scheme.encode().hex() == known["encoded"]


def test_words_have_their_known_bytes_and_sum() -> None:
    known = KNOWN["words"]
    primes, count = known["primes"], known["count"]
    for which in ("one", "other", "sum"):
        words = [np.array(vector, dtype=np.uint64) for vector in known[which]["words"]]
        packed = bytes.fromhex(known[which]["packed"])
        assert pack_words(words, primes) == packed
        for vector, prime, expected in zip(unpack_words(packed, primes, count), primes, words, strict=True):
            assert vector.tolist() == expected.tolist()
            assert len(pack(vector, prime.bit_length())) == (count * prime.bit_length() + 7) // 8
    total = zero_words(primes, count)
    for which in ("one", "other"):
        add_words(bytes.fromhex(known[which]["packed"]), primes, total)
    assert [vector.tolist() for vector in total] == known["sum"]["words"]


@pytest.mark.parametrize("case", KNOWN["words"]["refused"], ids=lambda case: case["hex"][:12])
def test_bytes_that_are_no_ciphertext_are_refused(case: dict[str, Any]) -> None:
    with pytest.raises(EncodingError) as refused:
        check_words(bytes.fromhex(case["hex"]), KNOWN["words"]["primes"], KNOWN["words"]["count"])
    assert refused.value.code == case["code"]


# -- the cohort -------------------------------------------------------------------------------------------


def _members() -> list[Member]:
    """As their certificates say; that an advertisement is signed is checked where it is received."""
    enrolled = make.load("enrolled.json")
    authority = Authority.from_pem(enrolled["authority"].encode())
    now = datetime.fromisoformat(enrolled["now"])
    keys = {
        entry["id"]: entry["advertisement"]["channel_pk"]
        for case in KNOWN["accepted"]
        if case["message"] == "KeyRequest"
        for entry in case["fields"]["roster"]
    }
    members = []
    for name in NAMES:
        certificate = bytes.fromhex(enrolled["certificates"][name])
        identity = authority.identify(certificate, role="client", now=now)
        advertisement = Advertisement(bytes.fromhex(keys[name]), certificate, b"")
        members.append(Member(Entry(name, advertisement), identity))
    return members


def test_an_entry_has_its_known_digest() -> None:
    assert [member.digest().hex() for member in _members()] == KNOWN["cohort"]["entries"]


@pytest.mark.parametrize("case", KNOWN["cohort"]["draws"], ids=lambda case: str(case["decryptors"]))
def test_a_roster_draws_its_known_decryptors_and_has_its_known_context(case: dict[str, Any]) -> None:
    drawn = Cohort.of(_members(), terms(), bytes.fromhex(case["base"]))
    assert list(drawn.decryptors) == case["decryptors"]
    assert drawn.context.hex() == case["context"]


def test_the_known_draws_differ() -> None:
    assert len({tuple(case["decryptors"]) for case in KNOWN["cohort"]["draws"]}) > 2


def test_what_is_signed_has_its_known_bytes() -> None:
    known = KNOWN["cohort"]
    drawn = Cohort.of(_members(), terms(), bytes(range(32)))
    public_key = bytes.fromhex(known["public_key"])
    assert drawn.context.hex() == known["context"]
    assert drawn.under(public_key).hex() == known["under"]
    parts = next(case for case in KNOWN["accepted"] if case["message"] == "ConfirmRequest")
    assert ConfirmRequest.from_bytes(bytes.fromhex(parts["hex"])).digest().hex() == known["parts"]
    for one in known["signed"]:
        message = signed(
            one["purpose"], NAMES[0], bytes.fromhex(one["context"]), bytes.fromhex(one["content"])
        )
        assert message.hex() == one["message"]
    assert [one["purpose"] for one in known["signed"]] == [
        "advertise",
        "public key",
        "ciphertext",
        "confirm",
    ]


def test_a_masked_advertisement_of_the_known_answers_is_refused() -> None:
    """The same certificate and context, signed for the other protocol."""
    enrolled = make.load("enrolled.json")
    signature = bytes.fromhex(enrolled["signatures"]["advertise client-a"])
    entry = _members()[0].entry
    advertisement = Advertisement(entry.advertisement.channel_pk, entry.advertisement.certificate, signature)
    with pytest.raises(ProtocolError, match="member-signature"):
        verify_entry(
            Entry(NAMES[0], advertisement),
            bytes(range(32)),
            Authority.from_pem(enrolled["authority"].encode()),
            lambda _: True,
            datetime.fromisoformat(enrolled["now"]),
        )


# -- the wire ---------------------------------------------------------------------------------------------


def _plain(value: object) -> object:
    """A message as JSON would hold it."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return bytes(value).hex() if isinstance(value, bytes | bytearray | memoryview) else value


def _written(message: Any) -> bytes:
    if isinstance(message, messages.UploadReply):
        return message.head() + bytes(message.ciphertext)
    if isinstance(message, messages.OpenReply):
        return message.head() + bytes(message.vector)
    return bytes(message.to_bytes())


@pytest.mark.parametrize("case", KNOWN["accepted"], ids=lambda case: case["message"])
def test_a_message_has_its_known_bytes_and_fields(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["hex"])
    message = getattr(messages, case["message"]).from_bytes(data)
    assert _plain(message) == case["fields"]
    assert _written(message) == data


def test_every_kind_of_message_has_a_known_answer() -> None:
    exported = {name: getattr(messages, name) for name in messages.__all__}
    kinds = {name for name, one in exported.items() if is_dataclass(one) and hasattr(one, "from_bytes")}
    assert {case["message"] for case in KNOWN["accepted"]} == kinds


@pytest.mark.parametrize("case", KNOWN["refused"], ids=lambda case: f"{case['message']}: {case['why']}")
def test_bytes_that_are_no_message_are_refused(case: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError) as refused:
        getattr(messages, case["message"]).from_bytes(bytes.fromhex(case["hex"]))
    assert refused.value.code == case["code"]
