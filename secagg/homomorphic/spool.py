"""Uploads that wait on disk to be fetched, so that a server never holds more than one of them in memory.

The file has no name and is gone with the process. What is in it are ciphertexts, which the server was sent
and has no key to.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from secagg.errors import ProtocolError

__all__ = ["Spool"]


class Spool:
    """Items by number, each written once. Closed by `close`, or with the last reference to it.

    What the disk refuses is raised as ProtocolError `spool-failed`; the items there already stay whole.
    """

    def __init__(self) -> None:
        self._places: dict[int, tuple[int, int]] = {}
        self._end = 0
        with _refusals():
            self._file = tempfile.TemporaryFile(prefix="secagg-", buffering=0)  # noqa: SIM115 - see close()

    def put(self, number: int, content: bytes | bytearray | memoryview) -> None:
        with _refusals():
            self._file.seek(self._end)
            left = memoryview(content)
            while left:
                left = left[self._file.write(left) :]
        self._places[number] = (self._end, len(content))
        self._end += len(content)

    def get(self, number: int) -> bytearray:
        """Raises KeyError for a number that nothing was put under."""
        start, length = self._places[number]
        content = bytearray(length)
        left = memoryview(content)
        with _refusals():
            self._file.seek(start)
            while left and (read := self._file.readinto(left)):
                left = left[read:]
        if left:
            raise ProtocolError("spool-failed", "an upload that waits on disk is cut off")
        return content

    def close(self) -> None:
        self._file.close()

    def __del__(self) -> None:
        if hasattr(self, "_file"):  # an attempt that is given up ends without a call
            self._file.close()


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ProtocolError(
            "spool-failed",
            f"an upload cannot wait on disk: {error.strerror or error}",
            "free space where temporary files go, or set TMPDIR to another folder",
        ) from error
