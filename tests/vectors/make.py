"""Writes the known answers of wire version 1, `v1/*.json`, from a second implementation (`reference`).

    python -m tests.vectors.make            everything but certificates and signatures, which are kept
    python -m tests.vectors.make --enrol    those too, made anew (`enrolment` says why)

The tests check both ways: that the library gives these answers, and that this script still writes these
files. A known answer that changes means another wire version. Bytes are hex; integers are decimal.
"""

from __future__ import annotations

import hashlib
import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

from tests.vectors import homomorphic
from tests.vectors import messages as wire
from tests.vectors import reference as ref
from tests.vectors.enrolment import MEMBERS, enrol

FOLDER = Path(__file__).parent / "v1"

# RFC 7748, section 6.1.
ALICE = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
BOB = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")


def _typed(value: bytes | str | int | float) -> dict[str, Any]:
    return {"hex": value.hex()} if isinstance(value, bytes) else {type(value).__name__: value}


def canonical() -> dict[str, Any]:
    fields: list[tuple[bytes | str | int | float, ...]] = [
        (),
        ("",),
        ("", ""),
        ("ab", "c"),
        ("a", "bc"),
        ("abc",),
        (b"\x00", b""),
        (0,),
        (2**64 - 1,),
        (-1.5,),
        ("é", b"\xff", 7, 0.1),
        (ref.encode("a", "b"),),
    ]
    return {
        "about": "encode(fields), and digest(label = 'label', fields)",
        "cases": [
            {
                "fields": [_typed(one) for one in case],
                "encoded": ref.encode(*case).hex(),
                "digest": ref.digest("label", *case).hex(),
            }
            for case in fields
        ],
        "signed": {
            "purpose": "confirm",
            "signer": "client-a",
            "context": wire.CONTEXT.hex(),
            "content": wire.SURVIVORS.hex(),
            "message": ref.signed("confirm", "client-a", wire.CONTEXT, wire.SURVIVORS).hex(),
        },
    }


def contexts() -> dict[str, Any]:
    arrays = [
        ("bias", "float64", [], "000000000000f83f"),
        ("empty", "float32", [0, 3], ""),
        ("steps", "int64", [1], "0700000000000000"),
        ("weight", "float32", [1, 2], "0000803f000020c0"),
    ]
    hasher = hashlib.sha256(ref.encode("secagg/v1", "weights", len(arrays)))
    for name, dtype, shape, raw in arrays:
        hasher.update(ref.encode(name, dtype, len(shape), *shape) + bytes.fromhex(raw))
    policy = ref.encode(0.1, 0.2, "malicious", 40, 20, 4, 10, 25, 40)
    run, task = bytes(range(16)), ref.digest("task", "{}", hasher.digest())
    return {
        "about": "the model's digest, the policy's bytes, and the context of an attempt",
        "weights": {
            "arrays": [
                {"name": name, "dtype": dtype, "shape": shape, "bytes": raw}
                for name, dtype, shape, raw in arrays
            ],
            "digest": hasher.hexdigest(),
        },
        "policy": {
            "colluders": 0.1,
            "dropouts": 0.2,
            "adversary": "malicious",
            "sigma": 40,
            "eta": 20,
            "min_survivors": 4,
            "max_clients": 10,
            "bits": 25,
            "length": 40,
            "encoded": policy.hex(),
        },
        "run": run.hex(),
        "task": task.hex(),
        "contexts": [
            {"round": r, "attempt": a, "context": ref.digest("context", run, r, a, policy, task).hex()}
            for r, a in ((1, 1), (1, 2), (2, 1), (300, 7))
        ],
    }


def prg() -> dict[str, Any]:
    keys = [bytes(32), bytes(range(32)), b"\xff" * 32]
    plus, minus, vector = keys[:2], keys[2:], [3, 2**26 - 1, 0, 12345, 1, 2, 2**25]
    masked = [
        value
        + sum(ref.words(key, i, 1, 4)[0] for key in plus)
        - sum(ref.words(key, i, 1, 4)[0] for key in minus)
        for i, value in enumerate(vector)
    ]
    return {
        "about": "AES-256-CTR from a zero counter, in little-endian words of `width` bytes",
        "streams": [
            {
                "key": key.hex(),
                "width": width,
                "start": start,
                "words": [str(word) for word in ref.words(key, start, 5, width)],
            }
            for key in keys
            for width in (4, 8)
            for start in (0, 3, 1_000_001)
        ],
        "nist": {
            "source": "NIST SP 800-38A, F.5.5 (CTR-AES256.Encrypt)",
            "key": "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
            "counter": "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
            "plaintext": "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
            "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710",
            "ciphertext": "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"
            "2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6",
        },
        "masked": {
            "bits": 26,
            "vector": vector,
            "plus": [key.hex() for key in plus],
            "minus": [key.hex() for key in minus],
            "packed": ref.pack(masked, 26).hex(),
        },
    }


def kdf() -> dict[str, Any]:
    alice, bob = ref.public_key(ALICE), ref.public_key(BOB)
    shared, context, seed = ref.x25519(ALICE, bob), wire.CONTEXT, bytes(range(100, 132))
    share = bytes(range(33))
    return {
        "about": "X25519 (RFC 7748, 6.1), then HKDF-SHA-256 without a salt, and digests that hide",
        "alice": {"id": "alice", "private": ALICE.hex(), "public": alice.hex()},
        "bob": {"id": "bob", "private": BOB.hex(), "public": bob.hex()},
        "context": context.hex(),
        "shared": shared.hex(),
        "channel alice bob": ref.hkdf(shared, "channel", "alice", "bob", alice, bob, context).hex(),
        "channel bob alice": ref.hkdf(shared, "channel", "bob", "alice", bob, alice, context).hex(),
        "mask": ref.hkdf(shared, "pairwise mask", "alice", "bob", alice, bob, context).hex(),
        "seed": seed.hex(),
        "self mask alice": ref.hkdf(seed, "self mask", "alice", context).hex(),
        "commitment alice": ref.digest("seed commitment", context, "alice", seed).hex(),
        "share": share.hex(),
        "share digest seed": ref.digest("share", "seed", "alice", "bob", share, context).hex(),
        "share digest key": ref.digest("share", "key", "alice", "bob", share, context).hex(),
        "low order": [
            *(ref.le(value, 32).hex() for value in (0, 1, 2**255 - 20, 2**255 - 19, 2**255 - 18)),
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        ],
    }


def shamir() -> dict[str, Any]:
    def case(about: str, coefficients: list[int], points: list[int], draws: list[int]) -> dict[str, Any]:
        """`coefficients`: the secret first. `draws`: what the random source gives, the highest first."""
        return {
            "about": about,
            "secret": ref.le(coefficients[0], 32).hex(),
            "threshold": len(coefficients),
            "random": b"".join(ref.le(draw, 33) for draw in draws).hex(),
            "shares": [{"x": x, "share": ref.le(ref.polynomial(coefficients, x), 33).hex()} for x in points],
        }

    big = [
        int.from_bytes(ref.digest("known answer", "shamir", i), "little") * 3 % ref.PRIME for i in range(4)
    ]
    big[0] %= 2**256
    top = ref.PRIME - 1
    zero = bytes(33).hex()
    return {
        "about": "values at x of a polynomial modulo 2^256 + 297, in 33 bytes",
        "cases": [
            case("1234 + 166 x + 94 x^2", [1234, 166, 94], [1, 2, 3, 4, 5, 6], [94, 166]),
            case("a threshold of one", [77], [1, 2], []),
            case("the largest of everything", [2**256 - 1, top, top], [1, 2, 65536, 2**20], [top, top]),
            case("large coefficients", big, [1, 2, 3, 10, 1000], big[:0:-1]),
            case("draws outside the field are drawn again", [5, 1], [1, 2], [2**257 - 1, ref.PRIME, 1]),
            case("bits above the field's 257 are dropped", [5, 1], [1, 2], [2**257 + 1]),
        ],
        "refused": [
            {"code": "share-count", "threshold": 2, "shares": [{"x": 1, "share": zero}]},
            {"code": "share-count", "threshold": 0, "shares": []},
            {"code": "share-point", "threshold": 1, "shares": [{"x": 0, "share": zero}]},
            {"code": "share-point", "threshold": 1, "shares": [{"x": ref.PRIME, "share": zero}]},
            {"code": "share-length", "threshold": 1, "shares": [{"x": 1, "share": zero[2:]}]},
            {"code": "share-length", "threshold": 1, "shares": [{"x": 1, "share": zero + "00"}]},
            {
                "code": "share-range",
                "threshold": 1,
                "shares": [{"x": 1, "share": ref.le(ref.PRIME, 33).hex()}],
            },
            {
                "code": "secret-range",
                "threshold": 1,
                "shares": [{"x": 1, "share": ref.le(2**256, 33).hex()}],
            },
        ],
    }


def graph() -> dict[str, Any]:
    seeds = [bytes(32), bytes(range(32))]
    orders = {(seed, n): ref.permutation(seed, n) for seed in seeds for n in (1, 2, 3, 10, 70)}
    return {
        "about": "Fisher-Yates from the PRG's 64-bit words, and the ring of k / 2 neighbours on either side",
        "permutations": [{"seed": seed.hex(), "n": n, "order": order} for (seed, n), order in orders.items()],
        "neighbours": [
            {
                "seed": seed.hex(),
                "n": n,
                "k": k,
                "of": [
                    sorted(b for a, b in ref.ring_edges(orders[seed, n], k) if a == one) for one in range(n)
                ],
            }
            for seed in seeds
            for n, k in ((10, 4), (70, 8))
        ],
    }


def encoding() -> dict[str, Any]:
    """Deltas that are exact in binary, so that a second computation in fractions is the same to the bit."""
    seed, scale, max_examples, examples, clients = bytes(range(1, 33)), 2**10, 64, 16, 10
    # Sorted by name; "head" has a norm of its own (2.5 against 1.25, a factor of 1/2), the rest is inside.
    model = [
        *(Fraction(v) / 2 for v in (Fraction(3, 2), Fraction(-2))),
        *(Fraction(v, 4096) for v in (1, -1, 6, 0)),
    ]
    share = Fraction(examples, max_examples)
    exact = [value * share * scale for value in model]
    # Where each metric is in its range; the first, that an update was clipped, is always there.
    positions = [Fraction(1), Fraction(1365, 8192), Fraction(2049, 4096), Fraction(2731, 8192)]
    exact += [position * share * scale for position in positions]
    exact.append(Fraction(examples))
    words = ref.words(seed, 0, len(exact), 4)
    vector = [ref.rounded(value, word) for value, word in zip(exact, words, strict=True)]
    bits = ref.ring_bits(clients, 2 * scale)  # the rest's norm is 2
    return {
        "about": "clip, weight, scale, round, two's complement, pack",
        "settings": {
            "max_clients": clients,
            "clip_norm": 2.0,
            "precision": 2.0**-10,
            "groups": [["head*", 1.25]],
            "ranges": [["loss", 0.0, 8.0], ["accuracy", 0.0, 1.0], ["score", -1.0, 1.0]],
            "by_examples": True,
            "max_examples": max_examples,
        },
        "delta": {"head": [1.5, -2.0], "tail": [[1 / 4096, -1 / 4096], [6 / 4096, 0.0]]},
        "num_examples": examples,
        "metrics": {"loss": 1365 / 1024, "accuracy": 2049 / 4096, "score": 2731 / 4096 - 1},
        "seed": seed.hex(),
        "bits": bits,
        "vector": vector,
        "packed": ref.pack(vector, bits).hex(),
        "packings": [
            {"bits": b, "values": [str(v) for v in values], "packed": ref.pack(values, b).hex()}
            for b in (8, 13, 26, 32, 33, 64)
            for values in ([], [1], [2**b - 1, 0, 2**b - 2], [(i * i * 2654435761) % 2**b for i in range(67)])
        ],
        "refused": [
            {"code": "vector-length", "bits": 13, "length": 3, "hex": "00" * 4},
            {"code": "vector-length", "bits": 13, "length": 3, "hex": "00" * 6},
            {"code": "vector-length", "bits": 8, "length": 0, "hex": "00"},
            {"code": "vector-outside-ring", "bits": 13, "length": 3, "hex": "0000000080"},
            {"code": "vector-outside-ring", "bits": 9, "length": 1, "hex": "0002"},
        ],
    }


def _enrolled_bytes(enrolled: dict[str, Any], kind: str) -> dict[str, bytes]:
    return {name: bytes.fromhex(value) for name, value in enrolled[kind].items()}


def roster(enrolled: dict[str, Any]) -> dict[str, Any]:
    certificates = _enrolled_bytes(enrolled, "certificates")
    ders = [certificates[name] for name in MEMBERS]
    digests = wire.roster_digests(ders)
    return {
        "about": "the digests of three entries, the roster's root, the context it makes, the graph's seed",
        "base": wire.CONTEXT.hex(),
        "n": wire.N,
        "k": wire.K,
        "t": wire.T,
        "entries": [one.hex() for one in digests],
        "root": wire.roster_root(ders).hex(),
        "context": wire.bound_context(ders).hex(),
        "seed": ref.digest("graph", wire.CONTEXT, *sorted(digests)).hex(),
        "refused": [
            {"code": code, "signature": signature, "certificate": certificate, "keys": keys}
            for code, signature, certificate, keys in (
                ("member-certificate", "expired", "expired", "own"),
                ("member-certificate", "early", "early", "own"),
                ("member-certificate", "server", "server", "own"),
                ("member-certificate", "foreign", "foreign", "own"),
                ("member-id", "client-a", "client-a", "own"),
                ("member-signature", "client-a", "client-b", "own"),
                ("member-signature", "elsewhere", "client-b", "own"),
                ("member-signature", "client-b", "client-b", "exchanged"),
                ("key-low-order", "low-order", "client-b", "low-order"),
                ("key-repeated", "repeated-key", "client-b", "repeated-key"),
            )
        ],
    }


def messages(enrolled: dict[str, Any]) -> dict[str, Any]:
    certificates = _enrolled_bytes(enrolled, "certificates")
    accepted = wire.every_message(certificates, _enrolled_bytes(enrolled, "signatures"))
    return {
        "about": "every message, its fields and its bytes; and bytes that are refused, with the code",
        "accepted": accepted,
        "refused": wire.refused_messages(accepted),
    }


def documents(enrolled: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """File name -> content."""
    return {
        "canonical.json": canonical(),
        "contexts.json": contexts(),
        "prg.json": prg(),
        "kdf.json": kdf(),
        "shamir.json": shamir(),
        "graph.json": graph(),
        "encoding.json": encoding(),
        "enrolled.json": enrolled,
        "roster.json": roster(enrolled),
        "messages.json": messages(enrolled),
        "homomorphic.json": homomorphic.document(
            _enrolled_bytes(enrolled, "certificates"), _enrolled_bytes(enrolled, "signatures")
        ),
    }


def text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def load(name: str) -> Any:
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


if __name__ == "__main__":
    made = enrol() if "--enrol" in sys.argv[1:] else load("enrolled.json")
    for name, document in documents(made).items():
        (FOLDER / name).write_text(text(document), encoding="utf-8")
