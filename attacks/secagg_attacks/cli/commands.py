"""The four commands, by name."""

from __future__ import annotations

from typing import Final

from secagg_attacks.cli.group import SUMMARIES
from secagg_attacks.cli.of_run import with_run
from secagg_attacks.cli.table import table

__all__ = ["audit", "inversion", "matrix", "membership"]

inversion: Final = table("inversion", "inversion", SUMMARIES["inversion"])
membership: Final = table("membership", "membership", SUMMARIES["membership"])
audit: Final = with_run(table("audit", "audit", SUMMARIES["audit"]))
matrix: Final = table("matrix", None, SUMMARIES["matrix"])
