"""Which clients held the keys of homomorphic summation, in which rounds, and whether that can be.

It is the log that names them, and anybody may have changed it. So what it says is held against the ledger:
key holders are of the attempt's cohort, and one of them at the least is in the sum, or nobody opened it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from secagg.homomorphic.cohort import DECRYPTORS
from secagg.report.digests import rosters_stay_private
from secagg.report.figures import ranges
from secagg.report.finding import Finding
from secagg.report.log_events import KeysHeld
from secagg.report.record import Attempt, RunRecord

__all__ = ["held_in_round", "key_holders", "misplaced_keys", "unlogged"]


def key_holders(record: RunRecord) -> dict[str, Any] | None:
    """Of the whole run: how often each client held a key. None where no sum was homomorphic.

    Names are left out where it must stay secret who was drawn.
    """
    if not record.encrypted:
        return None
    private = rosters_stay_private(record)
    rounds: dict[str, list[int]] = {}
    for keys in record.keys:
        for client in keys.clients:
            rounds.setdefault(client, []).append(keys.round)
    return {
        "at_most": DECRYPTORS,
        "private": private,
        "unlogged": ranges(unlogged(record)),
        "list": None
        if private
        else [
            {"client": client, "attempts": len(held), "rounds": ranges(held)}
            for client, held in sorted(rounds.items())
        ],
    }


def held_in_round(record: RunRecord, round: int) -> list[dict[str, Any]] | None:
    """Of one round: each attempt for which there was a key, and who held it, its maker first."""
    if not record.encrypted or rosters_stay_private(record):
        return None
    return [
        {"attempt": keys.attempt, "clients": list(keys.clients)}
        for keys in record.keys
        if keys.round == round
    ]


def unlogged(record: RunRecord) -> list[int]:
    """Rounds whose sum was opened, and of which the log does not say who held the key."""
    if not record.encrypted:
        return []
    logged = {(keys.round, keys.attempt) for keys in record.keys}
    return [round for round, opened in record.opened.items() if (round, opened.attempt) not in logged]


def misplaced_keys(record: RunRecord) -> Iterator[Finding]:
    """Where the log names key holders that no attempt of the ledger can have had."""
    if record.keys and not record.encrypted:
        yield Finding("log.jsonl", "names who held a key, and no sum of this run was homomorphic")
        return
    attempts = {(attempt.round, attempt.attempt): attempt for attempt in record.attempts}
    seen: set[tuple[int, int]] = set()
    for keys in record.keys:
        where = f"log.jsonl, keys of round {keys.round}, attempt {keys.attempt}"
        attempt = attempts.get((keys.round, keys.attempt))
        if (keys.round, keys.attempt) in seen:
            yield Finding(where, "are told of twice")
        seen.add((keys.round, keys.attempt))
        if attempt is None:
            yield Finding(where, "the ledger has no such attempt")
        else:
            yield from (Finding(where, what) for what in _misfits(record, attempt, keys))


def _misfits(record: RunRecord, attempt: Attempt, keys: KeysHeld) -> Iterator[str]:
    held = set(keys.clients)
    if held - set(attempt.cohort):
        yield "a client held one who was not in the cohort"
    least = min(DECRYPTORS, max(record.plan.cohort.min_survivors, len(attempt.survivors or ())))
    if len(held) < least:
        yield f"{len(held)} held one, and {least} are drawn from a cohort of this plan"
    if attempt.state != "opened":
        return
    needed = len(held) // 2 + 1 if record.plan.protection.recompute else 1
    if len(held & set(attempt.survivors or ())) < needed:
        yield f"the sum was opened with fewer than {needed} of those who held one in it"
