"""Keys: secrets that show nothing, X25519 agreement, HKDF-SHA-256 derivation, and sealing with AES-256-GCM.

What every protocol between clients stands on. Every derivation has its own label, and binds who, with whom,
under which public keys, and in which context; two attempts, two directions or two purposes never share a key.
"""

from __future__ import annotations

import hmac
import os
from typing import Final, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from secagg import canonical
from secagg.errors import ProtocolError
from secagg.prg import Random

__all__ = [
    "KEY_BYTES",
    "Agreement",
    "KeyPair",
    "Secret",
    "channel_key",
    "derive",
    "is_canonical",
    "is_low_order",
    "seal",
    "unseal",
]

KEY_BYTES: Final = 32

_NONCE: Final = 12
_FIELD: Final = 2**255 - 19
_LOW_ORDER: Final = frozenset(
    value.to_bytes(32, "little")
    for value in (
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        _FIELD - 1,
        _FIELD,
        _FIELD + 1,
    )
)


class Secret:
    """32 secret bytes that print nothing, are never pickled or copied, and can be erased."""

    __slots__ = ("_bytes",)

    def __init__(self, content: bytes | bytearray) -> None:
        self._bytes = bytearray(content)

    @classmethod
    def fresh(cls, random: Random = os.urandom) -> Secret:
        return cls(random(KEY_BYTES))

    def reveal(self) -> bytearray:
        """The bytes themselves. Raises ProtocolError `secret-erased`."""
        if not self._bytes:
            raise ProtocolError("secret-erased", "this secret was erased when its session ended")
        return self._bytes

    def erase(self) -> None:
        """Overwrites the bytes with zeros and drops them."""
        self._bytes[:] = bytes(len(self._bytes))
        self._bytes = bytearray()

    def __repr__(self) -> str:
        return "Secret()"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._bytes, other._bytes)

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is never pickled or copied")

    __copy__ = __reduce__

    def __deepcopy__(self, memo: object) -> NoReturn:
        self.__reduce__()


class KeyPair:
    """A fresh X25519 key pair: `private` is a Secret, `public` 32 bytes."""

    __slots__ = ("private", "public")

    def __init__(self, private: Secret) -> None:
        self.private = private
        self.public = _private_key(private.reveal()).public_key().public_bytes_raw()

    @classmethod
    def fresh(cls, random: Random = os.urandom) -> KeyPair:
        return cls(Secret.fresh(random))

    def __repr__(self) -> str:
        return "KeyPair()"


def _private_key(private: bytes | bytearray) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(private)


def is_low_order(public: bytes) -> bool:
    """Whether a public key has small order (RFC 7748, 6.1); the top bit is ignored, as the curve does."""
    return (public[:-1] + bytes((public[-1] & 0x7F,))) in _LOW_ORDER


def is_canonical(public: bytes) -> bool:
    """Whether these are the bytes every implementation writes for this point: below 2^255 - 19.

    X25519 reads others as the same point (RFC 7748, 5), so that one key could pass for two.
    """
    return int.from_bytes(public, "little") < _FIELD


class Agreement:
    """One private key, ready to agree with many peers (X25519, RFC 7748)."""

    def __init__(self, private: Secret) -> None:
        self._key = _private_key(private.reveal())

    def shared(self, public: bytes) -> bytes:
        """32 bytes. Raises ProtocolError `key-low-order`."""
        try:
            return self._key.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError as error:
            raise ProtocolError("key-low-order", "a public key agrees on nothing") from error


def derive(secret: bytes | bytearray, label: str, *info: canonical.Field) -> bytes:
    """A key (32 bytes) of `secret` for one purpose, its `label`, bound to `info` (HKDF-SHA-256, RFC 5869)."""
    bound = canonical.encode(canonical.VERSION_LABEL, label, *info)
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=bound).derive(secret)


def channel_key(
    shared: bytes, sender: str, receiver: str, sender_pk: bytes, receiver_pk: bytes, context: bytes
) -> bytes:
    """The key of the one message `sender` -> `receiver`; the other direction has another."""
    return derive(shared, "channel", sender, receiver, sender_pk, receiver_pk, context)


def seal(key: bytes | bytearray, plaintext: bytes | bytearray, random: Random) -> bytes:
    """A nonce (12 bytes of `random`), then `plaintext` under AES-256-GCM (NIST SP 800-38D), 28 bytes longer.

    key: 32 bytes. Nothing is authenticated beside the plaintext: who, to whom and in which context is in the
    key (`channel_key`).
    """
    nonce = random(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, None)


def unseal(key: bytes | bytearray, sealed: bytes) -> bytes | None:
    """What was sealed under `key` (32 bytes); None when these bytes were not."""
    cipher = AESGCM(key)
    try:
        return cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], None)
    except (InvalidTag, ValueError):  # ValueError: too short to begin with a nonce
        return None
