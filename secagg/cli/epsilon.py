"""What a run cost in privacy, in a few words at its end; all of it is in the report."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from secagg.privacy.accountant import Privacy

__all__ = ["in_words", "of_each_unit"]


def in_words(privacy: Sequence[Privacy]) -> str:
    """`; epsilon 3.2 at delta 1e-05 for one client, against ...`; nothing where the plan has no unit."""
    if not privacy:
        return ""
    return "; " + "; ".join(_of(one) for one in privacy) + " (secagg report says the rest)"


def of_each_unit(privacy: Sequence[Privacy]) -> dict[str, dict[str, float | None]]:
    """The same for machines, by unit; null where nothing is proven."""
    return {
        one.unit: {
            "delta": one.delta,
            "public": _finite(one.public.epsilon),
            "server": _finite(one.server.epsilon),
            "colluders": _finite(one.colluders.epsilon),
        }
        for one in privacy
    }


def _of(one: Privacy) -> str:
    """Against the strongest audience that anything is proven against."""
    where = f"at delta {one.delta:g} for one {one.unit}"
    if math.isfinite(one.colluders.epsilon):
        against = "against the server and the colluders that the plan tolerates"
        return f"epsilon {one.colluders.epsilon:.3g} {where}, {against}"
    if math.isfinite(one.public.epsilon):
        return f"epsilon {one.public.epsilon:.3g} {where}, against the public, and none against the server"
    return f"no epsilon {where}"


def _finite(epsilon: float) -> float | None:
    return epsilon if math.isfinite(epsilon) else None
