"""What a membership attack refuses."""

from __future__ import annotations

from secagg.errors import SecaggError

__all__ = ["MembershipError"]


class MembershipError(SecaggError):
    """A membership attack that cannot be made of what it was given, or a figure that it does not support."""

    exit_code = 2
