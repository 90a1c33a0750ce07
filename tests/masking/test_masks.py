"""What a client sends is its vector behind masks that are uniform on the whole ring, and exactly those."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from secagg.encoding.packing import unpack
from secagg.encoding.ring import word
from secagg.masking.client import MaskingClient
from secagg.masking.messages import MaskReply, ShareRequest
from secagg.prg import Ring
from tests.chi_square import looks_uniform
from tests.cohort import CONTEXT, NOW, Cohort, admit_all, credentials, seeded
from tests.vectors import reference


def masked_vectors(cohort: Cohort) -> dict[str, Ring]:
    """What each client sends in `mask`."""
    cohort.run_to("mask")
    return {
        name: unpack(MaskReply.from_bytes(reply).vector, cohort.length, cohort.bits)
        for name, reply in cohort.ask().items()
    }


def same_vector(cohort: Cohort, value: int) -> None:
    """Every client encodes `value` in every coordinate."""
    for vector in cohort.vectors.values():
        vector[:] = value


@pytest.mark.parametrize("bits", [8, 26, 32, 33, 64])
def test_masked_vectors_are_uniform_on_the_whole_ring_whatever_is_behind_them(bits: int) -> None:
    """All clients hold one constant, which fails the test by itself. Certificates are fresh in each run, and
    so are the masks: the bound is passed by chance once in 10^10."""
    cohort = Cohort(4, length=1 << 13, bits=bits)
    same_vector(cohort, 5)
    seen = masked_vectors(cohort)
    for vectors, hidden in ((seen, True), (cohort.vectors, False)):
        for vector in vectors.values():
            whole = vector.astype(np.uint64)
            assert looks_uniform(whole & np.uint64(255), 256) == hidden
            assert looks_uniform(whole >> np.uint64(bits - 8), 256) == hidden
    for one, other in pairwise(seen.values()):
        difference = (one - other) & word(bits).type(2**bits - 1)
        assert looks_uniform(difference & word(bits).type(255), 256)


def test_the_sum_of_fewer_than_all_masked_vectors_is_uniform_too() -> None:
    """One missing vector leaves every pairwise mask with it in the sum, beside the self masks."""
    cohort = Cohort(4, length=1 << 13)
    same_vector(cohort, 5)
    seen = masked_vectors(cohort)
    total = sum(list(seen.values())[1:], start=np.zeros(cohort.length, dtype=word(cohort.bits)))
    assert looks_uniform(total & np.uint32(255), 256)
    everyone = total + seen[cohort.ids[0]]  # pairwise masks cancel; the self masks still hide the sum
    assert looks_uniform(everyone & np.uint32(255), 256)


def test_a_masked_vector_is_the_vector_its_self_mask_and_its_signed_pairwise_masks() -> None:
    """Computed once more from the bytes each client draws first: channel key, mask key, seed."""
    cohort = Cohort(3, length=40, bits=26)
    secrets = {}
    for i, name in enumerate(cohort.ids):
        drawn = seeded(i)
        secrets[name] = [drawn(32) for _ in range(3)]
        cohort.clients[name] = MaskingClient(
            context=CONTEXT,
            policy=cohort.policy,
            bits=cohort.bits,
            vector=cohort.vectors[name],
            credentials=credentials(name),
            admits=admit_all,
            now=NOW,
            random=seeded(i),
        )
    cohort.run_to("share")
    request = ShareRequest.from_bytes(next(iter(cohort.server.requests().values())))
    publics = {entry.id: entry.advertisement.mask_pk for entry in request.roster}
    digests = [
        reference.digest(
            "roster entry",
            entry.id,
            entry.advertisement.channel_pk,
            entry.advertisement.mask_pk,
            entry.advertisement.commitment,
            entry.advertisement.certificate,
        )
        for entry in request.roster
    ]
    root = reference.digest("roster", CONTEXT, *digests)
    context = reference.digest("roster context", CONTEXT, root, 3, request.k, request.t)
    for name, vector in masked_vectors(cohort).items():
        _, private, seed = secrets[name]
        assert reference.public_key(private) == publics[name]
        keys = {reference.hkdf(seed, "self mask", name, context): 1}
        for other in cohort.ids:
            if other != name:
                first, second = sorted((name, other))
                shared = reference.x25519(private, publics[other])
                key = reference.hkdf(
                    shared, "pairwise mask", first, second, publics[first], publics[second], context
                )
                keys[key] = 1 if name == first else -1
        expected = [int(value) for value in cohort.vectors[name]]
        for key, sign in keys.items():
            expected = [
                (value + sign * mask) % 2**26
                for value, mask in zip(expected, reference.words(key, 0, 40, 4), strict=True)
            ]
        assert vector.tolist() == expected
    cohort.run()
    assert np.array_equal(cohort.server.sum().vector, cohort.expected(cohort.ids))


def test_two_attempts_over_the_same_vectors_share_no_mask() -> None:
    one, other = (masked_vectors(Cohort(3, length=200)) for _ in range(2))
    for name in one:
        assert (one[name] == other[name]).mean() < 0.05
