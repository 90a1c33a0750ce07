"""What is secret stays where it is: not in a frame, a log, an error, a repr or a pickle; and not for long."""

from __future__ import annotations

import copy
import logging
import pickle
import re

import numpy as np
import pytest

from secagg.encoding.packing import pack
from secagg.errors import ServerFault
from secagg.keys import Agreement
from secagg.masking import client as client_module
from secagg.masking.keys import mask_key
from secagg.masking.messages import STAGES, ConfirmRequest, RevealReply, RevealRequest
from secagg.masking.parameters import Policy
from secagg.session import Sum
from tests.cohort import CONTEXT, NOW, Cohort, admit_all, credentials
from tests.masking.lies import Watch, assert_silent, leaks, mask_request, reachable, secrets_of, twin

NAME = "client-002"

# -- in transit -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adversary", ["malicious", "semi-honest"])
@pytest.mark.parametrize("silent", [(), ("client-005",)], ids=["all stay", "one drops"])
def test_no_secret_is_in_any_frame_but_the_one_share_of_each_that_is_asked_for(
    adversary: str, silent: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    cohort = Cohort(6, policy=Policy(8, 3, adversary=adversary))
    frames: list[bytes] = []
    never = [bytes(pack(vector, cohort.bits)) for vector in cohort.vectors.values()]
    never += [vector.tobytes() for vector in cohort.vectors.values()]
    shares: dict[tuple[str, int, int], bytes] = {}
    for client in cohort.clients.values():
        never += [bytes(secret.reveal()) for secret in (client._seed, client._mask.private)]
        never.append(bytes(client._channel.private.reveal()))
    while stage := cohort.server.stage:
        gone = silent if STAGES.index(stage) >= STAGES.index("mask") else ()
        requests = cohort.server.requests()
        replies = cohort.step(silent=gone)
        for name in replies:
            for owner, held in cohort.clients[name]._held.items():
                shares |= {(name, owner, 0): held.seed, (name, owner, 1): held.key}
        frames += [*requests.values(), *map(bytes, replies.values())]
        if stage == "reveal":
            revealed = {
                (name, owner, kind)
                for name, reply in replies.items()
                for owner, kind, _ in RevealReply.from_bytes(reply).shares
            }
    assert len(revealed) == len({(name, owner) for name, owner, _ in revealed})
    never += [share for which, share in shares.items() if which not in revealed]
    assert len(never) > 40
    assert leaks(never, *frames, caplog.text, *caplog.records) == []
    before_reveal = frames[: -len(replies)]
    assert leaks(shares.values(), *before_reveal) == []


def test_a_masked_vector_has_nothing_of_the_plain_one() -> None:
    """Under fresh keys the same vector has other bytes each time, also when it is all zeros."""
    seen = set()
    for _ in range(2):
        cohort = Cohort(5, length=64)
        for vector in cohort.vectors.values():
            vector[:] = 0
        cohort.run_to("mask")
        seen |= {bytes(reply) for reply in cohort.ask().values()}
    assert len(seen) == 10
    assert not any(bytes(32) in reply for reply in seen)


def test_two_attempts_over_one_vector_share_no_key_and_no_mask() -> None:
    cohort = Cohort(5, length=64)
    masked, secrets, masks = [], set(), set()
    for attempt in (1, 2):
        again = Cohort(5, length=64, context=bytes((attempt,)) * 32)
        again.clients = {name: client_over(cohort, name, bytes((attempt,)) * 32) for name in cohort.ids}
        again.run_to("mask")
        client, roster = again.clients[NAME], again.server._roster
        assert roster is not None
        secrets |= {bytes(s.reveal()) for s in (client._seed, client._mask.private, client._channel.private)}
        for member in roster.members:
            if member.id != NAME:
                public = member.advertisement.mask_pk
                shared = Agreement(client._mask.private).shared(public)
                masks.add(mask_key(shared, (NAME, client._mask.public), (member.id, public), roster.context))
        masked.append(bytes(again.ask()[NAME]))
    assert len(secrets) == 6 and len(masks) == 8
    assert masked[0] != masked[1]


def test_even_the_same_keys_give_another_mask_in_another_attempt() -> None:
    """Were a device's randomness to repeat itself, the attempt's context would still keep masks apart."""
    shared = bytes(range(32))
    contexts = [bytes(32), CONTEXT]
    derived = {mask_key(shared, ("a", b"1" * 32), ("b", b"2" * 32), context) for context in contexts}
    assert len(derived) == 2


def client_over(cohort: Cohort, name: str, context: bytes) -> client_module.MaskingClient:
    return client_module.MaskingClient(
        context=context,
        policy=cohort.policy,
        bits=cohort.bits,
        vector=cohort.vectors[name],
        credentials=credentials(name),
        admits=admit_all,
        now=NOW,
    )


# -- in print and in storage ------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES)
def test_no_repr_of_anything_in_a_session_shows_a_secret(stage: str) -> None:
    cohort = Cohort(5, length=4)
    cohort.run_to(stage)
    client = cohort.clients[NAME]
    secrets = secrets_of(client)
    shown = [
        text
        for found in reachable(client)
        if not isinstance(found, bytes | bytearray | int | dict | list | np.ndarray)
        for text in (repr(found), str(found))
    ]
    for secret in secrets:
        for form in (secret.hex(), repr(secret)[2:-1], str(int.from_bytes(secret, "little"))):
            assert not any(form in text for text in shown)
    assert repr(client) == "MaskingClient('client-002')"


def test_values_with_shares_or_sums_print_nothing() -> None:
    held = client_module._HeldShares(b"\x41" * 33, b"\x42" * 33)
    for shown, name in (
        (held, "_HeldShares"),
        (RevealReply(((0, 0, b"\x41" * 33),)), "RevealReply"),
        (Sum(np.ones(3), ("a",)), "Sum"),
    ):
        assert re.fullmatch(rf"<[a-z.]+\.{name} object at 0x[0-9a-f]+>", repr(shown))


@pytest.mark.parametrize("stage", STAGES)
def test_a_session_can_be_neither_pickled_nor_copied_deeply_at_any_stage(stage: str) -> None:
    cohort = Cohort(5)
    cohort.run_to(stage)
    for _ in range(2):  # while it runs, and after it was closed
        for attempt in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError):
                attempt(cohort.clients[NAME])
        cohort.clients[NAME].close()


# -- after the end ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("adversary", ["malicious", "semi-honest"])
def test_after_reveal_a_client_holds_no_secret_and_still_repeats_its_answers(adversary: str) -> None:
    cohort = Cohort(6, policy=Policy(8, 3, adversary=adversary))
    cohort.run_to("reveal")
    client, request = cohort.clients[NAME], cohort.server.requests()[NAME]
    watch = Watch(client)
    reply = client.answer(request)
    revealed = {share for _, _, share in RevealReply.from_bytes(reply).shares}
    assert not any(any(buffer) for buffer in watch.buffers)
    assert leaks([secret for secret in watch.secrets if secret not in revealed], client) == []
    assert client.answer(request) == reply
    client.close()
    watch.assert_erased()
    assert_silent(client, request)


@pytest.mark.parametrize("stage", STAGES)
def test_after_close_a_client_holds_no_secret_whatever_the_stage(stage: str) -> None:
    cohort = Cohort(6)
    cohort.run_to(stage)
    client, request = cohort.clients[NAME], cohort.server.requests()[NAME]
    watch = Watch(client)
    client.close()
    client.close()
    watch.assert_erased()
    assert_silent(client, request)


@pytest.mark.parametrize("stage", STAGES)
def test_after_an_abort_neither_the_session_nor_its_error_holds_a_secret(stage: str) -> None:
    """Python keeps the local variables of a failed call alive with its traceback; here they are cleared."""
    cohort = Cohort(6)
    cohort.run_to(stage)
    lies = {
        "advertise": b"\x01\x00" + bytes(32),
        "share": cohort.server.requests()[NAME] + b"\0",
        "mask": mask_request(cohort, NAME, lambda shown: {i: shown[i] for i in (0, 1, 3)})
        if stage == "mask"
        else b"",
        "confirm": ConfirmRequest(b"\x3b").to_bytes(),
        "reveal": RevealRequest(b"\x3f", ()).to_bytes(),
    }
    client = cohort.clients[NAME]
    watch, ahead = Watch(client), twin(client)
    ahead.answer(cohort.server.requests()[NAME])
    watch.secrets += [share for held in ahead._held.values() for share in (held.seed, held.key)]
    try:
        client.answer(lies[stage])
    except ServerFault as error:
        watch.assert_erased(error, error.__traceback__, error.__cause__, error.__context__)
        chained = error.__cause__
        watch.assert_erased(chained.__traceback__ if chained else None)
    else:
        pytest.fail("the lie was believed")


def test_a_failure_nobody_foresaw_ends_the_session_as_well() -> None:
    cohort = Cohort(6)
    cohort.run_to("share")
    client = cohort.clients[NAME]
    watch = Watch(client)

    def broken(_identity: object) -> bool:
        raise RuntimeError("a floor of one's own")

    client._admits = broken
    with pytest.raises(RuntimeError, match="a floor of one's own"):
        client.answer(cohort.server.requests()[NAME])
    watch.assert_erased()
    assert_silent(client)


def test_a_client_does_not_change_the_vector_it_was_given() -> None:
    cohort = Cohort(6)
    before = cohort.vectors[NAME].copy()
    cohort.run()
    assert np.array_equal(cohort.vectors[NAME], before)


@pytest.mark.parametrize("silent", [(), ("client-005",)], ids=["all stay", "one drops"])
def test_after_the_opening_the_server_holds_no_clients_secret(silent: tuple[str, ...]) -> None:
    cohort = Cohort(6)
    secrets = []
    for client in cohort.clients.values():
        secrets += [bytes(secret.reveal()) for secret in (client._seed, client._mask.private)]
    cohort.run_to("mask")
    while cohort.server.stage:
        cohort.step(silent=silent)
        for client in cohort.clients.values():
            secrets += [share for held in client._held.values() for share in (held.seed, held.key)]
    assert leaks(secrets, cohort.server) == []
    assert not cohort.server._shares._of
