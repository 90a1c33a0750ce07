"""Defences as rows, attacks as columns: every attack on what the server saw under every defence."""
