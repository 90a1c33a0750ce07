"""What a lie must come to: the honest client has stopped, holds nothing, and says nothing more."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from types import BuiltinFunctionType, FunctionType, ModuleType, TracebackType

import numpy as np
import pytest
from cryptography import x509

from secagg.credentials import Credentials
from secagg.errors import ProtocolError, SecaggError, ServerFault
from secagg.keys import KeyPair, Secret
from secagg.masking.client import MaskingClient
from secagg.masking.keys import commitment
from secagg.masking.messages import STAGES, Advertisement, Entry, Envelope, MaskRequest, ShareRequest
from secagg.masking.parameters import threshold
from secagg.membership import signed
from secagg.session import SessionCache
from tests.cohort import CONTEXT, Cohort, credentials

_UNSEARCHED = (type, ModuleType, BuiltinFunctionType, Credentials, x509.Certificate)


def reachable(*roots: object) -> Iterator[object]:
    """Every object that can be reached from `roots`, without the program's own code and identity keys."""
    seen: set[int] = set()
    queue = list(roots)
    while queue:
        found = queue.pop()
        if id(found) in seen or isinstance(found, _UNSEARCHED):
            continue
        seen.add(id(found))
        yield found
        if isinstance(found, FunctionType):
            queue += [cell.cell_contents for cell in found.__closure__ or ()]
        elif isinstance(found, TracebackType):
            queue += _locals(found)
        else:
            queue += gc.get_referents(found)


def _locals(trace: TracebackType) -> Iterator[object]:
    """The local variables that a traceback keeps alive in the library's own frames."""
    step: TracebackType | None = trace
    while step is not None:
        if str(step.tb_frame.f_globals.get("__name__", "")).startswith("secagg"):
            yield from step.tb_frame.f_locals.values()
        step = step.tb_next


def content(found: object) -> bytes:
    """The bytes behind an object, where it has any."""
    match found:
        case bytes() | bytearray():
            return bytes(found)
        case memoryview():
            return found.tobytes()
        case str():
            return found.encode(errors="replace")
        case np.ndarray():
            return found.tobytes()
        case int() if found > 0:
            return found.to_bytes((found.bit_length() + 7) // 8, "little")
    return b""


def leaks(secrets: Iterable[bytes], *roots: object) -> list[str]:
    """The types of the reachable objects whose bytes hold one of `secrets`."""
    wanted = [secret for secret in secrets if secret]
    return [
        type(found).__name__
        for found in reachable(*roots)
        if (held := content(found)) and any(secret in held for secret in wanted)
    ]


def buffers(client: MaskingClient) -> list[bytearray]:
    """The live buffers behind every secret that a session holds."""
    found = []
    for held in reachable(client):
        if isinstance(held, Secret):
            with suppress(SecaggError):  # erased already
                found.append(held.reveal())
    return found


def secrets_of(client: MaskingClient) -> list[bytes]:
    """Copies of all that a session must not give away: its seed, private keys, what it holds, its vector."""
    found = [bytes(buffer) for buffer in buffers(client)]
    for held in client._held.values():
        found += [held.seed, held.key]
    if client._vector is not None:
        found.append(client._vector.tobytes())
    return found


@dataclass
class Watch:
    """What a session held before something happened to it."""

    client: MaskingClient

    def __post_init__(self) -> None:
        self.buffers = buffers(self.client)
        self.secrets = secrets_of(self.client)

    def assert_erased(self, *kept: object, but: bytes = b"") -> None:
        """No buffer holds anything, and neither the session nor what else was kept reaches a secret.

        but: what may stay, such as the vector, at the participant that will be asked for it again.
        """
        assert self.secrets
        assert not any(any(buffer) for buffer in self.buffers)
        assert leaks([secret for secret in self.secrets if secret != but], self.client, *kept) == []


def twin(original: MaskingClient) -> MaskingClient:
    """The same session once more, in the same state, with buffers of its own: to see what it would say."""
    copied = object.__new__(MaskingClient)
    copied.__dict__.update(original.__dict__)
    copied._channel, copied._mask = _again(original._channel), _again(original._mask)
    copied._seed = Secret(original._seed.reveal())
    copied._incoming = {owner: Secret(key.reveal()) for owner, key in original._incoming.items()}
    copied._held = dict(original._held)
    copied._stages = list(original._stages)
    copied._cache = SessionCache()
    copied._cache._replies.update(original._cache._replies)
    return copied


def _again(pair: KeyPair) -> KeyPair:
    return KeyPair(Secret(pair.private.reveal()))


def assert_the_lie_ends_it(client: MaskingClient, lie: bytes, code: str) -> SecaggError:
    """The client refuses by name, has revealed nothing, has erased everything, and stays silent for good."""
    watch = Watch(client)
    with pytest.raises(SecaggError) as caught:
        client.answer(lie)
    assert caught.value.code == code
    watch.assert_erased(caught.value, str(caught.value))
    assert_silent(client, lie)
    return caught.value


def assert_silent(client: MaskingClient, *requests: bytes) -> None:
    """Every request is refused: these, and one for each stage."""
    for request in (*requests, *(bytes((1, index)) for index in range(len(STAGES)))):
        with pytest.raises(ServerFault, match="session-closed"):
            client.answer(request)


def advertised(
    member: Credentials,
    context: bytes = CONTEXT,
    *,
    channel_pk: bytes | None = None,
    mask_pk: bytes | None = None,
    name: str | None = None,
) -> Entry:
    """A roster entry that its member did sign: a colluder's, or an honest one of another attempt."""
    id = name or member.identity.name
    channel_pk = channel_pk or KeyPair.fresh().public
    mask_pk = mask_pk or KeyPair.fresh().public
    committed = commitment(context, id, bytes(32))
    signature = member.sign(signed("advertise", id, context, channel_pk, mask_pk, committed))
    return Entry(id, Advertisement(channel_pk, mask_pk, committed, member.certificate_der, signature))


def share_request(cohort: Cohort, name: str, change: Callable[[list[Entry]], Iterable[Entry]]) -> bytes:
    """The request for the stage `share`, with another roster in it, and the k and t that go with its size."""
    request = ShareRequest.from_bytes(cohort.server.requests()[name])
    request = replace(request, roster=tuple(change(list(request.roster))))
    with suppress(ProtocolError):  # a size that has none
        limits = threshold(cohort.policy, len(request.roster))
        request = replace(request, k=limits.k, t=limits.t)
    return request.to_bytes()


def mask_request(
    cohort: Cohort, name: str, change: Callable[[dict[int, Envelope]], dict[int, Envelope]]
) -> bytes:
    """The request for the stage `mask`, with other envelopes in it."""
    honest = MaskRequest.from_bytes(cohort.server.requests()[name])
    return MaskRequest(tuple(sorted(change(dict(honest.envelopes)).items()))).to_bytes()


def confirmation(cohort: Cohort, name: str, survivors: bytes, context: bytes | None = None) -> bytes:
    """A signature of `name` over these survivors, as a colluder gives it for any set."""
    bound = context or cohort.server._roster.context  # type: ignore[union-attr]
    return credentials(name).sign(signed("confirm", name, bound, survivors))


def changed(data: bytes, bit: int) -> bytes:
    """`data` with one bit flipped."""
    out = bytearray(data)
    out[bit // 8] ^= 1 << bit % 8
    return bytes(out)
