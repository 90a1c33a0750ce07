"""What homomorphic summation does not protect from: shown, so that nobody has to guess it.

The documents say the same in words. Whoever needs protection from any of this takes masks.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from secagg.encoding.ring import centred
from secagg.errors import ProtocolError, ServerFault
from secagg.homomorphic.cohort import Terms
from secagg.homomorphic.engine import SecretKey, require_seal
from secagg.homomorphic.messages import OpenRequest
from secagg.homomorphic.scheme import Kind, Scheme, scheme_for
from secagg.homomorphic.words import Words, pack_words, unpack_words, zero_words
from secagg.keys import Secret
from secagg.prg import Ring
from tests.homomorphic.lies import ciphertext_of, key_of, upload_of
from tests.homomorphic.sessions import Sessions, terms

KINDS: list[Kind] = ["bfv", "ckks"]
both_kinds = pytest.mark.parametrize("kind", KINDS)


def uploaded(kind: Kind, recompute: bool = False) -> tuple[Sessions, dict[str, bytes]]:
    sessions = Sessions(5, terms(kind, recompute))
    sessions.run_to("upload")
    return sessions, {name: ciphertext_of(reply) for name, reply in sessions.step().items()}


def whole(key: SecretKey, ciphertext: bytes, scheme: Scheme) -> Ring:
    """One vector, decrypted by whoever holds the key."""
    words = unpack_words(ciphertext, scheme.primes, scheme.blocks * 2 * scheme.degree)
    width = 2 * scheme.degree
    return np.concatenate(
        [
            key.decrypt([vector[block * width : (block + 1) * width] for vector in words])
            for block in range(scheme.blocks)
        ]
    )[: scheme.length]


# -- without recompute ------------------------------------------------------------------------------------


@both_kinds
def test_without_recompute_a_lying_server_gets_one_clients_vector_from_each_decryptor(kind: Kind) -> None:
    """It shows a decryptor one client's ciphertext as the sum of all; three decryptors, three clients."""
    sessions, uploads = uploaded(kind)
    victims = [*sessions.uploaders, sessions.decryptors[0]]
    for name, victim in zip(sessions.decryptors, victims, strict=True):
        honest = OpenRequest.from_bytes(sessions.request(name))
        reply = sessions.clients[name].answer(replace(honest, ciphertext=uploads[victim]).to_bytes())
        assert np.array_equal(sessions.opened(reply), sessions.vectors[victim])


def test_without_recompute_a_lying_server_gets_the_secret_key_itself() -> None:
    """A ciphertext (0, floor(q / t)) decrypts to the key's own polynomial, with next to no noise.

    One request to one honest decryptor, and the server opens every update of the attempt by itself: of BFV,
    known since the schemes are (they are not secure against chosen ciphertexts). At other parameters a part
    of the slots may fall outside the ring, and the lie is refused; that is luck, and no protection.
    """
    scheme = scheme_for("bfv", 32, 25, 20_000)
    sessions = Sessions(3, Terms(scheme, 3, recompute=False))
    sessions.run_to("upload")
    uploads = {name: ciphertext_of(reply) for name, reply in sessions.step().items()}
    name = sessions.decryptors[0]
    truth = key_of(sessions.clients[name])
    assert truth is not None
    honest = OpenRequest.from_bytes(sessions.request(name))
    lie = replace(honest, ciphertext=the_key_as_a_message(scheme)).to_bytes()
    answer = sessions.opened(sessions.clients[name].answer(lie))
    stolen = key_from(answer[: scheme.block], scheme)
    every = (*scheme.primes, scheme.special)
    assert np.array_equal(stolen, unpack_words(truth.to_secret().reveal(), every, scheme.degree))
    key = SecretKey.from_secret(scheme, Secret(pack_words(list(stolen), every)))
    for victim, ciphertext in uploads.items():
        assert np.array_equal(whole(key, ciphertext, scheme), sessions.vectors[victim])


def the_key_as_a_message(scheme: Scheme) -> bytes:
    """Every block is the ciphertext (0, floor(q / t))."""
    words: Words = zero_words(scheme.primes, scheme.blocks * 2 * scheme.degree)
    for vector, prime in zip(words, scheme.primes, strict=True):
        vector.reshape(scheme.blocks, 2, scheme.degree)[:, 1, 0] = (
            math.prod(scheme.primes) // scheme.plain_modulus % prime
        )
    return bytes(pack_words(words, scheme.primes))


def key_from(block: Ring, scheme: Scheme) -> npt.NDArray[np.uint64]:
    """The words of a secret key from its polynomial's slots, as a decryptor gives them away."""
    seal, _ = require_seal()
    parameters = seal.EncryptionParameters(seal.SCHEME_TYPE.BFV)
    parameters.set_poly_modulus_degree(scheme.degree)
    parameters.set_coeff_modulus([seal.Modulus(prime) for prime in (*scheme.primes, scheme.special)])
    parameters.set_plain_modulus(scheme.plain_modulus)
    context = seal.SEALContext(parameters, True, seal.SEC_LEVEL_TYPE.TC128)
    digits = centred(block, scheme.bits).astype(np.int64).reshape(scheme.per_slot, scheme.slots)
    slots = sum(int(2 ** (scheme.bits * at)) * digit for at, digit in enumerate(digits))
    polynomial = seal.Plaintext()
    seal.BatchEncoder(context).encode(np.asarray(slots).tolist(), polynomial)
    seal.Evaluator(context).transform_to_ntt_inplace(polynomial, context.key_parms_id())
    words = [polynomial.data(at) for at in range(polynomial.coeff_count())]
    return np.array(words, dtype=np.uint64).reshape(-1, scheme.degree)


# -- with it, and without ---------------------------------------------------------------------------------


@both_kinds
@pytest.mark.parametrize("recompute", [False, True])
def test_the_server_and_any_one_decryptor_open_every_update(kind: Kind, recompute: bool) -> None:
    sessions, uploads = uploaded(kind, recompute)
    for name in sessions.decryptors:
        key = key_of(sessions.clients[name])
        assert key is not None
        for victim, ciphertext in uploads.items():
            opened = whole(key, ciphertext, sessions.terms.scheme)
            assert np.array_equal(opened, sessions.vectors[victim])


@both_kinds
def test_with_recompute_any_one_decryptor_is_shown_every_ciphertext_and_holds_the_key(kind: Kind) -> None:
    sessions, uploads = uploaded(kind, recompute=True)
    name, shown = sessions.decryptors[1], b""
    while sessions.server.stage != "open":
        shown += sessions.request(name)
        sessions.step()
    assert key_of(sessions.clients[name]) is not None
    assert all(ciphertext in shown for ciphertext in uploads.values())


@both_kinds
def test_with_recompute_a_server_with_any_one_client_opens_another_clients_vector(kind: Kind) -> None:
    """Ciphertexts can be added by anyone: a colluder that is no decryptor uploads minus those of the others.

    It is shown them before it signs its own, and all is as it should be: this is why such plans tolerate no
    colluder (`colluders = 0`).
    """
    sessions = Sessions(5, terms(kind, recompute=True))
    sessions.run_to("upload")
    replies = sessions.ask()
    colluder, victim = sessions.uploaders
    scheme = sessions.terms.scheme
    count = scheme.blocks * 2 * scheme.degree
    minus = less(
        zero_words(scheme.primes, count),
        [ciphertext_of(replies[name]) for name in sessions.decryptors],
        scheme,
    )
    replies[colluder] = upload_of(sessions, colluder, minus)
    for name, reply in replies.items():
        sessions.server.receive(name, reply)
    sessions.server.advance()
    sessions.run()
    opened = sessions.server.sum()
    assert opened.survivors == tuple(sessions.ids)
    assert np.array_equal(opened.vector, sessions.vectors[victim])


def test_with_recompute_a_server_with_any_one_client_gets_the_secret_key_itself() -> None:
    """The colluder uploads (0, floor(q / t)) less all others' ciphertexts: the sum is that and no more."""
    scheme = scheme_for("bfv", 32, 25, 20_000)
    sessions = Sessions(5, Terms(scheme, 3, recompute=True))
    sessions.run_to("upload")
    replies = sessions.ask()
    truth = key_of(sessions.clients[sessions.decryptors[0]])
    assert truth is not None
    colluder = sessions.uploaders[0]
    count = scheme.blocks * 2 * scheme.degree
    key = unpack_words(the_key_as_a_message(scheme), scheme.primes, count)
    others = [ciphertext_of(reply) for name, reply in replies.items() if name != colluder]
    replies[colluder] = upload_of(sessions, colluder, less(key, others, scheme))
    for name, reply in replies.items():
        sessions.server.receive(name, reply)
    sessions.server.advance()
    sessions.run()
    stolen = key_from(sessions.server.sum().vector[: scheme.block], scheme)
    every = (*scheme.primes, scheme.special)
    assert np.array_equal(stolen, unpack_words(truth.to_secret().reveal(), every, scheme.degree))


def less(words: Words, ciphertexts: list[bytes], scheme: Scheme) -> bytes:
    """The ciphertext `words` minus all of these."""
    count = scheme.blocks * 2 * scheme.degree
    for ciphertext in ciphertexts:
        for total, vector, prime in zip(
            words, unpack_words(ciphertext, scheme.primes, count), scheme.primes, strict=True
        ):
            total += np.uint64(prime) - vector
            total %= np.uint64(prime)
    return bytes(pack_words(words, scheme.primes))


@both_kinds
def test_one_client_can_keep_any_sum_from_being_opened_and_nothing_says_who(kind: Kind) -> None:
    """Words that no one encrypted cannot be told from a ciphertext, and spoil the sum for everybody."""
    sessions = Sessions(5, terms(kind))
    sessions.run_to("upload")
    replies = sessions.ask()
    vandal = sessions.uploaders[0]
    generator = np.random.default_rng(0)
    scheme = sessions.terms.scheme
    noise = [generator.integers(0, prime, 2 * scheme.degree, dtype=np.uint64) for prime in scheme.primes]
    replies[vandal] = upload_of(sessions, vandal, bytes(pack_words(noise, scheme.primes)))
    for name, reply in replies.items():
        sessions.server.receive(name, reply)
    sessions.server.advance()
    for name in sessions.decryptors:
        with pytest.raises(ServerFault, match=r"noise-budget|sum-inexact"):
            sessions.clients[name].answer(sessions.request(name))
    assert sessions.server.faults == {}
    with pytest.raises(ProtocolError, match="decryptors-lost"):
        sessions.server.advance()
