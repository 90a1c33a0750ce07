"""The answer of `secagg params`: what a plan promises and costs, by what hides its sums."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secagg.cli.homomorphic_prospect import HomomorphicProspect, homomorphic_prospect
from secagg.cli.masking_prospect import MaskingProspect, masking_prospect
from secagg.plan import Plan

__all__ = ["Prospect", "prospect"]

Prospect = MaskingProspect | HomomorphicProspect


def prospect(plan: Plan, dim: int, chosen: Mapping[str, Any] | None = None) -> Prospect:
    """What `plan` promises for a model of `dim` parameters.

    chosen: what of [cohort] the command chose by itself, to be said. Raises EncodingError
    `scheme-infeasible` where only this size makes the ring too wide.
    """
    if plan.protection.homomorphic:
        return homomorphic_prospect(plan, dim, chosen or {})
    return masking_prospect(plan, dim)
