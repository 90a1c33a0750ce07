"""Key recovery from CKKS decryptions: it works on raw ones, and has nothing to work on in what leaves.

Li and Micciancio (2021, ePrint 2020/1533, section 3): a decryption as CKKS makes it is m' = c0 + c1 s, the
message and its error in one. Whoever has the ciphertext and m' solves for s, word by word when transformed.
Decoding to floating-point slots hides nothing: encoding them again at the same scale, and rounding, gives m'.

A decryptor gives the exact integers only: m without the error. Then c0 + c1 s = m + e with e unknown is a
sample of ring learning with errors, which anyone who knew the plaintexts could write down, and which is what
the encryption's security rests on. The same attack gets a word of s right where e's transform is zero: in one
of q words, some 2^42.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from secagg.homomorphic.engine import SecretKey
from secagg.homomorphic.scheme import scheme_for
from secagg.homomorphic.words import Words
from tests.homomorphic.ciphertexts import added, largest_part, raw_slots, ring, signed

SCHEME = scheme_for("ckks", 100, 20, 100_000)
(Q,) = SCHEME.primes


def encoded(slots: npt.NDArray[np.complex128], key: SecretKey) -> list[int]:
    """Words of these slots as a plaintext at the scheme's scale; its coefficients are rounded to integers."""
    engine = key._engine
    plaintext = engine.seal.Plaintext()
    engine.encoder.encode(slots.tolist(), float(SCHEME.scale), plaintext)
    return [plaintext.data(at) for at in range(SCHEME.degree)]


def halves(ciphertext: Words) -> tuple[list[int], list[int]]:
    words = ciphertext[0].tolist()
    return words[: SCHEME.degree], words[SCHEME.degree :]


def attacked(message: list[int], ciphertext: Words) -> list[int]:
    """s = (m' - c0) / c1, word by word."""
    return [(m - c0) * pow(c1, -1, Q) % Q for m, c0, c1 in zip(message, *halves(ciphertext), strict=True)]


def right(guess: list[int], key: SecretKey) -> float:
    """The fraction of the key's words that were found."""
    truth = key._engine.words_of(key._key)[0].tolist()
    return float(np.mean([one == other for one, other in zip(guess, truth, strict=True)]))


def summed(clients: int, seed: int) -> tuple[SecretKey, list[Words], list[int]]:
    """A new key, two sums of fresh ciphertexts of the same vectors under it, and what they add up to."""
    key, public = SecretKey.fresh(SCHEME)
    edge, random = largest_part(SCHEME), np.random.default_rng(seed)
    vectors = random.integers(-edge, edge + 1, size=(clients, SCHEME.block))
    total = added((public.encrypt(ring(vector, SCHEME.bits)) for vector in vectors), SCHEME)
    again = added((public.encrypt(ring(vector, SCHEME.bits)) for vector in vectors), SCHEME)
    exact: list[int] = vectors.sum(axis=0).tolist()
    return key, [total, again], exact


@pytest.mark.parametrize("clients", [1, 20])
def test_one_raw_decryption_gives_away_the_whole_key(clients: int) -> None:
    key, (total, _), _ = summed(clients, 1)
    found = attacked(encoded(raw_slots(key, total, SCHEME), key), total)
    assert right(found, key) == 1.0


def test_single_precision_is_enough() -> None:
    """A complex64 of small messages still holds every coefficient to less than a half."""
    key, public = SecretKey.fresh(SCHEME)
    one = public.encrypt(ring([], 20))
    slots = raw_slots(key, one, SCHEME).astype(np.complex64).astype(np.complex128)
    assert right(attacked(encoded(slots, key), one), key) == 1.0


def test_the_real_parts_of_two_raw_decryptions_give_away_the_whole_key() -> None:
    """Of m' they tell m'(z) + m'(1/z): with two ciphertexts, two equations for s(z) and s(1/z).

    SEAL has a root's odd powers in bit-reversed order: word N - 1 - i is at the inverse of word i's root.
    """
    key, totals, _ = summed(2, 2)
    known = [encoded(2 * raw_slots(key, total, SCHEME).real.astype(np.complex128), key) for total in totals]
    (c0, c1), (d0, d1) = (halves(total) for total in totals)
    found = []
    for at in range(SCHEME.degree):
        to = SCHEME.degree - 1 - at
        first = known[0][at] - c0[at] - c0[to]
        second = known[1][at] - d0[at] - d0[to]
        determinant = c1[at] * d1[to] - c1[to] * d1[at]
        found.append((first * d1[to] - second * c1[to]) * pow(determinant, -1, Q) % Q)
    assert right(found, key) == 1.0


@pytest.mark.parametrize("clients", [1, 20])
def test_what_leaves_a_decryptor_gives_away_no_word_of_the_key(clients: int) -> None:
    key, totals, exact = summed(clients, 3)
    for total in totals:
        opened = signed(key.decrypt(total), SCHEME.bits)
        assert opened == exact  # so the attack has what the plaintexts' sum tells, and no more
        slots = np.array(opened, dtype=np.float64).view(np.complex128)
        assert right(attacked(encoded(slots, key), total), key) == 0.0


def test_what_leaves_does_not_depend_on_the_key_or_the_randomness() -> None:
    """Two keys, four ciphertexts, one sum: the replies are the same, so nothing but the sum is in them."""
    opened = [
        key.decrypt(total).tobytes() for key, totals, _ in (summed(3, 4), summed(3, 4)) for total in totals
    ]
    assert len(opened) == 4
    assert len(set(opened)) == 1


def test_the_errors_that_are_rounded_away_would_have_told_the_key() -> None:
    """The exact sum and the error together are the raw decryption: that error is all that is withheld."""
    key, (total, _), exact = summed(3, 5)
    raw = raw_slots(key, total, SCHEME)
    error = raw - np.array(exact, dtype=np.float64).view(np.complex128)
    assert 0 < np.abs(error).max() < 0.25
    put_back = np.array(exact, dtype=np.float64).view(np.complex128) + error
    assert right(attacked(encoded(put_back, key), total), key) == 1.0
