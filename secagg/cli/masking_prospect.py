"""What a plan under masks promises: graph, threshold, ring, bytes and CPU, in figures and in words.

The figures are those the protocol itself will use (`secagg.masking.parameters`, `secagg.encoding`), so what
is said here is what happens. Nothing is run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from secagg.cli.exchange import Exchange
from secagg.cli.masking_cost import Cpu, cpu, traffic
from secagg.cli.quantities import count, seconds, size
from secagg.cli.ring_words import about_ring, holds
from secagg.encoding.codec import Settings
from secagg.encoding.packing import packed_size
from secagg.encoding.ring import MAX_BITS
from secagg.masking.parameters import Policy, Threshold, threshold
from secagg.plan import Plan, policy_of, settings_of
from secagg.protections import least_cohort

__all__ = ["MaskingProspect", "masking_prospect"]


@dataclass(frozen=True)
class MaskingProspect:
    """A full cohort of `clients`, k, t, quorum, `needed` to the end, `may_vanish`, the smallest cohort that
    can open a sum; the ring; and per round: bytes of one client by stage, CPU seconds. `words`: all of it, by
    title.
    """

    protection: str
    clients: int
    colluding: int
    k: int
    t: int
    quorum: int
    needed: int
    may_vanish: int
    smallest_cohort: int
    ring_bits: int
    ring_holds_clients: int
    vector_bytes: int
    upload_bytes: int
    download_bytes: int
    stages: Mapping[str, Exchange]
    cpu_seconds: Cpu
    words: Mapping[str, tuple[str, ...]]


def masking_prospect(plan: Plan, dim: int) -> MaskingProspect:
    """What `plan` promises for a model of `dim` parameters."""
    policy, settings = policy_of(plan), settings_of(plan, dim)
    limits = threshold(policy, policy.max_clients)
    length = settings.length(dim)
    stages = traffic(limits, length, settings.bits)
    up, down = (sum(stage.up for stage in stages.values()), sum(stage.down for stage in stages.values()))
    vector = packed_size(length, settings.bits)
    vanishing = policy.expected_dropouts(limits.n)
    cost = cpu(limits, length, settings.bits, vanishing)
    return MaskingProspect(
        protection=plan.protection.kind,
        clients=limits.n,
        colluding=policy.c,
        k=limits.k,
        t=limits.t,
        quorum=limits.quorum,
        needed=limits.needed,
        may_vanish=limits.tolerated,
        smallest_cohort=least_cohort(plan),
        ring_bits=settings.bits,
        ring_holds_clients=holds(settings, settings.bits),
        vector_bytes=vector,
        upload_bytes=up,
        download_bytes=down,
        stages=stages,
        cpu_seconds=cost,
        words={
            "cohort": tuple(_about_cohort(policy, limits)),
            "who may vanish": tuple(_about_vanishing(policy, limits, least_cohort(plan))),
            "ring": (*about_ring(plan, settings, dim), *_about_widening(settings)),
            "bytes, per client and round": tuple(
                _about_bytes(up, down, vector, length, limits, settings.bits)
            ),
            "CPU, per round, roughly": tuple(_about_cpu(cost, vanishing)),
        },
    )


def _about_cohort(policy: Policy, limits: Threshold) -> Iterator[str]:
    yield (
        f"{limits.n} clients, of whom {policy.c} may collude with a {policy.adversary} server "
        f"(a share of {policy.colluders:g}, rounded up)"
    )
    yield (
        f"complete graph: each client shares its secrets with k = {limits.k} others, and t = {limits.t} "
        "shares open one"
    )
    if limits.quorum:
        yield f"before anything is opened, {limits.quorum} clients must have confirmed the same survivors"
    yield f"no sum over fewer than {policy.min_survivors} clients is ever opened"


def _about_vanishing(policy: Policy, limits: Threshold, least: int) -> Iterator[str]:
    yield (
        f"of all {limits.n}: {count(limits.tolerated)} may vanish during the protocol, {limits.needed} must "
        f"stay (the plan assumes that {policy.expected_dropouts(limits.n)} vanish)"
    )
    yield "who has not finished training in time is not in the cohort, and costs nothing; of a smaller cohort"
    sizes = [(n, threshold(policy, n).tolerated) for n in range(least, min(limits.n, least + 20) + 1)]
    runs = [(tolerated, [n for n, _ in run]) for tolerated, run in groupby(sizes, key=lambda one: one[1])]
    shown = [
        f"n={run[0]}{f' or {run[-1]}' if len(run) == 2 else f' to {run[-1]}' if len(run) > 2 else ''}: "
        f"{count(tolerated)}"
        for tolerated, run in runs[:4]
    ]
    if sizes[-1][0] < limits.n or len(runs) > 4:
        shown.append(f"and so on to n={limits.n}: {count(limits.tolerated)}")
    yield "this many may vanish: " + "; ".join(shown)
    yield f"fewer than {least} open nothing: the round fails, and the model stays as it was"


def _about_widening(settings: Settings) -> Iterator[str]:
    if settings.noise is None:
        most = holds(settings, MAX_BITS)
        yield f"for more, the ring widens by itself, up to {MAX_BITS} bits and {most:.2g} clients"


def _about_bytes(up: int, down: int, vector: int, length: int, limits: Threshold, bits: int) -> Iterator[str]:
    yield f"up    {size(up)}, of which {size(up - vector)} keys, shares and signatures"
    yield f"      and {size(vector)} the masked vector: {bits} bits for each of {length} coordinates"
    yield f"down  {size(down)} beside the model: {limits.n} certificates, {limits.k} sealed shares"


def _about_cpu(cost: Cpu, vanished: int) -> Iterator[str]:
    yield (
        f"a client {seconds(cost.client)}, the server {seconds(cost.server)} if {vanished} vanish; one "
        "core, without training"
    )
    yield "measured with benchmarks/masking.py on a machine with vector AES; without, masks cost more"
