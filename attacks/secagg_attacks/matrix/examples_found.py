"""What is measured of attacks that read examples out of an update: the share of them that they find.

An example is found where any of the images that the attack gave meets it. How often that comes by luck is
measured on the target's non-members, who are held against the same images by the same rule: if the attack
knows nothing, members are found no more often than they are. The
test is Fisher's exact one (1935), one-sided; made at two levels, it counts twice (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from secagg_attacks.images.measures import psnr
from secagg_attacks.inversion.through_sum.found import EXACT, Met, most_alike, nearest_of
from secagg_attacks.matrix.case import Case, Played
from secagg_attacks.matrix.cautions import by_trace_alone, too_few_to_tell
from secagg_attacks.matrix.pictures import Floats, Pictures
from secagg_attacks.matrix.reconstructions import LEAKS_DB, MOST_DB, POOL, met_by_luck, rank_p_value
from secagg_attacks.results import Measurement
from secagg_attacks.statistics.intervals import wilson
from secagg_attacks.target import Target
from secagg_attacks.views import ThreatModel

__all__ = ["ALIKE", "EXACTLY", "Rule", "share_found"]


@dataclass(frozen=True)
class Rule:
    """When an image meets an example: if its score is the level or more. levels: each with its words; the
    figure is of the first, and whether anything is known at all is asked at every one. wins_at: the share
    found from which on such an attack wins, and the view is given away."""

    score: Callable[[Floats, Floats], Met]
    levels: tuple[tuple[float, str], ...]
    wins_at: float = 0.25


EXACTLY: Final = Rule(nearest_of, ((EXACT, f"at {EXACT:.1f} dB"), (LEAKS_DB, f"at {LEAKS_DB:g} dB")))
"""The second is for what approximate arithmetic has blurred, and anybody would recognise."""
ALIKE: Final = Rule(most_alike, ((0.9, "with a correlation of 0.9"),))


def share_found(
    case: Case,
    target: Target,
    x: torch.Tensor,
    images: Floats,
    rule: Rule,
    digest: str,
    threat: ThreatModel,
    notes: tuple[str, ...] = (),
    conceded: int = 0,
) -> Played:
    """The cell. x: (n, *shape), the examples; images: (k, *shape), all that the attack gave, k may be 0.
    conceded: examples that count as found without an image."""
    pictures = Pictures.of(target)
    originals = pictures.drawn(x.numpy())
    others = pictures.drawn(target.nonmembers[0][:POOL].numpy())
    given = pictures.clipped(images.reshape(len(images), *x.shape[1:]))
    met, by_luck = rule.score(originals, given), rule.score(others, given)
    counts = [_count(met, level, conceded) for level, _ in rule.levels]
    lucky = [_count(by_luck, level) for level, _ in rule.levels]
    n = len(originals)
    p_values = [met_by_luck(*pair, n, len(others)) for pair in zip(counts, lucky, strict=True)]
    p_value = min(1.0, len(p_values) * min(p_values))
    interval = wilson(counts[0], n)
    value, chance = counts[0] / n, lucky[0] / len(others)
    blurred = f"more found {rule.levels[-1][1]} than by luck; {rule.levels[0][1]} no more"
    least = min(1.0, len(p_values) * met_by_luck(n, 0, n, len(others)))
    notes = (
        f"found: met {rule.levels[0][1]}",
        *notes,
        *by_trace_alone(p_value, value, chance, blurred),
        *too_few_to_tell(value, rule.wins_at, least),
    )
    more = {"images given": float(len(given))}
    for (_, words), count, luck in zip(rule.levels, counts, lucky, strict=True):
        more[f"found {words}"] = count / n
        more[f"non-members found {words}"] = luck / len(others)
    measurement = Measurement(
        attack=case.attack,
        defence=case.defence.name,
        status="measured",
        seed=case.seed,
        figure="share of examples found",
        value=value,
        low=interval.low,
        high=interval.high,
        n=n,
        chance=chance,
        ceiling=1.0,
        p_value=p_value,
        must_reach=rule.wins_at,
        leaks_at=rule.wins_at,
        view=digest,
        threat=threat,
        notes=notes,
        more=more,
        also=(rank_p_value([(originals, given)], others),) if len(given) else (),
    )
    if target.domain != "image":
        return measurement, {}
    shown = _shown(met, given, originals)
    return measurement, {
        "originals": originals,
        "images": shown,
        "psnr": np.minimum(psnr(originals, shown), MOST_DB),
    }


def _count(met: Met, level: float, conceded: int = 0) -> int:
    return conceded + int((met.score >= level).sum())


def _shown(met: Met, given: Floats, originals: Floats) -> Floats:
    """The image that comes nearest to each original; grey where there is none at all."""
    if not len(given):
        return np.full_like(originals, 0.5)
    return given[met.image]
