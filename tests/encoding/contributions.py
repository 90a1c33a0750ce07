"""Short ways to a codec, to one client's contribution, and to the sum of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from secagg.encoding.codec import Codec, Decoded, Encoded, Settings
from secagg.encoding.packing import pack, unpack
from secagg.encoding.ring import centred, word
from secagg.prg import Ring
from secagg.weights import Array, Layout

SEED = bytes(range(32))


def codec(arrays: Mapping[str, Array], **settings: Any) -> Codec:
    return Codec(Layout.of(arrays), Settings(**{"max_clients": 10, **settings}))


def encode(
    coder: Codec,
    arrays: Mapping[str, Array],
    num_examples: int = 1,
    metrics: Mapping[str, float] | None = None,
    seed: bytes | int = 0,
    base: Mapping[str, Array] | None = None,
) -> Encoded:
    key = seed if isinstance(seed, bytes) else seed.to_bytes(32, "big")
    return coder.encode(arrays, base=base, num_examples=num_examples, metrics=metrics or {}, seed=key)


def added(coder: Codec, vectors: Sequence[Encoded]) -> Ring:
    """The sum as the server makes it: packed, added word by word, reduced."""
    total = np.zeros(coder.length, dtype=word(coder.bits))
    for one in vectors:
        total += unpack(pack(one.vector, coder.bits), coder.length, coder.bits)
    return total & word(coder.bits).type(2**coder.bits - 1)


def whole(coder: Codec, encoded: Encoded) -> list[int]:
    """The integers of a vector."""
    values: list[int] = centred(encoded.vector, coder.bits).tolist()
    return values


def mean_of(decoded: Decoded) -> dict[str, Array]:
    assert decoded.mean is not None
    return decoded.mean
