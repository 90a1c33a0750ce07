"""What `secagg params` says of the ring, which does not depend on what hides the sums in it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace

from secagg.encoding.codec import Settings
from secagg.errors import SecaggError
from secagg.plan import Plan
from secagg.plan_settings import noise_multiplier_of

__all__ = ["about_ring", "holds"]


def about_ring(plan: Plan, settings: Settings, dim: int) -> Iterator[str]:
    """How wide the ring is, and why; under privacy, what noise is in it."""
    return _about_noise(plan, settings, dim) if settings.noise else _about_sums(settings)


def holds(settings: Settings, bits: int) -> int:
    """The most clients whose sum a ring of `bits` holds: 2^bits > 2 * n * largest, and room for the noise."""
    plain = ((1 << bits) - 1) // (2 * settings.largest)
    if settings.noise is None:
        return plain
    return bisect_left(range(1, plain + 1), True, key=lambda n: not _fits(settings, n, bits))


def _fits(settings: Settings, clients: int, bits: int) -> bool:
    try:
        return replace(settings, max_clients=clients).bits <= bits
    except SecaggError:
        return False


def _about_sums(settings: Settings) -> Iterator[str]:
    clients, largest, bits = settings.max_clients, settings.largest, settings.bits
    step = settings.scale.bit_length() - 1
    yield (
        f"a client's coordinate is at most {largest} steps of 2^-{step}; {clients} clients add up to at most "
        f"{clients * largest}"
    )
    yield (
        f"less than 2^{bits - 1}: in a ring of b = {bits} bits no sum can overflow; it would hold up to "
        f"{holds(settings, bits)} clients"
    )


def _about_noise(plan: Plan, settings: Settings, dim: int) -> Iterator[str]:
    """The ring of a plan with privacy; what it costs is the report's business."""
    noise, bits = settings.noise, settings.bits
    if noise is None:
        return
    if noise.update is None:
        noised = ", but that its metrics are noised" * bool(plan.metrics)
        yield f"examples are protected in training; the vector is as without privacy{noised}"
    else:
        total = noise_multiplier_of(plan, dim)
        where = (
            "by the server" if noise.central else f"a share by each client, sized for {noise.contributors}"
        )
        norms = f"{total:.3g} clip norm{'s' * (total != 1)}"
        yield f"noise of {norms} on the sum, {where}"
    if noise.update is not None and noise.update.ring_bits is not None:
        yield f"a small ring of {bits} bits: the update is rotated; a coordinate that wraps costs accuracy"
    elif noise.central or (noise.update is None and not plan.metrics):
        yield f"no noise is added within the ring: in b = {bits} bits no sum can overflow"
    else:
        yield f"in a ring of b = {bits} bits a sum wraps with a probability below 2^-40 a round"
    yield "what it costs: secagg report --plan PLAN"
