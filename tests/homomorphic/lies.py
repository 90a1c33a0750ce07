"""What a lie must come to, in homomorphic summation: the client has stopped, holds nothing, says nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest

from secagg.credentials import Credentials
from secagg.encoding.packing import pack
from secagg.errors import SecaggError, ServerFault
from secagg.homomorphic.client import HomomorphicClient
from secagg.homomorphic.cohort import Cohort
from secagg.homomorphic.decryptor import Decryptor
from secagg.homomorphic.engine import SecretKey
from secagg.homomorphic.messages import (
    KINDS,
    Advertisement,
    ConfirmRequest,
    Entry,
    KeyReply,
    KeyRequest,
    Part,
    UploadReply,
    UploadRequest,
)
from secagg.homomorphic.scheme import Scheme
from secagg.homomorphic.words import unpack_words
from secagg.keys import Agreement, KeyPair, Secret, channel_key, seal
from secagg.membership import signed
from secagg.session import SessionCache
from tests.cohort import CONTEXT, credentials
from tests.homomorphic.sessions import Reply, Sessions
from tests.masking.lies import leaks, reachable

_WINDOWS = (0, 800, 4000)


def key_of(client: HomomorphicClient) -> SecretKey | None:
    """The secret key that a session holds, if any."""
    if client._made is not None:
        return client._made[0]
    return client._decryptor._key if client._decryptor is not None else None


def traces_of(key: SecretKey, scheme: Scheme) -> list[bytes]:
    """32 bytes from several places of a secret key, packed and as words: what a copy of it would show."""
    packed = bytes(key.to_secret().reveal())
    found = [packed[at : at + 32] for at in _WINDOWS]
    for vector in unpack_words(packed, (*scheme.primes, scheme.special), scheme.degree):
        found += [vector.tobytes()[at : at + 32] for at in _WINDOWS]
    return found


def buffers(client: HomomorphicClient) -> list[bytearray]:
    """The live buffers behind every Secret that a session holds."""
    found = []
    for held in reachable(client):
        if isinstance(held, Secret):
            with suppress(SecaggError):  # erased already
                found.append(held.reveal())
    return found


def secrets_of(client: HomomorphicClient) -> list[bytes]:
    """Copies of all that a session must not give away: channel key, secret key, vector."""
    scheme = client._terms.scheme
    found = [bytes(buffer) for buffer in buffers(client)]
    if (key := key_of(client)) is not None:
        found += traces_of(key, scheme)
    if client._vector is not None:
        found += [client._vector.tobytes(), bytes(pack(client._vector, scheme.bits))]
    return found


def keys_reachable(*roots: object) -> list[SecretKey]:
    return [found for found in reachable(*roots) if isinstance(found, SecretKey)]


@dataclass
class Watch:
    """What a session held before something happened to it."""

    client: HomomorphicClient

    def __post_init__(self) -> None:
        self.buffers = buffers(self.client)
        self.secrets = secrets_of(self.client)

    def assert_erased(self, *kept: object) -> None:
        """No buffer holds anything, and neither the session nor what else was kept reaches a secret."""
        assert not any(any(buffer) for buffer in self.buffers)
        assert leaks(self.secrets, self.client, *kept) == []
        assert keys_reachable(self.client, *kept) == []
        assert self.client._vector is None


def twin(original: HomomorphicClient) -> HomomorphicClient:
    """The same session once more, in the same state, with buffers of its own: to see what it would say."""
    copied = object.__new__(HomomorphicClient)
    copied.__dict__.update(original.__dict__)
    with suppress(SecaggError):  # erased already
        copied._channel = KeyPair(Secret(original._channel.private.reveal()))
    if original._decryptor is not None:
        copied._decryptor = _again(original._decryptor)
    copied._cache = SessionCache()
    copied._cache._replies.update(original._cache._replies)
    return copied


def _again(original: Decryptor) -> Decryptor:
    copied = object.__new__(Decryptor)
    copied.__dict__.update(original.__dict__)
    if original._total is not None:
        copied._total = [vector.copy() for vector in original._total]
    return copied


def assert_the_lie_ends_it(client: HomomorphicClient, lie: bytes, code: str) -> SecaggError:
    """The client refuses by name, has revealed nothing, has erased everything, and stays silent for good."""
    watch = Watch(client)
    with pytest.raises(SecaggError) as caught:
        client.answer(lie)
    assert caught.value.code == code
    chained = caught.value.__cause__
    watch.assert_erased(caught.value, str(caught.value), caught.value.__traceback__, chained)
    watch.assert_erased(chained.__traceback__ if chained else None)
    assert_silent(client, lie)
    return caught.value


def assert_silent(client: HomomorphicClient, *requests: bytes) -> None:
    """Every request is refused: these, and one for each stage."""
    for request in (*requests, *(bytes((1, index)) for index in range(len(KINDS)))):
        with pytest.raises(ServerFault, match="session-closed"):
            client.answer(request)


# -- what a colluding client can make -----------------------------------------------------------------


def sign(name: str, purpose: str, context: bytes, content: bytes) -> bytes:
    """A signature of `name`, as a colluder gives it over anything."""
    return credentials(name).sign(signed(purpose, name, context, content))


def advertised(
    member: Credentials,
    context: bytes = CONTEXT,
    *,
    channel_pk: bytes | None = None,
    name: str | None = None,
) -> Entry:
    """A roster entry that its member did sign: a colluder's, or an honest one of another attempt."""
    id = name or member.identity.name
    channel_pk = channel_pk or KeyPair.fresh().public
    signature = member.sign(signed("advertise", id, context, channel_pk))
    return Entry(id, Advertisement(channel_pk, member.certificate_der, signature))


def with_roster(request: bytes, change: Callable[[list[Entry]], Iterable[Entry]]) -> bytes:
    """A request for the stage `key` or `upload`, with another roster in it."""
    if request[1] == KINDS.index("key"):
        return KeyRequest(tuple(change(list(KeyRequest.from_bytes(request).roster)))).to_bytes()
    upload = UploadRequest.from_bytes(request)
    return replace(upload, roster=tuple(change(list(upload.roster)))).to_bytes()


def upload_request(sessions: Sessions, name: str, **changes: Any) -> bytes:
    """The request for the stage `upload`, with other fields."""
    return replace(UploadRequest.from_bytes(sessions.request(name)), **changes).to_bytes()


def sealed_for(sessions: Sessions, name: str, plaintext: bytes, cohort: Cohort | None = None) -> bytes:
    """What the key maker could seal for `name`."""
    bound = cohort or sessions.cohort
    maker, holder = bound.key_maker, bound.members[bound.position(name)]
    private = sessions.clients[maker.id]._channel.private
    key = channel_key(
        Agreement(private).shared(holder.channel_pk),
        maker.id,
        name,
        maker.channel_pk,
        holder.channel_pk,
        bound.context,
    )
    return seal(key, plaintext, lambda size: bytes(size))


def key_reply(sessions: Sessions, **changes: Any) -> bytes:
    """The key maker's answer, with other fields."""
    honest = sessions.clients[sessions.decryptors[0]].answer(sessions.request(sessions.decryptors[0]))
    return replace(KeyReply.from_bytes(honest), **changes).to_bytes()


def upload_of(sessions: Sessions, name: str, ciphertext: bytes | bytearray | memoryview) -> bytes:
    """An upload of `name` that holds this ciphertext, signed as it must be."""
    digest = hashlib.sha256(ciphertext).digest()
    signature = sign(name, "ciphertext", sessions.server._under, digest)
    return UploadReply(signature, b"").head() + bytes(ciphertext)


def ciphertext_of(reply: Reply) -> bytes:
    return bytes(UploadReply.from_bytes(reply).ciphertext)


def confirm_request(sessions: Sessions, change: Callable[[list[Part]], Iterable[Part]]) -> bytes:
    """The request for the stage `confirm`, with other parts in it."""
    honest = sessions.server._survivors_request()
    return ConfirmRequest(tuple(change(list(honest.parts)))).to_bytes()


# -- whom a lie is told ---------------------------------------------------------------------------------

ROLES = ("maker", "decryptor", "uploader")
Change = Callable[[list[Entry]], list[Entry]]
"""What a lie makes of a roster."""


def named(sessions: Sessions, role: str) -> str:
    return {
        "maker": sessions.decryptors[0],
        "decryptor": sessions.decryptors[1],
        "uploader": sessions.uploaders[0],
    }[role]


def ends(sessions: Sessions, name: str, lie: bytes, code: str) -> SecaggError:
    return assert_the_lie_ends_it(sessions.clients[name], lie, code)
