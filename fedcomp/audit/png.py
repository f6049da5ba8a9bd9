"""Grey pictures as PNG files (ISO/IEC 15948) inside a page: what an attack saw over what it was after."""

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GAP = 2


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Return the PNG file of a grey picture ``[h, w]``, 0 black and 255 white; equal pixels give equal bytes.

    Raises:
        ValueError: for another dtype or number of axes, or a picture without pixels.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or not pixels.size:
        raise ValueError(f"pixels must be uint8[h, w], got {pixels.dtype}{list(pixels.shape)}")
    height, width = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)  # 8 bits, grey, deflate, no interlacing
    unfiltered = np.zeros((height, width + 1), dtype=np.uint8)  # each row begins with its filter: 0, none
    unfiltered[:, 1:] = pixels
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(unfiltered.tobytes(), 9)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(kind, content) for kind, content in parts)


def picture_strip(*rows: NDArray[Any], magnify: int = 4) -> bytes:
    """Return one PNG file with the pictures of each argument ``[n, h, w]``, in [0, 1], in a row of its own.

    Values outside of [0, 1] are clipped. Every pixel becomes ``magnify`` by ``magnify``; white gaps lie between.

    Raises:
        ValueError: for rows of unequal shapes, values that are not finite, or ``magnify`` below 1.
    """
    stacked = np.stack([np.asarray(row, dtype=np.float64) for row in rows]) if _alike(rows) else np.empty(0)
    if stacked.ndim != 4 or not stacked.size:
        raise ValueError(f"rows must be pictures [n, h, w] of one shape, got {[list(np.shape(row)) for row in rows]}")
    if not np.isfinite(stacked).all():
        raise ValueError("rows must hold finite values, got NaN or infinity")
    if magnify < 1:
        raise ValueError(f"magnify must be at least 1, got {magnify}")
    framed = np.pad(stacked, ((0, 0), (0, 0), (0, _GAP), (0, _GAP)), constant_values=1.0)
    count, number, height, width = framed.shape
    sheet = framed.transpose(0, 2, 1, 3).reshape(count * height, number * width)[:-_GAP, :-_GAP]
    grey = np.rint(255 * sheet.clip(0, 1)).astype(np.uint8)
    return encode_png(grey.repeat(magnify, axis=0).repeat(magnify, axis=1))


def _alike(rows: tuple[NDArray[Any], ...]) -> bool:
    return len({np.shape(row) for row in rows}) == 1


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
