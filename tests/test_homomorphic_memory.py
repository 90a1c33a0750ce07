"""A server that sums ciphertexts holds one sum and a few uploads, however many clients there are."""

from __future__ import annotations

import multiprocessing
import tracemalloc
from multiprocessing.connection import Connection

import numpy as np
import pytest

from secagg.credentials import Authority
from secagg.encoding.ring import word
from secagg.enrolment import issue_credentials, new_authority
from secagg.homomorphic.client import HomomorphicClient
from secagg.homomorphic.cohort import Terms
from secagg.homomorphic.scheme import scheme_for
from secagg.homomorphic.server import HomomorphicServer
from tests.cohort import CONTEXT, NOW, admit_all

CLIENTS, SIZE, BITS = 20, 200_000, 25


def serve(pipe: Connection, authority_pem: bytes, terms: Terms, names: list[str]) -> None:
    """The server's session alone in its process; at the end, the most that was allocated at once."""
    tracemalloc.start()
    server = HomomorphicServer(
        context=CONTEXT,
        terms=terms,
        clients=names,
        authority=Authority.from_pem(authority_pem),
        admits=admit_all,
        now=NOW,
    )
    while server.stage:
        for client, request in server.requests().items():
            pipe.send(client)
            pipe.send_bytes(request)
            server.receive(client, pipe.recv_bytes())
        server.advance()
    pipe.send("")
    pipe.send_bytes(server.sum().vector.tobytes())
    pipe.send(tracemalloc.get_traced_memory()[1])


@pytest.mark.parametrize("recompute", [False, True], ids=["added", "recomputed"])
def test_a_server_of_twenty_clients_holds_its_sum_and_a_few_uploads(recompute: bool) -> None:
    """All twenty uploads would be more than three times what is allowed."""
    terms = Terms(scheme_for("bfv", CLIENTS, BITS, SIZE), 2, recompute)
    names = [f"client-{index:02d}" for index in range(CLIENTS)]
    issuer = new_authority("authority")
    vector = np.arange(SIZE).astype(word(BITS))
    clients = {
        name: HomomorphicClient(
            context=CONTEXT,
            terms=terms,
            vector=vector,
            credentials=issue_credentials(name, "client", issuer, now=NOW),
            admits=admit_all,
            now=NOW,
        )
        for name in names
    }
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=serve, args=(theirs, issuer[1], terms, names))
    process.start()
    theirs.close()
    while name := ours.recv():
        ours.send_bytes(bytes(clients[name].answer(ours.recv_bytes())))
    total, peak = np.frombuffer(ours.recv_bytes(), word(BITS)), ours.recv()
    process.join()
    ours.close()

    np.testing.assert_array_equal(total, vector * CLIENTS)
    upload = terms.scheme.size
    summed = 8 * len(terms.scheme.primes) * terms.scheme.blocks * 2 * terms.scheme.degree
    allowed = (0 if recompute else summed) + 4 * upload
    assert peak < allowed
    assert CLIENTS * upload > 3 * allowed
