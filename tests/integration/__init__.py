"""Whole runs in real processes over mutual TLS on this machine, some of which are killed, stopped or lie."""
