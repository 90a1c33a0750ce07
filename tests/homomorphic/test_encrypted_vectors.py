"""A whole vector's ciphertexts, however many of them are packed together."""

from __future__ import annotations

import numpy as np
import pytest

from secagg.encoding.packing import BLOCK
from secagg.homomorphic.engine import SecretKey
from secagg.homomorphic.scheme import Kind, Scheme, scheme_for
from secagg.homomorphic.words import unpack_words
from secagg.prg import Ring, expand


def _of_blocks(kind: Kind, bits: int, blocks: int, less: int) -> Scheme:
    """For a vector that fills `blocks` ciphertexts but for `less` coordinates."""
    block = scheme_for(kind, 3, bits, 1_000_000).block
    return scheme_for(kind, 3, bits, blocks * block - less)


def _decrypted(key: SecretKey, scheme: Scheme, data: bytearray) -> Ring:
    width = 2 * scheme.degree
    words = unpack_words(data, scheme.primes, scheme.blocks * width)
    blocks = [
        key.decrypt([prime[at * width : (at + 1) * width] for prime in words]) for at in range(scheme.blocks)
    ]
    return np.concatenate(blocks)


@pytest.mark.parametrize("kind", ["bfv", "ckks"])
@pytest.mark.parametrize("bits", [12, 25])
@pytest.mark.parametrize(("packed", "more", "less"), [(0, 1, 1), (1, 0, 0), (1, 1, 7), (2, 3, 1000)])
def test_a_vector_of_any_number_of_blocks_comes_back(
    kind: Kind, bits: int, packed: int, more: int, less: int
) -> None:
    together = BLOCK // (2 * scheme_for(kind, 3, bits, 1_000_000).degree)
    scheme = _of_blocks(kind, bits, packed * together + more, less)
    key, public = SecretKey.fresh(scheme)
    half = 1 << (bits - 1)
    vector = expand(bytes(32), scheme.length, "<u4") % np.uint32(
        half
    )  # no client's is so large; a sum may be
    opened = _decrypted(key, scheme, public.encrypt_vector(vector))
    assert np.array_equal(opened[: scheme.length], vector)
    assert not opened[scheme.length :].any()


def test_the_same_vector_never_has_the_same_ciphertexts_twice() -> None:
    scheme = scheme_for("bfv", 3, 12, 5000)
    _, public = SecretKey.fresh(scheme)
    vector = np.zeros(scheme.length, dtype=np.uint32)
    assert public.encrypt_vector(vector) != public.encrypt_vector(vector)
