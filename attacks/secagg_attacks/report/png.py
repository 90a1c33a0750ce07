"""Images as PNG bytes (ISO/IEC 15948), eight bits a channel, without a library: the same bytes everywhere."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["data_uri", "grid", "png"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png(image: npt.NDArray[Any]) -> bytes:
    """Of one image (channels, height, width), 1 or 3 channels from 0 to 1; what lies outside is clipped.

    Raises ValueError for other shapes.
    """
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise ValueError(f"an image of shape {image.shape}, not (1 or 3, height, width)")
    pixels = np.rint(np.clip(np.nan_to_num(image), 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
    height, width, channels = pixels.shape
    rows = b"".join(b"\x00" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    return (
        _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows, 9)) + _chunk(b"IEND", b"")
    )


def data_uri(image: npt.NDArray[Any]) -> str:
    """The same, to stand in a page."""
    return "data:image/png;base64," + base64.b64encode(png(image)).decode()


def grid(images: npt.NDArray[Any], gap: int = 1) -> npt.NDArray[np.float64]:
    """Images (n, channels, height, width) side by side, `gap` white pixels between: one image."""
    n, channels, height, width = images.shape
    whole = np.ones((channels, height, n * (width + gap) - gap))
    for index, image in enumerate(images):
        left = index * (width + gap)
        whole[:, :, left : left + width] = image
    return whole


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
