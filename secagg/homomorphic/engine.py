"""The only module that knows SEAL, through TenSEAL: keys, encryption and decryption of one block.

SEAL (Microsoft, 4.1) does the cryptography; what crosses the border is plain: blocks of ring elements on one
side, words on the other (`words`). Its own file format is read and written in memory, for this process only,
and never comes from outside: what a peer sent is checked word by word before an image of it is made.
TenSEAL's objects of SEAL load and save by path, so a path into memory it is (`memfd_create`; Linux).
"""

from __future__ import annotations

import os
import secrets
import struct
import sys
import zlib
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from secagg.encoding.packing import BLOCK, pack_into, packed_size
from secagg.encoding.ring import word
from secagg.errors import EncodingError, MissingExtraError
from secagg.homomorphic.scheme import LEAST_BUDGET, Scheme
from secagg.homomorphic.slots import from_slots, to_slots
from secagg.homomorphic.words import Words, pack_words, spread_words, unpack_words
from secagg.keys import Secret
from secagg.prg import Ring

__all__ = ["PublicKey", "SecretKey", "require_seal"]

_HEADER: Final = struct.Struct("<HBBBBHQ")
"""SEAL's: magic, its own size, major and minor version, compression, reserved, bytes in all."""
_MAGIC: Final = 0xA15E
_PLAIN, _ZLIB, _ZSTD = range(3)
_ZSTANDARD: Final = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"


def require_seal() -> tuple[ModuleType, ModuleType]:
    """`tenseal.sealapi`, and a module with `decompress` for Zstandard. Raises MissingExtraError."""
    try:
        return import_module("tenseal.sealapi"), import_module(_ZSTANDARD)
    except ImportError as error:
        raise MissingExtraError("tenseal and backports.zstd", "he") from error


class _Image:
    """SEAL's serialised form of one object, in memory that has a path; zeroed when it is done with."""

    _file = -1

    def __init__(self) -> None:
        self._file = os.memfd_create("secagg", os.MFD_CLOEXEC)
        self.path = f"/proc/self/fd/{self._file}"

    def read(self) -> bytes:
        """What was saved: its header, made to say that nothing is compressed, and all behind it so."""
        raw = os.pread(self._file, os.fstat(self._file).st_size, 0)
        magic, size, major, minor, compression, _, _ = _HEADER.unpack_from(raw)
        if magic != _MAGIC or size != _HEADER.size or compression not in (_PLAIN, _ZLIB, _ZSTD):
            raise EncodingError("seal-format", "this SEAL writes a form that is not known here")
        body = raw[size:]
        if compression == _ZLIB:
            body = zlib.decompress(body)
        elif compression == _ZSTD:
            body = require_seal()[1].decompress(body)
        return _HEADER.pack(magic, size, major, minor, _PLAIN, 0, size + len(body)) + body

    def write(self, image: bytes | bytearray) -> None:
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, image, 0)

    def close(self) -> None:
        if self._file >= 0:
            os.pwrite(self._file, bytes(os.fstat(self._file).st_size), 0)
            os.close(self._file)
            self._file = -1

    def __del__(self) -> None:
        self.close()


def _saved(thing: Any) -> bytes:
    """SEAL's image of one of its objects."""
    image = _Image()
    thing.save(image.path)
    saved = image.read()
    image.close()
    return saved


class _Engine:
    """SEAL's context and encoder for one scheme, and the shapes of its serialised objects."""

    def __init__(self, scheme: Scheme) -> None:
        self.seal, _ = require_seal()
        self.scheme = scheme
        kind = self.seal.SCHEME_TYPE.BFV if scheme.kind == "bfv" else self.seal.SCHEME_TYPE.CKKS
        parameters = self.seal.EncryptionParameters(kind)
        parameters.set_poly_modulus_degree(scheme.degree)
        parameters.set_coeff_modulus([self.seal.Modulus(prime) for prime in (*scheme.primes, scheme.special)])
        if scheme.kind == "bfv":
            parameters.set_plain_modulus(scheme.plain_modulus)
        self.context = self.seal.SEALContext(parameters, True, self.seal.SEC_LEVEL_TYPE.TC128)
        if not self.context.parameters_set():
            raise EncodingError(
                "scheme-refused", f"SEAL refuses the parameters: {self.context.parameters_error_message()}"
            )
        encoder = self.seal.BatchEncoder if scheme.kind == "bfv" else self.seal.CKKSEncoder
        self.encoder = encoder(self.context)
        generator = self.seal.KeyGenerator(self.context)  # a throwaway key, for the shapes
        public = self.seal.PublicKey()
        generator.create_public_key(public)
        ciphertext = self.seal.Ciphertext(self.context)
        zeros = np.zeros(0, dtype=word(scheme.bits))
        self.seal.Encryptor(self.context, public).encrypt(self.encoded(zeros), ciphertext)
        every = len(scheme.primes) + 1
        self._shapes = {
            "PublicKey": self._shape(public, 2 * every),
            "SecretKey": self._shape(generator.secret_key(), every),
            "Ciphertext": self._shape(ciphertext, 2 * len(scheme.primes)),
        }

    def encoded(self, vector: Ring) -> Any:
        """A plaintext of at most one block."""
        plaintext = self.seal.Plaintext()
        slots = to_slots(vector, self.scheme).tolist()
        if self.scheme.kind == "bfv":
            self.encoder.encode(slots, plaintext)
        else:
            try:
                self.encoder.encode(slots, float(self.scheme.scale), plaintext)
            except ValueError as error:
                raise EncodingError(
                    "vector-too-large", "a vector is too large to be one of a cohort's in this ring"
                ) from error
        return plaintext

    def decoded(self, plaintext: Any) -> Ring:
        """One block of a sum; raises EncodingError as `from_slots` does."""
        if self.scheme.kind == "bfv":
            return from_slots(np.array(self.encoder.decode_int64(plaintext), dtype=np.int64), self.scheme)
        return from_slots(np.array(self.encoder.decode_complex(plaintext), dtype=np.complex128), self.scheme)

    def _shape(self, thing: Any, polynomials: int) -> bytes:
        saved = _saved(thing)
        return saved[: len(saved) - 8 * polynomials * self.scheme.degree]

    def words_of(self, thing: Any) -> npt.NDArray[np.uint64]:
        """(polynomials, N) words of a key or ciphertext of SEAL's."""
        shape = self._shapes[type(thing).__name__]
        return np.frombuffer(_saved(thing), dtype="<u8", offset=len(shape)).reshape(-1, self.scheme.degree)

    def thing_of(self, kind: str, words: npt.NDArray[np.uint64]) -> Any:
        """A PublicKey, SecretKey or Ciphertext of SEAL's from its words, which are below their primes."""
        thing = self.seal.Ciphertext(self.context) if kind == "Ciphertext" else getattr(self.seal, kind)()
        image = _Image()
        image.write(self._shapes[kind] + words.tobytes())
        thing.load(self.context, image.path)
        image.close()
        return thing


@lru_cache(maxsize=8)
def _engine(scheme: Scheme) -> _Engine:
    return _Engine(scheme)


class PublicKey:
    """Encrypts blocks. Anyone may hold it; whose it is, a signature must say."""

    def __init__(self, scheme: Scheme, key: Any) -> None:
        self._engine = _engine(scheme)
        self._key = key
        self._encryptor = self._engine.seal.Encryptor(self._engine.context, key)

    @classmethod
    def from_bytes(cls, scheme: Scheme, data: bytes | bytearray | memoryview) -> PublicKey:
        """Raises EncodingError `ciphertext-length`, `ciphertext-outside-ring`, `public-key-degenerate`."""
        every = (*scheme.primes, scheme.special)
        words = spread_words(data, every, 2 * scheme.degree)
        return cls(scheme, _engine(scheme).thing_of("PublicKey", _by_polynomial(words, scheme.degree)))

    def to_bytes(self) -> bytes:
        scheme = self._engine.scheme
        every = (*scheme.primes, scheme.special)
        return bytes(pack_words(_by_prime(self._engine.words_of(self._key), len(every)), every))

    def encrypt(self, block: Ring) -> Words:
        """The words of at most one block of ring elements, encrypted with fresh randomness."""
        ciphertext = self._engine.seal.Ciphertext(self._engine.context)
        self._encryptor.encrypt(self._engine.encoded(block), ciphertext)
        return _by_prime(self._engine.words_of(ciphertext), len(self._engine.scheme.primes))

    def encrypt_vector(self, vector: Ring) -> bytearray:
        """`scheme.length` ring elements as they go on the wire (`words`): `scheme.size` bytes.

        As many ciphertexts are packed together as `encoding.packing` takes at a time.
        """
        scheme = self._engine.scheme
        out = bytearray(scheme.size)
        view, width = memoryview(out), 2 * scheme.degree
        together = BLOCK // width
        for first in range(0, scheme.blocks, together):
            last = min(first + together, scheme.blocks)
            ciphertexts = [
                self.encrypt(vector[block * scheme.block : (block + 1) * scheme.block])
                for block in range(first, last)
            ]
            section = 0
            for vectors, prime in zip(zip(*ciphertexts, strict=True), scheme.primes, strict=True):
                size = packed_size(width, prime.bit_length())
                stretch = view[section + first * size : section + last * size]
                pack_into(np.concatenate(vectors), prime.bit_length(), stretch)
                section += scheme.blocks * size
        return out


class SecretKey:
    """Decrypts sums to the exact integers, and to nothing else. Prints nothing and is never pickled."""

    def __init__(self, scheme: Scheme, key: Any) -> None:
        self._engine = _engine(scheme)
        self._key = key
        self._decryptor = self._engine.seal.Decryptor(self._engine.context, key)

    @classmethod
    def fresh(cls, scheme: Scheme) -> tuple[SecretKey, PublicKey]:
        """A new pair, from SEAL's generator seeded by the operating system."""
        engine = _engine(scheme)
        generator = engine.seal.KeyGenerator(engine.context)
        public = engine.seal.PublicKey()
        generator.create_public_key(public)
        return cls(scheme, generator.secret_key()), PublicKey(scheme, public)

    @classmethod
    def from_secret(cls, scheme: Scheme, secret: Secret) -> SecretKey:
        """Raises EncodingError `ciphertext-length`, `ciphertext-outside-ring`."""
        every = (*scheme.primes, scheme.special)
        words = unpack_words(secret.reveal(), every, scheme.degree)
        return cls(scheme, _engine(scheme).thing_of("SecretKey", np.stack(words)))

    def to_secret(self) -> Secret:
        scheme = self._engine.scheme
        words = self._engine.words_of(self._key)
        packed = pack_words(list(words), (*scheme.primes, scheme.special))
        secret = Secret(packed)
        packed[:] = bytes(len(packed))
        return secret

    def decrypt(self, words: Words) -> Ring:
        """One block of a sum, exact: `scheme.block` ring elements.

        Raises EncodingError `noise-budget` (BFV: fewer than 2 bits left), `sum-inexact` (CKKS),
        `sum-out-of-range`; nothing of the block is given then.
        """
        engine = self._engine
        ciphertext = engine.thing_of("Ciphertext", _by_polynomial(words, engine.scheme.degree))
        if engine.scheme.kind == "bfv" and (
            self._decryptor.invariant_noise_budget(ciphertext) < LEAST_BUDGET
        ):
            raise EncodingError(
                "noise-budget",
                f"a ciphertext has fewer than {LEAST_BUDGET} bits of noise budget left: it is no sum of "
                "fresh encryptions of one cohort",
            )
        plaintext = engine.seal.Plaintext()
        self._decryptor.decrypt(ciphertext, plaintext)
        return engine.decoded(plaintext)

    def opens(self, public: PublicKey) -> bool:
        """Whether this is the key to `public`: a random block comes back."""
        scheme = self._engine.scheme
        room = 1 << (scheme.bits - 2)
        drawn = np.array([secrets.randbelow(room) for _ in range(64)], dtype=word(scheme.bits))
        try:
            return bool(np.array_equal(self.decrypt(public.encrypt(drawn))[: len(drawn)], drawn))
        except EncodingError:
            return False

    def __repr__(self) -> str:
        return "SecretKey()"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a SecretKey is never pickled or copied")


def _by_prime(words: npt.NDArray[np.uint64], primes: int) -> Words:
    """SEAL has each polynomial modulo every prime; here each prime has all polynomials."""
    by_polynomial = words.reshape(-1, primes, words.shape[1])
    return [np.ascontiguousarray(by_polynomial[:, at]).reshape(-1) for at in range(primes)]


def _by_polynomial(words: Words, degree: int) -> npt.NDArray[np.uint64]:
    return np.stack([vector.reshape(-1, degree) for vector in words], axis=1).reshape(-1, degree)
