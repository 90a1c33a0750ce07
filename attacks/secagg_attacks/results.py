"""What an attack on a defence came to: one measurement for each pair, and the verdict of the whole table.

Numbers that are not finite do not occur: a figure that cannot be had is None, and its reason is in the notes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, TypeAlias

from secagg_attacks.views import ThreatModel

__all__ = [
    "ACCOUNTED",
    "CLIENTS",
    "SURE_BOUND",
    "Finding",
    "Measurement",
    "Row",
    "Status",
    "Verdict",
    "as_json",
    "from_document",
]

Status: TypeAlias = Literal["measured", "not applicable", "not run"]
Verdict: TypeAlias = Literal["at chance", "partial", "leaks", "not shown", "not applicable", "not run"]
"""not shown: no better than chance, and no sign of protection either (`verdicts`)."""

ACCOUNTED: Final = "accounted epsilon"
SURE_BOUND: Final = "epsilon at least, at 99.9 %"
"""Names in `more`: what an audit's failure is declared by."""
CLIENTS: Final = "clients of each run"
"""The name in `more` of how many are in each sum."""


@dataclass(frozen=True)
class Measurement:
    """One attack on the view of one defence.

    method: what the attack does, whatever it is given; empty for its own name. figure: what `value` is, with
    its unit. low, high: its 95 % interval; a lower bound has no upper end. n: images, members or canaries
    that it is of. chance, ceiling: the value of one who knows nothing, and the most there is to see. p_value:
    of "it knows nothing", of this test alone. must_reach: what the attack has to reach on the unprotected
    view before its failure elsewhere says anything. leaks_at: from where on the view is given away. view:
    digest of the transcript. threat: None where nothing was attacked. seconds: taken, of `share` that were
    allotted. cut_short: time ended the search before its last step. more: further figures by name. also:
    p-values of other readings of the same cell. clear_below: what the interval must end below before the cell
    may be called at chance; None for `leaks_at`.
    """

    attack: str
    defence: str
    status: Status
    seed: int
    figure: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    chance: float | None = None
    ceiling: float | None = None
    p_value: float | None = None
    must_reach: float | None = None
    leaks_at: float | None = None
    view: str = ""
    threat: ThreatModel | None = None
    seconds: float = 0.0
    share: float = 0.0
    cut_short: bool = False
    notes: tuple[str, ...] = ()
    more: Mapping[str, float] = field(default_factory=dict)
    method: str = ""
    also: tuple[float, ...] = ()
    clear_below: float | None = None

    @property
    def wins(self) -> bool:
        """Whether the attack does here what it must where nothing protects, and more than chance does."""
        reached = self.value is not None and self.must_reach is not None and self.value >= self.must_reach
        return reached and self.above_chance

    @property
    def above_chance(self) -> bool:
        """Of the figure alone: whether it is more than somebody reaches who saw nothing."""
        return self.value is not None and self.value > (0.0 if self.chance is None else self.chance)

    @property
    def beats_account(self) -> bool:
        """Whether an audit shows, at 99.9 % confidence, a larger epsilon than the noise is accounted with."""
        return self.more.get(SURE_BOUND, 0.0) > self.more.get(ACCOUNTED, math.inf)


@dataclass(frozen=True)
class Finding:
    """A measurement, its p-value corrected for all tests of the table, and what both mean."""

    measurement: Measurement
    adjusted: float | None
    verdict: Verdict


@dataclass(frozen=True)
class Row:
    """What a defence costs, and what its noise is accounted with.

    accuracy: of the model that a run under the defence ends with (`matrix.utility`), on non-members, with its
    95 % interval; chance: of always saying the commonest class. epsilon: accounted, at `delta`, of `unit`;
    None without noise. lower_bound: on epsilon, by the audit, at 95 %; None where none was made. clients: in
    the sum. view: its transcript. Any is None where time ran out.
    """

    defence: str
    clients: int
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    unit: str = ""
    delta: float | None = None
    epsilon: float | None = None
    lower_bound: float | None = None
    view: str = ""
    seconds: float = 0.0
    notes: tuple[str, ...] = ()


def as_json(document: Any) -> str:
    """Sorted, indented, strict JSON of plain values and frozen dataclasses; ValueError for NaN."""
    plain = asdict(document) if hasattr(document, "__dataclass_fields__") else document
    return json.dumps(plain, indent=1, sort_keys=True, allow_nan=False) + "\n"


def from_document(document: Mapping[str, Any]) -> Measurement:
    """A measurement, as `as_json` wrote it."""
    known = dict(document)
    known |= {name: tuple(known[name]) for name in ("notes", "also")}
    if known.get("threat") is not None:
        known["threat"] = ThreatModel(**known["threat"])
    return Measurement(**known)
