"""`secagg attack`: the plug-in command of this package, found by its entry point."""

from secagg_attacks.cli.group import attack

__all__ = ["attack"]
