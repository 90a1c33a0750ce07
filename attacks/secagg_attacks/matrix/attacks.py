"""The columns of a table, by name: in the order in which they are played, the quick ones first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from secagg_attacks.matrix import memberships
from secagg_attacks.matrix.audits import audit
from secagg_attacks.matrix.case import Attack
from secagg_attacks.matrix.errors import MatrixError
from secagg_attacks.matrix.inversions import analytic, fedavg, inverting, smooth, through_mean

__all__ = ["COLUMNS", "Column", "columns"]


@dataclass(frozen=True)
class Column:
    """weight: its part of the time, beside the others'. stretches: it ends early, with the best so far, when
    its time is over; another attack would be without a figure."""

    name: str
    title: str
    family: Literal["inversion", "membership", "audit"]
    play: Attack
    weight: float
    stretches: bool
    source: str
    says: str


_IMAGES: Final = "how near a reconstruction comes to a client's image, after the best assignment"
_MEMBERS: Final = "how often a member is ranked above a non-member"

_ALL: Final = (
    Column("analytic", "Analytic", "inversion", analytic, 1.0, False,
           "Phong et al. 2018; Geiping et al. 2020, prop. 3.1", f"{_IMAGES}; one division"),
    Column("inverting", "Inverting gradients", "inversion", inverting, 4.0, True,
           "Geiping et al. 2020", _IMAGES),
    Column("gradient-update", "Gradient cosine, upload", "membership", memberships.gradient_on_update,
           1.0, False, "Li, Li, Ribeiro 2023, OpenReview QsCSLPP55Ku",
           f"{_MEMBERS}, by its gradient's angle with the upload"),
    Column("gradient-sum", "Gradient cosine, sum", "membership", memberships.gradient_on_sum, 0.5, False,
           "Li, Li, Ribeiro 2023, OpenReview QsCSLPP55Ku",
           f"{_MEMBERS}, by its gradient's angle with the opened sum"),
    Column("loss", "Loss", "membership", memberships.loss, 2.0, False, "Yeom et al. 2018", _MEMBERS),
    Column("calibrated", "Calibrated loss", "membership", memberships.calibrated, 1.0, False,
           "Watson et al. 2022", _MEMBERS),
    Column("lira", "LiRA", "membership", memberships.lira, 0.5, False, "Carlini et al. 2022", _MEMBERS),
    Column("rmia", "RMIA", "membership", memberships.relative, 0.5, False,
           "Zarifzadeh et al. 2024", _MEMBERS),
    Column("audit", "Audit", "audit", audit, 4.0, False, "Andrew et al. 2023; Steinke et al. 2023",
           "epsilon is at least this much, at 95 % confidence for this row alone: the verdict is of the "
           "test that is corrected for the table"),
    Column("mean-2", "Through the mean of 2", "inversion", through_mean(2), 2.0, True,
           "Geiping et al. 2020", f"{_IMAGES}; from the opened mean"),
    Column("mean-4", "Through the mean of 4", "inversion", through_mean(4), 2.0, True,
           "Geiping et al. 2020", f"{_IMAGES}; from the opened mean"),
    Column("mean-8", "Through the mean of 8", "inversion", through_mean(8), 3.0, True,
           "Geiping et al. 2020", f"{_IMAGES}; from the opened mean"),
    Column("idlg", "iDLG", "inversion", smooth, 4.0, True, "Zhu et al. 2019; Zhao et al. 2020", _IMAGES),
    Column("fedavg", "FedAvg", "inversion", fedavg, 4.0, True, "Geiping et al. 2020, unrolled",
           f"{_IMAGES}; four local steps on four examples"),
    Column("mean-32", "Through the mean of 32", "inversion", through_mean(32), 6.0, True,
           "Geiping et al. 2020", f"{_IMAGES}; from the opened mean"),
)  # fmt: skip

COLUMNS: Final[Mapping[str, Column]] = MappingProxyType({each.name: each for each in _ALL})


def columns(names: Sequence[str]) -> tuple[Column, ...]:
    """In the order of COLUMNS. Raises MatrixError `attack-unknown`."""
    unknown = [name for name in names if name not in COLUMNS]
    if unknown or not names:
        raise MatrixError(
            "attack-unknown",
            f"no attack is called {unknown[0]!r}" if unknown else "no attack was named",
            f"one of {', '.join(COLUMNS)}",
        )
    return tuple(each for name, each in COLUMNS.items() if name in names)
