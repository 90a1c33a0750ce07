"""SEAL behind the engine: keys as bytes and as secrets, images in memory, and the way without TenSEAL."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from secagg.errors import EncodingError, ProtocolError
from secagg.homomorphic.engine import _HEADER, PublicKey, SecretKey, _engine, _Image, require_seal
from secagg.homomorphic.scheme import Kind, Scheme, scheme_for
from secagg.homomorphic.words import pack_words, unpack_words
from secagg.keys import Secret
from tests.homomorphic.ciphertexts import key_pair, ring, signed


@pytest.fixture(params=[("bfv", 25), ("ckks", 20), ("ckks", 8), ("bfv", 20)], ids=str)
def scheme(request: pytest.FixtureRequest) -> Scheme:
    """Of one prime and of two, of degree 2048 and 4096."""
    kind, bits = request.param
    return scheme_for(kind, 10, bits, 5000)


# -- what a ciphertext can carry --------------------------------------------------------------------------


@pytest.mark.parametrize("clients", [2, 10])
def test_ckks_refuses_a_vector_that_no_cohort_could_sum_and_carries_ones_largest_share(clients: int) -> None:
    """SEAL would only say that its encoded values are too large."""
    scheme = scheme_for("ckks", clients, 20, 5000)
    key, public = key_pair(scheme)
    whole = (1 << 19) - 1
    share = np.full(scheme.block, whole // clients, dtype=np.uint32)
    np.testing.assert_array_equal(key.decrypt(public.encrypt(share)), share)
    with pytest.raises(EncodingError) as refused:
        public.encrypt(np.full(scheme.block, whole, dtype=np.uint32))
    assert refused.value.code == "vector-too-large"


# -- keys -------------------------------------------------------------------------------------------------


def test_a_public_key_comes_back_from_its_bytes(scheme: Scheme) -> None:
    key, public = key_pair(scheme)
    encoded = public.to_bytes()
    assert len(encoded) == scheme.public_key_size
    again = PublicKey.from_bytes(scheme, memoryview(encoded))
    assert again.to_bytes() == encoded
    assert signed(key.decrypt(again.encrypt(ring([-3, 4], scheme.bits))), scheme.bits)[:2] == [-3, 4]


def test_a_secret_key_comes_back_from_its_secret(scheme: Scheme) -> None:
    key, public = key_pair(scheme)
    secret = key.to_secret()
    every = (*scheme.primes, scheme.special)
    assert len(secret.reveal()) == sum(scheme.degree * prime.bit_length() // 8 for prime in every)
    again = SecretKey.from_secret(scheme, secret)
    assert again.to_secret() == secret
    assert signed(again.decrypt(public.encrypt(ring([-3, 4], scheme.bits))), scheme.bits)[:2] == [-3, 4]


def test_a_secret_can_be_erased_and_its_key_goes_on(scheme: Scheme) -> None:
    key, public = key_pair(scheme)
    secret = key.to_secret()
    again = SecretKey.from_secret(scheme, secret)
    buffer = secret.reveal()
    secret.erase()
    assert not any(buffer)
    with pytest.raises(ProtocolError, match="secret-erased"):
        SecretKey.from_secret(scheme, secret)
    assert again.opens(public)


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\0", lambda data: b""])
def test_keys_of_another_length_are_refused(change: Callable[[bytes], bytes]) -> None:
    scheme = scheme_for("bfv", 10, 25, 5000)
    key, public = key_pair(scheme)
    with pytest.raises(EncodingError, match="ciphertext-length"):
        PublicKey.from_bytes(scheme, change(public.to_bytes()))
    cut = change(bytes(key.to_secret().reveal()))
    with pytest.raises(EncodingError, match="ciphertext-length"):
        SecretKey.from_secret(scheme, Secret(cut or b"\0"))


def test_keys_with_a_word_outside_of_the_ring_are_refused() -> None:
    scheme = scheme_for("bfv", 10, 25, 5000)
    every = (*scheme.primes, scheme.special)
    key, public = key_pair(scheme)
    for at, prime in enumerate(every):
        words = unpack_words(public.to_bytes(), every, 2 * scheme.degree)
        words[at][5] = prime
        with pytest.raises(EncodingError, match="ciphertext-outside-ring"):
            PublicKey.from_bytes(scheme, pack_words(words, every))
        words = unpack_words(key.to_secret().reveal(), every, scheme.degree)
        words[at][5] = prime
        with pytest.raises(EncodingError, match="ciphertext-outside-ring"):
            SecretKey.from_secret(scheme, Secret(pack_words(words, every)))


def test_a_key_opens_its_own_public_key_and_no_other(scheme: Scheme) -> None:
    key, public = key_pair(scheme)
    other, other_public = SecretKey.fresh(scheme)
    assert key.opens(public)
    assert other.opens(other_public)
    assert not key.opens(other_public)
    assert not other.opens(public)


def test_a_secret_key_of_random_words_opens_nothing(scheme: Scheme) -> None:
    _, public = key_pair(scheme)
    every = (*scheme.primes, scheme.special)
    random = np.random.default_rng(1)
    words = [random.integers(0, prime, size=scheme.degree, dtype=np.uint64) for prime in every]
    assert not SecretKey.from_secret(scheme, Secret(pack_words(words, every))).opens(public)


def test_a_secret_key_prints_nothing_and_is_never_copied(scheme: Scheme) -> None:
    key, _ = key_pair(scheme)
    assert repr(key) == str(key) == f"{key}" == "SecretKey()"
    for take in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="never pickled or copied"):
            take(key)


def test_two_encryptions_of_the_same_are_different(scheme: Scheme) -> None:
    _, public = key_pair(scheme)
    one, other = (public.encrypt(ring([1, 2, 3], scheme.bits)) for _ in range(2))
    for vector, also in zip(one, other, strict=True):
        assert np.mean(vector == also) < 0.01


def test_words_of_a_ciphertext_are_below_their_primes(scheme: Scheme) -> None:
    words = key_pair(scheme)[1].encrypt(ring([1], scheme.bits))
    assert [len(vector) for vector in words] == [2 * scheme.degree] * len(scheme.primes)
    for vector, prime in zip(words, scheme.primes, strict=True):
        assert prime * 0.99 < int(vector.max()) < prime


# -- SEAL's images ----------------------------------------------------------------------------------------


def test_an_image_is_zeroed_when_it_is_closed() -> None:
    for end in (_Image.close, _Image.__del__):
        image = _Image()
        image.write(b"the secret key" * 1000)
        watch = os.dup(image._file)
        try:
            assert os.pread(watch, 14, 0) == b"the secret key"
            end(image)
            left = os.pread(watch, 1 << 20, 0)
            assert len(left) == 14000
            assert not any(left)
        finally:
            os.close(watch)
        image.close()  # once more does nothing


def test_an_image_has_no_name_on_disk() -> None:
    image = _Image()
    assert os.readlink(image.path).startswith("/memfd:")  # noqa: PTH115 - of a descriptor
    image.close()


@pytest.mark.parametrize("mode", range(3))
def test_seals_form_is_read_with_each_of_its_compressions(mode: int) -> None:
    """None, zlib and Zstandard: which of them it writes is a matter of how it was built."""
    body = bytes(range(256)) * 50
    _, zstandard = require_seal()
    packed = [body, zlib.compress(body), zstandard.compress(body)][mode]
    image = _Image()
    image.write(_HEADER.pack(0xA15E, _HEADER.size, 4, 1, mode, 0, _HEADER.size + len(packed)) + packed)
    plain = image.read()
    image.close()
    assert plain[_HEADER.size :] == body
    assert _HEADER.unpack(plain[: _HEADER.size]) == (0xA15E, 16, 4, 1, 0, 0, 16 + len(body))


@pytest.mark.parametrize(("magic", "size", "mode"), [(0xA15F, 16, 0), (0xA15E, 24, 0), (0xA15E, 16, 3)])
def test_a_form_that_is_not_seals_is_refused(magic: int, size: int, mode: int) -> None:
    image = _Image()
    image.write(_HEADER.pack(magic, size, 4, 1, mode, 0, 16))
    with pytest.raises(EncodingError, match="seal-format"):
        image.read()
    image.close()


@pytest.mark.parametrize(("kind", "bits"), [("bfv", 25), ("ckks", 20)])
def test_what_seal_saves_is_what_it_loads(kind: Kind, bits: int) -> None:
    """The form it writes here, whichever compression it was built with."""
    scheme = scheme_for(kind, 10, bits, 5000)
    engine = _engine(scheme)
    generator = engine.seal.KeyGenerator(engine.context)
    words = engine.words_of(generator.secret_key())
    assert words.shape == (len(scheme.primes) + 1, scheme.degree)
    assert np.array_equal(engine.words_of(engine.thing_of("SecretKey", words)), words)


def test_parameters_that_seal_does_not_take_are_refused_by_name() -> None:
    good = scheme_for("bfv", 10, 25, 5000)
    insecure = replace(good, degree=2048)  # primes for 4096 are primes for 2048, but too many bits
    with pytest.raises(EncodingError, match="scheme-refused"):
        SecretKey.fresh(insecure)


# -- without TenSEAL --------------------------------------------------------------------------------------

_WITHOUT = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == sys.argv[1].split(".")[0]:
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())

from secagg.homomorphic import client, server
from secagg.homomorphic.engine import PublicKey, SecretKey
from secagg.homomorphic.scheme import scheme_for
from secagg.homomorphic.words import pack_words
from secagg.errors import MissingExtraError
import numpy as np

scheme = scheme_for("bfv", 10, 25, 5000)
every = (*scheme.primes, scheme.special)
key = pack_words([np.arange(2 * scheme.degree, dtype=np.uint64) for _ in every], every)
for start in (lambda: SecretKey.fresh(scheme), lambda: PublicKey.from_bytes(scheme, key)):
    try:
        start()
    except MissingExtraError as error:
        print(error)
"""


@pytest.mark.parametrize("missing", ["tenseal", require_seal()[1].__name__])
def test_without_the_extra_the_way_to_install_it_is_said(missing: str) -> None:
    """In a process that cannot import it; sessions and schemes load all the same."""
    run = subprocess.run(
        [sys.executable, "-c", _WITHOUT, missing], capture_output=True, text=True, check=True, timeout=60
    )
    said = (
        "this needs tenseal and backports.zstd [extra-missing]\n  install it with: pip install 'secagg[he]'\n"
    )
    assert run.stdout == 2 * said
