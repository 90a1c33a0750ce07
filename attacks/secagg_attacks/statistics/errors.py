"""What a statistic refuses."""

from __future__ import annotations

from secagg.errors import SecaggError

__all__ = ["StatisticsError"]


class StatisticsError(SecaggError):
    """Numbers that no statistic can be computed from; the hint says what is expected."""

    exit_code = 2
