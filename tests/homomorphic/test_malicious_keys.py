"""A server that lies about keys, alone or with the key maker: no vector leaves under a key that is not right.

Where a lie needs a colluder, the test says whose signature it uses.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from secagg import keys
from secagg.homomorphic.cohort import Cohort, verify_entry
from secagg.homomorphic.engine import SecretKey
from secagg.homomorphic.messages import (
    Entry,
    KeyRequest,
    UploadRequest,
)
from secagg.homomorphic.scheme import Kind, Scheme
from secagg.homomorphic.words import pack_words, unpack_words, zero_words
from tests.cohort import CONTEXT, NOW, admit_all, credentials
from tests.homomorphic.lies import (
    ROLES,
    Change,
    advertised,
    ends,
    named,
    sealed_for,
    sign,
    upload_request,
    with_roster,
)
from tests.homomorphic.sessions import Sessions, terms

N = 6
KINDS: list[Kind] = ["bfv", "ckks"]


def at(stage: str, recompute: bool = False, context: bytes = CONTEXT, kind: Kind = "bfv") -> Sessions:
    sessions = Sessions(N, terms(kind, recompute), context)
    sessions.run_to(stage)
    return sessions


# -- who makes the key ------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["decryptor", "uploader"])
def test_a_client_that_is_not_drawn_makes_no_key(role: str) -> None:
    sessions = at("key")
    name = named(sessions, role)
    error = ends(sessions, name, sessions.request(sessions.decryptors[0]), "key-maker")
    assert sessions.decryptors[0] in error.message


def test_another_roster_draws_other_decryptors() -> None:
    """Who decrypts follows from the whole roster: nobody can be named to it."""
    drawn = {tuple(at("key").decryptors) for _ in range(8)}
    assert len(drawn) > 1
    for decryptors in drawn:
        assert len(set(decryptors)) == 3


# -- a roster that changes between key and upload ---------------------------------------------------------


def without(name: str) -> Change:
    return lambda roster: [entry for entry in roster if entry.id != name]


def test_the_key_maker_uploads_only_to_the_cohort_it_made_the_key_for() -> None:
    sessions = at("upload")
    maker = sessions.decryptors[0]
    lie = with_roster(sessions.request(maker), without(sessions.uploaders[0]))
    ends(sessions, maker, lie, "roster-changed")


@pytest.mark.parametrize("role", ["decryptor", "uploader"])
def test_a_public_key_made_for_another_roster_of_the_attempt_is_refused(role: str) -> None:
    """One member less, or the same members and a colluder's second key: nothing was signed for that."""
    for change in (without, again):
        sessions = at("upload")
        name = named(sessions, role)
        other = next(one for one in sessions.uploaders if one != name)
        ends(sessions, name, with_roster(sessions.request(name), change(other)), "public-key-signature")


def again(name: str) -> Change:
    return lambda roster: [advertised(credentials(name)) if entry.id == name else entry for entry in roster]


def changed_cohort(sessions: Sessions, change: Change) -> tuple[tuple[Entry, ...], Cohort]:
    roster = tuple(change(list(UploadRequest.from_bytes(sessions.request(sessions.uploaders[0])).roster)))
    authority = credentials("client-000").authority
    members = [verify_entry(entry, CONTEXT, authority, admit_all, NOW) for entry in roster]
    return roster, Cohort.of(members, sessions.terms, CONTEXT)


# -- the public key ---------------------------------------------------------------------------------------


def refuses_public_key(code: str, change: Callable[[Sessions], dict[str, bytes]]) -> None:
    for role in ROLES:
        sessions = at("upload")
        name = named(sessions, role)
        ends(sessions, name, upload_request(sessions, name, **change(sessions)), code)


def test_a_public_key_that_nobody_signed_is_refused() -> None:
    refuses_public_key("public-key-signature", lambda sessions: {"signature": b""})


def test_a_public_key_that_the_server_made_is_refused() -> None:
    """It would encrypt every update to the server."""

    def own(sessions: Sessions) -> dict[str, bytes]:
        return {"public_key": SecretKey.fresh(sessions.terms.scheme)[1].to_bytes()}

    refuses_public_key("public-key-signature", own)


@pytest.mark.parametrize("signer", ["uploader", "decryptor", "server"])
def test_a_public_key_signed_by_anyone_but_the_key_maker_is_refused(signer: str) -> None:
    def resigned(sessions: Sessions) -> dict[str, bytes]:
        public = SecretKey.fresh(sessions.terms.scheme)[1].to_bytes()
        name = "server" if signer == "server" else named(sessions, signer)
        return {
            "public_key": public,
            "signature": sign(name, "public key", sessions.cohort.context, public),
        }

    refuses_public_key("public-key-signature", resigned)


def test_a_public_key_that_its_maker_signed_in_another_attempt_is_refused() -> None:
    def replayed(sessions: Sessions) -> dict[str, bytes]:
        maker = sessions.decryptors[0]
        while (other := at("upload", context=bytes(32))).decryptors[0] != maker:
            pass
        earlier = UploadRequest.from_bytes(other.request(other.ids[0]))
        return {"public_key": earlier.public_key, "signature": earlier.signature}

    refuses_public_key("public-key-signature", replayed)


def test_a_signature_for_another_purpose_is_none_over_a_public_key() -> None:
    def confused(sessions: Sessions) -> dict[str, bytes]:
        public = SecretKey.fresh(sessions.terms.scheme)[1].to_bytes()
        maker = sessions.decryptors[0]
        return {
            "public_key": public,
            "signature": sign(maker, "ciphertext", sessions.cohort.context, public),
        }

    refuses_public_key("public-key-signature", confused)


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda scheme, public: public[:-1], "ciphertext-length"),
        (lambda scheme, public: public + b"\0", "ciphertext-length"),
        (lambda scheme, public: b"", "ciphertext-length"),
        (lambda scheme, public: b"\xff" * len(public), "ciphertext-outside-ring"),
        (lambda scheme, public: bytes(len(public)), "public-key-degenerate"),
        (lambda scheme, public: half(scheme, public, 0, 0), "public-key-degenerate"),
        (lambda scheme, public: half(scheme, public, 1, 0), "public-key-degenerate"),
        (lambda scheme, public: half(scheme, public, 1, 1), "public-key-degenerate"),
    ],
    ids=["short", "long", "empty", "outside", "zeros", "no first half", "no second half", "second half 1"],
)
def test_a_public_key_that_is_none_is_refused_though_its_maker_signed_it(
    spoil: Callable[..., bytes], code: str
) -> None:
    """The key maker colludes; a maker that is honest refuses any key but the one it made."""
    for role in ("decryptor", "uploader"):
        sessions = at("upload")
        name, maker = named(sessions, role), sessions.decryptors[0]
        honest = UploadRequest.from_bytes(sessions.request(name)).public_key
        public = spoil(sessions.terms.scheme, honest)
        signature = sign(maker, "public key", sessions.cohort.context, public)
        ends(sessions, name, upload_request(sessions, name, public_key=public, signature=signature), code)


def half(scheme: Scheme, public: bytes, polynomial: int, value: int) -> bytes:
    """One of its two polynomials all of one value: whoever sees a ciphertext reads what is in it."""
    every = (*scheme.primes, scheme.special)
    words = unpack_words(public, every, 2 * scheme.degree)
    for vector in words:
        vector.reshape(2, -1)[polynomial] = value
    return bytes(pack_words(words, every))


def test_a_key_maker_takes_no_public_key_but_its_own() -> None:
    """Another one that carries its own signature: two processes with one identity, or a stolen key."""
    sessions = at("upload")
    maker = sessions.decryptors[0]
    public = SecretKey.fresh(sessions.terms.scheme)[1].to_bytes()
    signature = sign(maker, "public key", sessions.cohort.context, public)
    lie = upload_request(sessions, maker, public_key=public, signature=signature)
    ends(sessions, maker, lie, "public-key-changed")


def test_a_key_maker_that_was_never_asked_for_a_key_takes_none() -> None:
    sessions = at("key")
    maker = sessions.decryptors[0]
    public = SecretKey.fresh(sessions.terms.scheme)[1].to_bytes()
    roster = KeyRequest.from_bytes(sessions.request(maker)).roster
    signature = sign(maker, "public key", sessions.cohort.context, public)
    lie = UploadRequest(roster, public, signature).to_bytes()
    ends(sessions, maker, lie, "public-key-changed")


def test_a_signed_key_of_another_ring_is_no_key_here() -> None:
    """A CKKS key where the plan says BFV: the scheme is bound into the context, and its size differs."""
    sessions = at("upload")
    name, maker = named(sessions, "uploader"), sessions.decryptors[0]
    public = SecretKey.fresh(terms("ckks").scheme)[1].to_bytes()
    signature = sign(maker, "public key", sessions.cohort.context, public)
    lie = upload_request(sessions, name, public_key=public, signature=signature)
    ends(sessions, name, lie, "ciphertext-length")


# -- the sealed secret key --------------------------------------------------------------------------------


def refuses_sealed(code: str, change: Callable[[Sessions, str], bytes]) -> None:
    for kind in KINDS:
        sessions = at("upload", kind=kind)
        name = named(sessions, "decryptor")
        ends(sessions, name, upload_request(sessions, name, sealed=change(sessions, name)), code)


def sealed_in(sessions: Sessions, name: str) -> bytes:
    return UploadRequest.from_bytes(sessions.request(name)).sealed


def test_a_decryptor_without_the_sealed_key_stops() -> None:
    refuses_sealed("secret-sealed", lambda sessions, name: b"")


def test_a_sealed_key_with_any_byte_changed_does_not_open() -> None:
    for at_byte in (0, 12, 500, -1):

        def spoiled(sessions: Sessions, name: str, at_byte: int = at_byte) -> bytes:
            sealed = bytearray(sealed_in(sessions, name))
            sealed[at_byte] ^= 1
            return bytes(sealed)

        refuses_sealed("secret-sealed", spoiled)


def test_a_sealed_key_that_is_cut_does_not_open() -> None:
    for size in (5, 12, 28, -1):
        refuses_sealed("secret-sealed", lambda sessions, name, size=size: sealed_in(sessions, name)[:size])


def test_the_key_sealed_for_another_decryptor_does_not_open() -> None:
    refuses_sealed("secret-sealed", lambda sessions, name: sealed_in(sessions, sessions.decryptors[2]))


def test_a_key_sealed_by_someone_else_does_not_open() -> None:
    """The server seals with a channel key of its own."""
    refuses_sealed("secret-sealed", lambda sessions, name: keys.seal(bytes(32), bytes(99), bytes))


def test_a_key_sealed_for_another_roster_does_not_open() -> None:
    """The channels are bound to the roster and the decryptors drawn from it."""

    def elsewhere(sessions: Sessions, name: str) -> bytes:
        made = sessions.clients[sessions.decryptors[0]]._made
        assert made is not None
        while True:
            _, cohort = changed_cohort(sessions, again(sessions.uploaders[0]))
            if cohort.key_maker.id == sessions.decryptors[0]:
                return sealed_for(sessions, name, bytes(made[0].to_secret().reveal()), cohort)

    refuses_sealed("secret-sealed", elsewhere)


def test_a_secret_key_that_is_not_that_of_the_public_key_is_refused() -> None:
    """A key maker that colludes. With the wrong key a decryptor would only refuse the sum in the end."""

    def other(sessions: Sessions, name: str) -> bytes:
        key, _ = SecretKey.fresh(sessions.terms.scheme)
        return sealed_for(sessions, name, bytes(key.to_secret().reveal()))

    refuses_sealed("secret-mismatch", other)


@pytest.mark.parametrize(
    ("plaintext", "code"),
    [
        (lambda size: b"", "secret-sealed"),
        (lambda size: bytes(size - 1), "ciphertext-length"),
        (lambda size: bytes(size + 1), "ciphertext-length"),
        (lambda size: b"\xff" * size, "ciphertext-outside-ring"),
        (lambda size: bytes(size), "secret-mismatch"),
    ],
    ids=["empty", "short", "long", "outside", "zeros"],
)
def test_a_sealed_key_that_is_none_is_refused(plaintext: Callable[[int], bytes], code: str) -> None:
    def sealed(sessions: Sessions, name: str) -> bytes:
        scheme = sessions.terms.scheme
        every = (*scheme.primes, scheme.special)
        return sealed_for(sessions, name, plaintext(len(pack_words(zero_words(every, scheme.degree), every))))

    refuses_sealed(code, sealed)


def test_an_uploader_takes_no_secret_key() -> None:
    sessions = at("upload")
    name = named(sessions, "uploader")
    lie = upload_request(sessions, name, sealed=sealed_in(sessions, sessions.decryptors[1]))
    ends(sessions, name, lie, "secret-misplaced")


def test_the_key_maker_takes_no_sealed_key() -> None:
    sessions = at("upload")
    maker = sessions.decryptors[0]
    lie = upload_request(sessions, maker, sealed=sealed_in(sessions, sessions.decryptors[1]))
    ends(sessions, maker, lie, "public-key-changed")
