"""Uploads that wait on disk to be fetched, so that a server never holds more than one of them in memory.

The file has no name and is gone with the process. What is in it are ciphertexts, which the server was sent
and has no key to.
"""

from __future__ import annotations

import tempfile

__all__ = ["Spool"]


class Spool:
    """Items by number, each written once."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="secagg-")  # noqa: SIM115 - closed by close()
        self._places: dict[int, tuple[int, int]] = {}
        self._end = 0

    def put(self, number: int, content: bytes | bytearray | memoryview) -> None:
        self._file.seek(self._end)
        self._file.write(content)
        self._places[number] = (self._end, len(content))
        self._end += len(content)

    def get(self, number: int) -> bytes:
        """Raises KeyError for a number that nothing was put under."""
        start, length = self._places[number]
        self._file.seek(start)
        return self._file.read(length)

    def close(self) -> None:
        self._file.close()
