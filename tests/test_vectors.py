"""The library gives the committed known answers, and refuses the committed bytes, to the code."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pytest

from secagg import canonical
from secagg.credentials import Authority
from secagg.encoding.codec import Codec, Settings
from secagg.encoding.packing import pack, unpack
from secagg.encoding.ring import centred, word
from secagg.errors import EncodingError, ProtocolError
from secagg.keys import Agreement, KeyPair, Secret, channel_key, is_low_order
from secagg.masking import graph, keys, messages
from secagg.masking.messages import Advertisement, Entry
from secagg.masking.parameters import Policy, threshold
from secagg.masking.roster import Roster, verify_entry
from secagg.masking.shamir import join, split
from secagg.membership import signed
from secagg.plan import Plan
from secagg.prg import Streams, expand
from secagg.protections import Assignment
from secagg.weights import Layout, digest
from tests.vectors import make, reference
from tests.vectors import messages as wire
from tests.vectors.enrolment import MEMBERS


def test_the_committed_files_are_what_the_second_implementation_writes() -> None:
    written = {path.name: path.read_text(encoding="utf-8") for path in make.FOLDER.iterdir()}
    enrolled = make.load("enrolled.json")
    assert {name: make.text(one) for name, one in make.documents(enrolled).items()} == written


# -- canonical bytes, contexts ------------------------------------------------------------------------


def test_fields_and_digests_have_their_known_bytes() -> None:
    known = make.load("canonical.json")
    for case in known["cases"]:
        values = [
            bytes.fromhex(value) if kind == "hex" else value
            for one in case["fields"]
            for kind, value in one.items()
        ]
        assert canonical.encode(*values).hex() == case["encoded"]
        assert canonical.digest("label", *values).hex() == case["digest"]
    assert len({case["encoded"] for case in known["cases"]}) == len(known["cases"])
    one = known["signed"]
    message = signed(
        one["purpose"], one["signer"], bytes.fromhex(one["context"]), bytes.fromhex(one["content"])
    )
    assert message.hex() == one["message"]


def _policy(known: dict[str, Any]) -> Policy:
    return Policy(**{field.name: known[field.name] for field in fields(Policy)})


def test_the_policy_and_the_model_have_their_known_bytes() -> None:
    known = make.load("contexts.json")
    policy = known["policy"]
    assert _policy(policy).encode(policy["bits"], policy["length"]).hex() == policy["encoded"]
    weights = {
        one["name"]: np.frombuffer(bytes.fromhex(one["bytes"]), np.dtype(one["dtype"]).newbyteorder("<"))
        .reshape(one["shape"])
        .astype(one["dtype"])
        for one in known["weights"]["arrays"]
    }
    assert digest(weights).hex() == known["weights"]["digest"]
    assert digest(dict(reversed(weights.items()))).hex() == known["weights"]["digest"]


def test_an_attempt_has_its_known_context() -> None:
    known = make.load("contexts.json")
    policy = known["policy"]
    plan = Plan.parse(
        f"""
        [run]
        name = "known"
        rounds = 3
        [cohort]
        max_clients = {policy["max_clients"]}
        min_survivors = {policy["min_survivors"]}
        colluders = {policy["colluders"]}
        dropouts = {policy["dropouts"]}
        """
    )
    size = policy["length"] - 2
    codec = Codec(Layout.of({"w": np.zeros(size)}), Settings(policy["max_clients"], precision=2.0**-20))
    assert (codec.bits, codec.length) == (policy["bits"], policy["length"])
    seen = set()
    for case in known["contexts"]:
        assignment = Assignment(
            plan, codec, bytes.fromhex(known["run"]), case["round"], bytes.fromhex(known["task"])
        )
        assert assignment.context(case["attempt"]).hex() == case["context"]
        seen.add(case["context"])
    assert len(seen) == len(known["contexts"])


# -- the generator, keys, shares, the graph -----------------------------------------------------------


def test_the_generator_gives_the_known_streams() -> None:
    known = make.load("prg.json")
    for case in known["streams"]:
        got = expand(bytes.fromhex(case["key"]), 5, f"<u{case['width']}", case["start"])
        assert [str(one) for one in got] == case["words"]


def test_the_cipher_is_that_of_the_nist_example() -> None:
    nist = make.load("prg.json")["nist"]
    start = int(nist["counter"], 16) * 4  # four words of 4 bytes a block
    plain = np.frombuffer(bytes.fromhex(nist["plaintext"]), "<u4")
    stream = expand(bytes.fromhex(nist["key"]), len(plain), "<u4", start)
    assert (plain ^ stream).tobytes().hex() == nist["ciphertext"]


def test_a_masked_vector_has_its_known_bytes() -> None:
    known = make.load("prg.json")["masked"]
    vector = np.array(known["vector"], dtype=word(known["bits"]))
    plus, minus = ([bytes.fromhex(key) for key in known[sign]] for sign in ("plus", "minus"))
    Streams(plus, minus, vector.dtype).add_to(vector)
    assert pack(vector, known["bits"]).hex() == known["packed"]


def test_every_derivation_gives_its_known_key() -> None:
    known = make.load("kdf.json")
    context, seed, share = (bytes.fromhex(known[name]) for name in ("context", "seed", "share"))
    pairs = {name: KeyPair(Secret(bytes.fromhex(known[name]["private"]))) for name in ("alice", "bob")}
    alice, bob = (pairs[name].public for name in ("alice", "bob"))
    assert alice.hex() == known["alice"]["public"]
    assert bob.hex() == known["bob"]["public"]
    shared = Agreement(pairs["alice"].private).shared(bob)
    assert shared == Agreement(pairs["bob"].private).shared(alice) == bytes.fromhex(known["shared"])
    derived = {
        "channel alice bob": channel_key(shared, "alice", "bob", alice, bob, context),
        "channel bob alice": channel_key(shared, "bob", "alice", bob, alice, context),
        "mask": keys.mask_key(shared, ("alice", alice), ("bob", bob), context),
        "self mask alice": keys.self_mask_key(seed, "alice", context),
        "commitment alice": keys.commitment(context, "alice", seed),
        "share digest seed": keys.share_digest("seed", "alice", "bob", share, context),
        "share digest key": keys.share_digest("key", "alice", "bob", share, context),
    }
    assert {name: one.hex() for name, one in derived.items()} == {name: known[name] for name in derived}
    assert len(set(derived.values())) == len(derived)


def test_a_secret_is_split_into_its_known_shares_and_rebuilt_from_them() -> None:
    for case in make.load("shamir.json")["cases"]:
        drawn = bytes.fromhex(case["random"])

        def random(size: int) -> bytes:
            nonlocal drawn
            taken, drawn = drawn[:size], drawn[size:]
            return taken

        expected = {one["x"]: bytes.fromhex(one["share"]) for one in case["shares"]}
        assert split(bytes.fromhex(case["secret"]), case["threshold"], list(expected), random) == expected
        assert drawn == b""
        last = dict(list(expected.items())[-case["threshold"] :])
        assert join(last, case["threshold"]).hex() == case["secret"]


@pytest.mark.parametrize("case", make.load("shamir.json")["refused"], ids=lambda case: case["code"])
def test_shares_that_cannot_be_are_refused(case: dict[str, Any]) -> None:
    shares = {one["x"]: bytes.fromhex(one["share"]) for one in case["shares"]}
    with pytest.raises(ProtocolError) as refused:
        join(shares, case["threshold"])
    assert refused.value.code == case["code"]


def test_the_graph_and_its_permutation_are_the_known_ones() -> None:
    known = make.load("graph.json")
    for case in known["permutations"]:
        assert graph.permutation(bytes.fromhex(case["seed"]), case["n"]) == case["order"]
    for case in known["neighbours"]:
        for position, expected in enumerate(case["of"]):
            got = graph.neighbours(case["n"], case["k"], position, bytes.fromhex(case["seed"]))
            assert list(got) == expected


# -- the encoding -------------------------------------------------------------------------------------


def test_an_update_has_its_known_ring_vector() -> None:
    known = make.load("encoding.json")
    delta = {name: np.array(values, dtype=np.float32) for name, values in known["delta"].items()}
    given = known["settings"]
    settings = Settings(
        **{
            **given,
            "groups": tuple(map(tuple, given["groups"])),
            "ranges": tuple(map(tuple, given["ranges"])),
        }
    )
    codec = Codec(Layout.of(delta), settings)
    encoded = codec.encode(
        delta,
        base=None,
        num_examples=known["num_examples"],
        metrics=known["metrics"],
        seed=bytes.fromhex(known["seed"]),
    )
    assert codec.bits == known["bits"]
    assert centred(encoded.vector, codec.bits).tolist() == known["vector"]
    assert pack(encoded.vector, codec.bits).hex() == known["packed"]
    assert codec.size == len(known["packed"]) // 2
    assert encoded.clipped
    assert not encoded.weight_capped


def test_ring_vectors_have_their_known_packed_bytes() -> None:
    for case in make.load("encoding.json")["packings"]:
        bits = case["bits"]
        vector = np.array([int(value) for value in case["values"]], dtype=word(bits))
        assert pack(vector, bits).hex() == case["packed"]
        assert np.array_equal(unpack(bytes.fromhex(case["packed"]), len(vector), bits), vector)


@pytest.mark.parametrize("case", make.load("encoding.json")["refused"], ids=lambda case: case["hex"])
def test_bytes_that_are_no_ring_vector_are_refused(case: dict[str, Any]) -> None:
    with pytest.raises(EncodingError) as refused:
        unpack(bytes.fromhex(case["hex"]), case["length"], case["bits"])
    assert refused.value.code == case["code"]


# -- the roster ---------------------------------------------------------------------------------------


def _enrolled() -> dict[str, Any]:
    enrolled: dict[str, Any] = make.load("enrolled.json")
    return {
        "authority": Authority.from_pem(enrolled["authority"].encode()),
        "now": datetime.fromisoformat(enrolled["now"]),
        **{
            kind: {name: bytes.fromhex(value) for name, value in enrolled[kind].items()}
            for kind in ("certificates", "signatures")
        },
    }


def _advertisement(name: str, certificate: bytes, signature: bytes) -> Advertisement:
    channel, mask, committed = wire.advertised(name)
    return Advertisement(channel, mask, committed, certificate, signature)


def test_a_roster_has_its_known_root_context_and_seed() -> None:
    known, enrolled = make.load("roster.json"), _enrolled()
    base = bytes.fromhex(known["base"])
    members = [
        verify_entry(
            Entry(
                name,
                _advertisement(
                    name, enrolled["certificates"][name], enrolled["signatures"][f"advertise {name}"]
                ),
            ),
            base,
            enrolled["authority"],
            lambda _: True,
            enrolled["now"],
        )
        for name in MEMBERS
    ]
    assert [member.digest().hex() for member in members] == known["entries"]
    limits = threshold(Policy(max_clients=5, min_survivors=3), len(members))
    assert (limits.n, limits.k, limits.t) == (known["n"], known["k"], known["t"])
    roster = Roster.of(members, limits, base)
    root = canonical.digest("roster", base, *(member.digest() for member in members))
    assert root.hex() == known["root"]
    assert roster.context.hex() == known["context"]
    assert roster.seed.hex() == known["seed"]


def test_the_known_signatures_over_shares_and_survivors_are_accepted() -> None:
    enrolled, context = _enrolled(), bytes.fromhex(make.load("roster.json")["context"])
    identities = {
        name: enrolled["authority"].identify(
            enrolled["certificates"][name], role="client", now=enrolled["now"]
        )
        for name in MEMBERS
    }
    for name in MEMBERS:
        message = signed("confirm", name, context, wire.SURVIVORS)
        assert identities[name].verify(enrolled["signatures"][f"confirm {name}"], message)
        assert not identities[name].verify(enrolled["signatures"][f"advertise {name}"], message)
    _, _, seed_digest, key_digest = wire.envelope_content(context)
    message = signed("shares", "client-a", context, "client-b", seed_digest, key_digest)
    assert identities["client-a"].verify(enrolled["signatures"]["shares client-a"], message)
    assert not identities["client-b"].verify(enrolled["signatures"]["shares client-a"], message)


@pytest.mark.parametrize(
    "case", make.load("roster.json")["refused"], ids=lambda case: f"{case['signature']}-{case['keys']}"
)
def test_an_entry_that_must_not_enter_a_roster_is_refused(case: dict[str, Any]) -> None:
    enrolled = _enrolled()
    channel, mask, committed = wire.advertised("client-b")
    channel, mask = {
        "own": (channel, mask),
        "exchanged": (mask, channel),
        "low-order": (bytes((1, *bytes(31))), mask),
        "repeated-key": (channel, channel),
    }[case["keys"]]
    advertisement = Advertisement(
        channel,
        mask,
        committed,
        enrolled["certificates"][case["certificate"]],
        enrolled["signatures"][f"advertise {case['signature']}"],
    )
    entry = Entry("client-b", advertisement)
    with pytest.raises(ProtocolError) as refused:
        verify_entry(entry, wire.CONTEXT, enrolled["authority"], lambda _: True, enrolled["now"]).claim_keys(
            set()
        )
    assert refused.value.code == case["code"]


# -- the wire -----------------------------------------------------------------------------------------


def _plain(value: object) -> object:
    """A message as JSON would hold it."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return bytes(value).hex() if isinstance(value, bytes | bytearray | memoryview) else value


@pytest.mark.parametrize("case", make.load("messages.json")["accepted"], ids=lambda case: case["message"])
def test_a_message_has_its_known_bytes_and_fields(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["hex"])
    message = getattr(messages, case["message"]).from_bytes(data)
    assert _plain(message) == case["fields"]
    if isinstance(message, messages.MaskReply):
        assert message.head() + bytes(message.vector) == data
    else:
        assert message.to_bytes() == data
    assert messages.stage_of(data) in messages.STAGES


def test_every_kind_of_message_has_a_known_answer() -> None:
    exported = {name: getattr(messages, name) for name in messages.__all__}
    kinds = {name for name, one in exported.items() if is_dataclass(one) and hasattr(one, "from_bytes")}
    assert {case["message"] for case in make.load("messages.json")["accepted"]} == kinds


@pytest.mark.parametrize(
    "case",
    make.load("messages.json")["refused"],
    ids=lambda case: f"{case['message']}: {case['why']}",
)
def test_bytes_that_are_no_message_are_refused(case: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError) as refused:
        getattr(messages, case["message"]).from_bytes(bytes.fromhex(case["hex"]))
    assert refused.value.code == case["code"]


def test_the_known_keys_of_small_order_are_refused() -> None:
    for public in make.load("kdf.json")["low order"]:
        assert not any(reference.x25519(make.ALICE, bytes.fromhex(public)))
        assert is_low_order(bytes.fromhex(public))
