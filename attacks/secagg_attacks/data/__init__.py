"""Data to attack that need no download."""
