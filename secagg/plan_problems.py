"""Contradictions in a plan: between fields that are each fine alone.

A rule reads a plan that may be completed with examples where the document was broken, and asks `parsed` first
for every field it looks at. What it yields says where, what, and the way out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from secagg.errors import EncodingError, PrivacyError, Problem, ProtocolError
from secagg.homomorphic.scheme import scheme_for
from secagg.masking.parameters import threshold
from secagg.plan_privacy_problems import privacy_problems
from secagg.plan_settings import (
    NOMINAL_SIZE,
    Tables,
    cost_of_a_round,
    policy_of,
    settings_of,
    smallest_noise,
    training_target,
)
from secagg.plan_tables import Cohort, Encoding, Privacy
from secagg.strict_toml import Parsed
from secagg.units import written

__all__ = ["MAX_RECOMPUTED", "cross_problems"]

MAX_RECOMPUTED: Final = 32
"""The largest cohort whose ciphertexts each decryptor fetches and adds."""


def cross_problems(plan: Tables, parsed: Parsed) -> Iterator[Problem]:
    """Every contradiction; `parsed(path, ...)` is True for what can be believed."""
    yield from _enough_survivors(plan.cohort, parsed)
    if parsed("protection.kind") and plan.protection.kind == "masks":
        contradictions = [
            *_survivable_dropouts(plan.cohort, parsed),
            *_outnumbered_colluders(plan, parsed),
        ]
        yield from contradictions or _feasible_thresholds(plan, parsed)
    if parsed("protection.kind", "protection.recompute"):
        yield from _homomorphic_terms(plan, parsed)
    yield from _one_group_per_pattern(plan.encoding, parsed)
    yield from _steps_below_norms(plan.encoding, parsed)
    yield from _weights_for_public_weighting(plan, parsed)
    private = list(privacy_problems(plan, parsed))
    yield from private or _sums_that_fit(plan, parsed)


def _weights_for_public_weighting(plan: Tables, parsed: Parsed) -> Iterator[Problem]:
    if not parsed("aggregation.weighting", "aggregation.weights"):
        return
    weighting, weights = plan.aggregation.weighting, plan.aggregation.weights
    if weighting == "public" and not weights:
        yield Problem(
            "aggregation.weights",
            'is missing, and weighting is "public"',
            '[aggregation.weights] with a line for each client, such as hospital-1 = 300, or "*" = 100',
        )
    if weighting != "public" and weights:
        yield Problem(
            "aggregation.weights",
            f'is given, and weighting is "{weighting}"',
            'weighting = "public", or no weights',
        )


def _enough_survivors(cohort: Cohort, parsed: Parsed) -> Iterator[Problem]:
    if not parsed("cohort.min_survivors", "cohort.max_clients"):
        return
    if cohort.min_survivors > cohort.max_clients:
        yield Problem(
            "cohort.min_survivors",
            f"is {cohort.min_survivors}, and max_clients is {cohort.max_clients}: no round could ever open",
            "lower min_survivors or raise max_clients",
        )


def _survivable_dropouts(cohort: Cohort, parsed: Parsed) -> Iterator[Problem]:
    """Malicious: two confirm quorums must share an honest client. Semi-honest: an honest one must survive."""
    if not parsed("cohort.adversary", "cohort.colluders", "cohort.dropouts"):
        return
    factor, times = (2, "2·") if cohort.adversary == "malicious" else (1, "")
    if 1 - factor * written(cohort.dropouts) <= written(cohort.colluders):
        yield Problem(
            "cohort.dropouts",
            f"with a {cohort.adversary} server 1 - {times}dropouts must exceed colluders, "
            f"and 1 - {times}{cohort.dropouts!r} does not exceed {cohort.colluders!r}",
            "lower dropouts or colluders",
        )


def _outnumbered_colluders(plan: Tables, parsed: Parsed) -> Iterator[Problem]:
    """A sum must hold two clients beside the colluders. In a malicious plan the confirm quorum implies it."""
    cohort = plan.cohort
    if not parsed("cohort.adversary", "cohort.colluders", "cohort.max_clients", "cohort.min_survivors"):
        return
    colluding = policy_of(plan).c
    if cohort.adversary == "semi-honest" and cohort.min_survivors < colluding + 2:
        yield Problem(
            "cohort.min_survivors",
            f"is {cohort.min_survivors}, and {colluding} of {cohort.max_clients} clients may collude: "
            "a sum minus their own parts could be one client's update",
            f"at least {colluding + 2}",
        )


def _homomorphic_terms(plan: Tables, parsed: Parsed) -> Iterator[Problem]:
    """What homomorphic summation protects from, and what a plan may therefore not promise."""
    kind, recompute, cohort = plan.protection.kind, plan.protection.recompute, plan.cohort
    if not plan.protection.homomorphic:
        if recompute:
            yield Problem(
                "protection.recompute",
                f'is true, and kind is "{kind}"',
                'kind = "bfv" or "ckks", or leave it out',
            )
        return
    if parsed("cohort.adversary") and cohort.adversary == "malicious" and not recompute:
        yield Problem(
            "cohort.adversary",
            f'is "malicious", and with "{kind}" nobody notices what the server added',
            'adversary = "semi-honest", or recompute = true in [protection]',
        )
    if parsed("cohort.adversary") and cohort.adversary == "semi-honest" and recompute:
        yield Problem(
            "cohort.adversary",
            'is "semi-honest", and recompute = true, with which any one decryptor can open every update, is '
            "there against a server that lies",
            'adversary = "malicious", or no recompute',
        )
    if parsed("cohort.colluders") and cohort.colluders > 0:
        yield Problem(
            "cohort.colluders",
            f'is {cohort.colluders!r}, and with "{kind}" the server and any one decryptor, drawn from the '
            "clients, open every update",
            "colluders = 0.0, if that is what you assume; masks tolerate colluders",
        )
    if recompute and parsed("cohort.max_clients") and cohort.max_clients > MAX_RECOMPUTED:
        yield Problem(
            "cohort.max_clients",
            f"is {cohort.max_clients}, and with recompute each decryptor fetches every client's ciphertexts",
            f"at most {MAX_RECOMPUTED}, or no recompute",
        )


def _one_group_per_pattern(encoding: Encoding, parsed: Parsed) -> Iterator[Problem]:
    patterns = [group.match for group in encoding.group] if parsed("encoding.group") else []
    for at, pattern in enumerate(patterns):
        if pattern in patterns[:at]:
            yield Problem(
                f"encoding.group.{at}.match", f'"{pattern}" already has a group', "remove one of them"
            )


def _steps_below_norms(encoding: Encoding, parsed: Parsed) -> Iterator[Problem]:
    norms = {"encoding.clip_norm": encoding.clip_norm} if parsed("encoding.clip_norm") else {}
    if parsed("encoding.group"):
        norms |= {
            f"encoding.group.{at}.clip_norm": group.clip_norm for at, group in enumerate(encoding.group)
        }
    for path, norm in norms.items():
        if parsed("encoding.precision") and encoding.precision >= norm:
            yield Problem(
                path,
                f"is {norm!r}, and precision is {encoding.precision!r}: a rounding step must be smaller",
                "lower encoding.precision; a millionth of the norm is usual",
            )


def _feasible_thresholds(plan: Tables, parsed: Parsed) -> Iterator[Problem]:
    """A full cohort has a threshold, and it survives the dropouts the plan expects."""
    cohort = plan.cohort
    sizes = ("cohort.adversary", "cohort.colluders", "cohort.max_clients", "cohort.min_survivors")
    if not parsed(*sizes, "cohort.dropouts") or cohort.min_survivors > cohort.max_clients:
        return
    try:
        limits = threshold(policy_of(plan), cohort.max_clients)
    except ProtocolError as error:
        yield Problem("cohort.max_clients", error.message, error.hint)
        return
    expected = policy_of(plan).expected_dropouts(cohort.max_clients)
    if limits.tolerated < expected:
        yield Problem(
            "cohort.dropouts",
            f"{expected} of {cohort.max_clients} clients may vanish, and {limits.needed} must stay for a sum",
            f"dropouts of at most {limits.tolerated / cohort.max_clients:.3g}, fewer colluders or a lower "
            "min_survivors",
        )


def _sums_that_fit(plan: Tables, parsed: Parsed) -> Iterator[Problem]:
    """No sum of a full cohort may wrap in the widest ring there is; under noise, hardly ever.

    Nor may one be more than ciphertexts can add exactly.
    """
    if not parsed("encoding.precision", "encoding.clip_norm", "encoding.group", "cohort.max_clients"):
        return
    if not parsed("aggregation.weighting", "aggregation.max_examples", "aggregation.weights"):
        return
    private = [f"privacy.{name}" for name in Privacy.model_fields]
    if not parsed(*private, *(f"cohort.{name}" for name in Cohort.model_fields), "metrics", "run.rounds"):
        return
    try:
        bits = settings_of(plan).bits
        if parsed("protection.kind") and plan.protection.kind in ("bfv", "ckks"):
            scheme_for(plan.protection.kind, plan.cohort.max_clients, bits, NOMINAL_SIZE)
        training_target(plan)
    except EncodingError as error:
        yield Problem(
            "encoding.precision" if plan.privacy.ring_bits is None else "privacy.ring_bits",
            error.message,
            error.hint,
        )
    except PrivacyError as error:
        yield Problem("privacy", error.message, error.hint)
    else:
        yield from list(_noise_of_half_a_step(plan)) or _affordable_round(plan)


def _affordable_round(plan: Tables) -> Iterator[Problem]:
    """A budget covers one round at the least."""
    if plan.privacy.unit != "client" or plan.privacy.delta is None:
        return
    epsilon = plan.privacy.epsilon
    if epsilon is not None and (cost := cost_of_a_round(plan)) > epsilon:
        yield Problem(
            "privacy.epsilon",
            f"is {epsilon:g}, and one round alone costs {cost:.3g}",
            "more noise, or a larger epsilon; without noise_multiplier it is calibrated for all rounds",
        )


def _noise_of_half_a_step(plan: Tables) -> Iterator[Problem]:
    """The bound on sums of discrete Gaussians, and the samplers, are for noise that the integers can hold."""
    if plan.privacy.unit != "none" and (noise := smallest_noise(plan)) < 0.5:
        yield Problem(
            "privacy.noise_multiplier",
            f"makes one share of the noise {noise:.2g} steps wide; below half a step nothing is claimed",
            "more noise, a wider ring_bits, a finer precision, or a smaller cohort",
        )
