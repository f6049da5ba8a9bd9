"""Integers of a fixed number of bits, one after the other."""

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.base import PayloadError

_BLOCK = 2**16


def pack_bits(values: NDArray[np.uint32], width: int) -> bytes:
    """Return the lowest ``width`` bits of every value, the lowest first, in bytes filled from their lowest bit."""
    if width == 0 or not len(values):
        return b""
    parts = []
    for at in range(0, len(values), _BLOCK):
        block = np.ascontiguousarray(values[at : at + _BLOCK], dtype="<u4").view(np.uint8).reshape(-1, 4)
        bits = np.unpackbits(block, axis=1, bitorder="little")[:, :width]
        parts.append(np.packbits(bits, bitorder="little").tobytes())
    return b"".join(parts)


def unpack_bits(data: memoryview, width: int, count: int) -> NDArray[np.uint32]:
    """Return ``count`` values, the inverse of ``pack_bits``; ``data`` has exactly ``packed_size`` bytes.

    Raises:
        PayloadError: if a bit after the last value is set.
    """
    values = np.zeros(count, dtype="<u4")
    if width == 0 or not count:
        return values.astype(np.uint32, copy=False)
    spare = count * width % 8
    if spare and data[-1] >> spare:
        raise PayloadError("expected zero bits after the last packed value")
    octets = np.frombuffer(data, dtype=np.uint8)
    for at in range(0, count, _BLOCK):
        size = min(_BLOCK, count - at)
        part = octets[at * width // 8 : packed_size(width, at + size)]
        bits = np.zeros((size, 32), dtype=np.uint8)
        bits[:, :width] = np.unpackbits(part, count=size * width, bitorder="little").reshape(size, width)
        values[at : at + size] = np.packbits(bits, axis=1, bitorder="little").view("<u4")[:, 0]
    return values.astype(np.uint32, copy=False)


def packed_size(width: int, count: int) -> int:
    """Return how many bytes ``count`` values of ``width`` bits take."""
    return -(-width * count // 8)
