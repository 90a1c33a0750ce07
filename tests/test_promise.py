"""What a client's log says of a plan it joins: no more than holds, and who else could open its update."""

from __future__ import annotations

from typing import Any

import pytest

from secagg.plan import Plan
from secagg.promise import promise
from tests.homomorphic_run import KINDS, a_plan

CLIENT = {"unit": "client", "placement": "distributed", "delta": 1e-3}
LOCAL = {"epsilon": 8.0, "delta": 1e-5, "local_steps": 100}


def masked(privacy: dict[str, Any]) -> Plan:
    return Plan(run={"name": "a", "rounds": 2}, cohort={"max_clients": 5}, privacy=privacy)


@pytest.mark.parametrize(
    ("privacy", "said"),
    [
        ({"unit": "none"}, "no differential privacy"),
        (
            {**CLIENT, "noise_multiplier": 4.0},
            "distributed client-level privacy, noise multiplier 4 at delta 0.001",
        ),
        ({**CLIENT, "epsilon": 3.5}, "distributed client-level privacy, epsilon 3.5 at delta 0.001"),
        (
            {**CLIENT, "placement": "central", "noise_multiplier": 4.0},
            "central client-level privacy, noise multiplier 4 at delta 0.001",
        ),
        ({"unit": "example", **LOCAL}, "example-level privacy, epsilon 8 at delta 1e-05"),
        (
            {**CLIENT, "noise_multiplier": 4.0, "example": LOCAL},
            "distributed client-level privacy, noise multiplier 4 at delta 0.001 and example-level privacy, "
            "epsilon 8 at delta 1e-05",
        ),
    ],
)
def test_under_masks_it_says_what_noise_is_promised_and_no_more(privacy: dict[str, Any], said: str) -> None:
    assert promise(masked(privacy)) == said


@pytest.mark.parametrize("kind", KINDS)
def test_of_ciphertexts_it_says_that_the_server_and_one_client_can_open_every_update(kind: str) -> None:
    said = promise(a_plan(kind))
    assert said.startswith(f"no differential privacy; who can open {kind} ciphertexts: ")
    for part in (
        "the server together with any one of the 3 decryptors: every client's update",
        "a server that lies about what it added: any update",
        "nobody notices",
    ):
        assert part in said


@pytest.mark.parametrize("kind", KINDS)
def test_of_ciphertexts_that_are_fetched_it_says_that_one_client_alone_can_open_them(
    kind: str,
) -> None:
    said = promise(a_plan(kind, recompute=True))
    assert said.startswith(f"no differential privacy; who can open {kind} ciphertexts: ")
    assert "any one of the 3 decryptors, alone: every client's update" in said
    assert "the server together with any other client: any update" in said
    assert "notices" not in said


def test_of_noised_ciphertexts_it_says_both() -> None:
    said = promise(a_plan("bfv", privacy={**CLIENT, "epsilon": 3.5}))
    assert said.startswith(
        "distributed client-level privacy, epsilon 3.5 at delta 0.001; who can open bfv ciphertexts: "
    )
