"""Contradictions in what a plan says about privacy: each refused with the way out.

The rules are those under which an account is true at all: nothing that depends on data leaves a client beside
the noised vector, the noise of the clients that are sure to be honest suffices, and delta is below what would
allow one unit's data to be published whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from secagg.errors import Problem
from secagg.plan_settings import Tables, honest_noise, policy_of
from secagg.plan_tables import Cohort, Privacy
from secagg.strict_toml import Parsed

__all__ = ["privacy_problems"]

_PRIVACY: Final = tuple(f"privacy.{name}" for name in Privacy.model_fields)
_COHORT: Final = tuple(f"cohort.{name}" for name in Cohort.model_fields)
_CLIENT_ONLY: Final = (
    "placement",
    "mechanism",
    "noise_multiplier",
    "ring_bits",
    "adaptive_clipping",
    "example",
)
_EXAMPLE_ONLY: Final = ("local_steps", "max_grad_norm")


def privacy_problems(plan: Tables, parsed: Parsed) -> Iterator[Problem]:
    """Everything wrong with [privacy] and with what it asks of other tables."""
    if not parsed(*_PRIVACY):
        return
    yield from _fields_of_the_unit(plan)
    yield from _poisson(plan, parsed)
    yield from _no_examples_as_weights(plan, parsed)
    yield from _metrics_have_their_share(plan, parsed)
    yield from _enough_honest_noise(plan, parsed)
    yield from _a_protection_for_the_noise(plan, parsed)
    yield from _small_delta(plan, parsed)
    yield from _clipping(plan, parsed)


def _fields_of_the_unit(plan: Tables) -> Iterator[Problem]:
    privacy = plan.privacy
    given = {name for name, value in privacy if name != "unit" and value is not None}
    match privacy.unit:
        case "none":
            foreign, needed = given, set[str]()
        case "example":
            foreign, needed = given & set(_CLIENT_ONLY), {"epsilon", "delta", "local_steps"} - given
        case _:
            foreign, needed = given & set(_EXAMPLE_ONLY), {"placement", "delta"} - given
    for name in sorted(foreign):
        yield Problem(
            f"privacy.{name}",
            f'is given, and unit is "{privacy.unit}"',
            'choose unit = "client" or "example"' if privacy.unit == "none" else _elsewhere(name),
        )
    for name in sorted(needed):
        yield Problem(f"privacy.{name}", f'is missing, and unit is "{privacy.unit}"', _FOR_EXAMPLE[name])
    if privacy.unit == "client" and not {"noise_multiplier", "epsilon"} & given:
        yield Problem(
            "privacy.noise_multiplier",
            "is missing, and so is epsilon",
            "give the noise, or the epsilon that all rounds together may cost, or both",
        )


_FOR_EXAMPLE: Final = {
    "epsilon": "for example: epsilon = 8.0",
    "delta": "for example: delta = 1e-5, and well below one over how many there are to protect",
    "local_steps": "how many optimiser steps each client takes in the whole run, such as local_steps = 1000",
    "placement": 'placement = "distributed" (the clients add the noise) or "central" (the server does)',
}


def _elsewhere(name: str) -> str:
    if name in _EXAMPLE_ONLY:
        return "it belongs into [privacy.example], which adds DP-SGD within each client"
    return 'it belongs to unit = "client"; for both units, say "client" and add [privacy.example]'


def _poisson(plan: Tables, parsed: Parsed) -> Iterator[Problem]:
    if not parsed(*_COHORT):
        return
    cohort = plan.cohort
    given = {"rate": cohort.rate, "population": cohort.population}
    if cohort.sampling == "fixed":
        for name, value in given.items():
            if value is not None:
                yield Problem(f"cohort.{name}", 'is given, and sampling is "fixed"', 'sampling = "poisson"')
        return
    if plan.privacy.unit != "client":
        yield Problem(
            "cohort.sampling",
            f'is "poisson", and the privacy unit is "{plan.privacy.unit}": there is nothing it would amplify',
            'sampling = "fixed", or unit = "client"',
        )
    for name, value in given.items():
        if value is None:
            yield Problem(f"cohort.{name}", 'is missing, and sampling is "poisson"', _POISSON[name])
    if cohort.rate is None or cohort.population is None:
        return
    expected = cohort.rate * cohort.population
    if not cohort.min_survivors <= expected <= cohort.max_clients:
        yield Problem(
            "cohort.rate",
            f"draws {expected:g} of {cohort.population} clients on average, outside of min_survivors = "
            f"{cohort.min_survivors} to max_clients = {cohort.max_clients}: most rounds would not happen",
            "another rate, or wider bounds; a round with too few or too many is skipped, never drawn again",
        )


_POISSON: Final = {
    "rate": "the probability with which each client is drawn, such as rate = 0.1",
    "population": "how many clients there are to draw from, such as population = 1000",
}


def _no_examples_as_weights(plan: Tables, parsed: Parsed) -> Iterator[Problem]:
    if plan.privacy.unit == "none" or not parsed("aggregation.weighting"):
        return
    if plan.aggregation.weighting == "examples":
        yield Problem(
            "aggregation.weighting",
            f'is "examples", and the privacy unit is "{plan.privacy.unit}": how many examples a client has '
            "would leave it outside of the account",
            'weighting = "uniform", or "public" with constants in [aggregation.weights]',
        )


def _metrics_have_their_share(plan: Tables, parsed: Parsed) -> Iterator[Problem]:
    if not parsed("metrics"):
        return
    for name, bounds in plan.metrics.items():
        if plan.privacy.unit == "none" and bounds.noise_multiplier is not None:
            yield Problem(
                f"metrics.{name}.noise_multiplier",
                'is given, and the privacy unit is "none"',
                "leave it out, or choose a unit",
            )
        if plan.privacy.unit != "none" and bounds.noise_multiplier is None:
            yield Problem(
                f"metrics.{name}.noise_multiplier",
                f'is missing, and the privacy unit is "{plan.privacy.unit}": a metric is computed from data, '
                "and costs budget",
                "its noise over what one unit can change, such as noise_multiplier = 20.0; or no metric",
            )


def _enough_honest_noise(plan: Tables, parsed: Parsed) -> Iterator[Problem]:
    """The noise of h clients must be there; with h = 1 it would be one client's own.

    A client that opens a sum of ciphertexts can take its own share out of it, as a colluder under masks can.
    """
    if not parsed(*_COHORT) or plan.privacy.placement == "central" or plan.privacy.unit == "none":
        return
    if plan.privacy.unit == "example" and not plan.metrics:
        return
    honest, c, least = max(honest_noise(plan), 0), policy_of(plan).c, plan.cohort.min_survivors
    if honest >= 2:
        return
    if c or not plan.protection.homomorphic:
        known, way_out = f"of whom {c} may collude", f"at least {c + 2}, or fewer colluders"
    else:
        known, way_out = "of whom one opens the sum and knows its own share", "at least 3"
    yield Problem(
        "cohort.min_survivors",
        f"is {least}, {known}: the noise of {honest} other client{'s' * (honest != 1)} is sure to be in a "
        "sum, and two are the least",
        way_out,
    )


def _a_protection_for_the_noise(plan: Tables, parsed: Parsed) -> Iterator[Problem]:
    shares = plan.privacy.placement == "distributed" or (
        plan.privacy.unit == "example" and parsed("metrics") and bool(plan.metrics)
    )
    if shares and parsed("protection.kind") and plan.protection.kind == "none":
        yield Problem(
            "protection.kind",
            'is "none": each client adds only its share of the noise, and only their sum protects',
            'kind = "masks", or placement = "central" where the server may see everything',
        )
    if not parsed("protection.kind") or not plan.protection.homomorphic:
        return
    if plan.privacy.placement == "central":
        yield Problem(
            "privacy.placement",
            f'is "central", and with "{plan.protection.kind}" decryptors would see the sum without its noise',
            'placement = "distributed", or kind = "masks"',
        )
    if plan.privacy.ring_bits is not None:
        yield Problem(
            "privacy.ring_bits",
            f'is given, and "{plan.protection.kind}" adds integers, and a small ring lets sums wrap',
            'leave it out, or kind = "masks"',
        )


def _small_delta(plan: Tables, parsed: Parsed) -> Iterator[Problem]:
    if plan.privacy.unit != "client" or plan.privacy.delta is None or not parsed(*_COHORT):
        return
    cohort = plan.cohort
    clients = cohort.population or cohort.max_clients
    if plan.privacy.delta >= 1 / clients:
        yield Problem(
            "privacy.delta",
            f"is {plan.privacy.delta:g}, not below 1/{clients}: publishing one of {clients} clients' data "
            "whole would satisfy it",
            f"well below {1 / clients:.1e}",
        )


def _clipping(plan: Tables, parsed: Parsed) -> Iterator[Problem]:
    privacy = plan.privacy
    if privacy.adaptive_clipping is not None and parsed("encoding.group") and plan.encoding.group:
        yield Problem(
            "privacy.adaptive_clipping",
            "adapts one norm, and [[encoding.group]] gives several",
            "one of the two",
        )
    if privacy.placement == "central":
        if privacy.ring_bits is not None:
            yield Problem(
                "privacy.ring_bits",
                "sizes a ring for noise inside of it, and central noise is added after the sum",
                "leave it out",
            )
        if privacy.mechanism == "skellam":
            yield Problem(
                "privacy.mechanism",
                'is "skellam", and placement is "central": the server adds a discrete Gaussian',
                "leave it out",
            )
