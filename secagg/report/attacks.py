"""Measured beside proven: what attacks found on runs of this plan, and lower bounds on epsilon.

An audit's lower bound and the account's upper bound are of one quantity. A lower bound that is above means
that one of the two is wrong. It counts as a failure of the account where its confidence is 99.9 % or more,
and the report then says so before anything else. Of 95 %, one audit in twenty may report too much, and the
report only warns. One that is below proves nothing: neither that the account is tight, nor that other attacks
find no more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from secagg.encoding.codec import Codec
from secagg.errors import RunError
from secagg.plan import Plan
from secagg.plan_settings import deltas_of, uses_of
from secagg.privacy.accountant import Privacy, privacy_of
from secagg.report.attack_record import AttackRecord
from secagg.report.figures import bound, counted, given, left, plain
from secagg.report.pages import Section, Table

__all__ = ["BeatenAccountError", "alarms", "attacks_of", "attacks_section", "beaten", "cautions"]

Document = Mapping[str, Any]

_SURE: Final = 0.999
"""Confidence from which on a bound above the account is a failure, and no accident of one audit in many."""
_NONE: Final = "No attack was run on what the parties of this run saw: there is no measured lower bound."
_NOT: Final = (
    "What this is not: an attack at chance, or a low bound, proves nothing about other attacks. It says only "
    "that these found no more, with what they were given. What is proven is the account above."
)
_ASSUMED: Final = {
    "fair-coins": "fair coins",
    "independence": "independent scores",
    "gaussian": "a Gaussian trade-off",
    "gaussian-scores": "normal scores",
}


class BeatenAccountError(RunError):
    """A measured lower bound on epsilon is above the accounted one."""

    exit_code = 5


def attacks_of(
    record: AttackRecord | None, plan: Plan, codec: Codec, opened: int, accounts: Sequence[Privacy]
) -> dict[str, Any] | None:
    """The document's part; None where nothing was measured. opened: rounds of the run whose sum was opened.

    Of another plan nothing is kept but that plan's digest. An audit may play every round of the plan, and its
    bounds are held against the account of as many, whether this run opened them or not; against the server;
    and at a delta that is no larger than their own, for what is refuted at a delta is at every smaller one.
    """
    if record is None:
        return None
    same = record.plan == plan.digest.hex()
    rounds = max(opened, plan.run.rounds)
    held = accounts if opened == rounds or not record.bounds or not same else _planned(plan, codec)
    epsilons = {account.unit: (account.delta, account.server.epsilon) for account in held}
    return {
        "plan": record.plan,
        "of_this_plan": same,
        "rounds": rounds,
        "findings": [dict(one) for one in record.findings] if same else [],
        "bounds": [_beside(one, epsilons) for one in record.bounds] if same else [],
    }


def _planned(plan: Plan, codec: Codec) -> tuple[Privacy, ...]:
    """The account of all rounds of a plan, each opened once."""
    uses = [use for round in range(1, plan.run.rounds + 1) for use in uses_of(plan, codec, round, 1)]
    return privacy_of(uses, deltas_of(plan))


def _beside(one: Document, epsilons: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    delta, epsilon = epsilons.get(one["unit"], (math.inf, math.inf))
    comparable = delta <= one["delta"] and math.isfinite(epsilon)
    return {
        **one,
        "accounted": epsilon if comparable else None,
        "beats": one["epsilon"] > epsilon and one["confidence"] >= _SURE if comparable else None,
    }


def alarms(attacks: Document | None) -> tuple[str, ...]:
    """What the report says first: one sentence for each lower bound that beats the account."""
    return tuple(
        f"The account does not hold, or the audit does not: epsilon of one {one['unit']} is at least "
        f"{left(one['epsilon'])} by measurement ({_method(one)}) and at most {bound(one['accounted'])} by "
        "account. Trust no epsilon below until this is explained."
        for one in (attacks or {}).get("bounds", ())
        if one["beats"]
    )


def cautions(attacks: Document | None) -> tuple[str, ...]:
    """One sentence for each lower bound above the account that is not sure enough to be a failure."""
    return tuple(
        f"Caution: epsilon of one {one['unit']} is at least {left(one['epsilon'])} by measurement "
        f"({_method(one)}) and at most {bound(one['accounted'])} by account. So high a bound may come of "
        f"chance in one audit of {round(1 / (1 - one['confidence']))}, and is no failure of the account by "
        "itself: audit again with other seeds."
        for one in (attacks or {}).get("bounds", ())
        if one["accounted"] is not None and one["epsilon"] > one["accounted"] and not one["beats"]
    )


def beaten(document: Document) -> BeatenAccountError | None:
    """What `secagg report` ends with where a lower bound beats the account. document: of a run."""
    above = [one for one in (document["attacks"] or {}).get("bounds", ()) if one["beats"]]
    if not above:
        return None
    return BeatenAccountError(
        "account-beaten",
        f"{counted(len(above), 'measured lower bound')} on epsilon, at 99.9 % confidence or more, beyond "
        "what the run was accounted with",
        "audit again with another seed, for one in a thousand may report too much; else report a fault",
    )


def attacks_section(attacks: Document | None, digest: str | None) -> Section:
    """digest: of attacks.json."""
    if attacks is None:
        return Section("Attacks", (_NONE,))
    if not attacks["of_this_plan"]:
        return Section(
            "Attacks",
            (
                f"attacks.json is of another plan, {attacks['plan']}: nothing of it is about this run, and "
                "nothing of it is shown.",
            ),
        )
    words = (
        "Measured by attacks on what the server sees in runs of this plan, under the digests of views below. "
        f"The measurements are those of attacks.json, SHA-256 {digest}. An audit plays the rounds of the "
        "plan, or as many of them as there is time for: its bounds stand beside the account of "
        f"{counted(attacks['rounds'], 'round')}.",
        _NOT,
    )
    tables = [_table_of_findings(attacks["findings"])] if attacks["findings"] else []
    tables += [_table_of_bounds(attacks["bounds"])] if attacks["bounds"] else []
    return Section("Attacks", (*alarms(attacks), *cautions(attacks), *words), tables=tuple(tables))


def _table_of_findings(findings: Sequence[Document]) -> Table:
    return Table(
        "What attacks found, beside chance",
        ("attack", "figure", "value", "95 % interval", "n", "chance", "verdict", "view"),
        tuple(
            (
                one["attack"],
                one["figure"],
                _figure(one["value"]),
                "–"
                if one["low"] is None or one["high"] is None
                else f"{plain(one['low'])} to {plain(one['high'])}",
                str(one["n"]),
                _figure(one["chance"]),
                one["verdict"],
                one["view"][:12],
            )
            for one in findings
        ),
        prose=True,
    )


def _table_of_bounds(bounds: Sequence[Document]) -> Table:
    return Table(
        "Epsilon, measured from below and accounted from above, against the server",
        (
            "what is protected",
            "at least",
            "at most",
            "delta",
            "confidence",
            "by",
            "assuming",
            "canaries",
            "view",
        ),
        tuple(
            (
                f"one {one['unit']}",
                left(one["epsilon"]),
                "not comparable" if one["accounted"] is None else bound(one["accounted"]),
                given(one["delta"]),
                _confidence(one),
                one["method"],
                _ASSUMED[one["assumes"]],
                str(one["trials"]),
                one["view"][:12],
            )
            for one in bounds
        ),
        prose=True,
    )


def _method(one: Document) -> str:
    return f"{one['method']}, {_confidence(one)} confidence, assuming {_ASSUMED[one['assumes']]}"


def _confidence(one: Document) -> str:
    return f"{100 * one['confidence']:.4g} %"


def _figure(value: float | None) -> str:
    return "–" if value is None else plain(value)
