"""Integers of a fixed number of bits, one after the other."""

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.base import PayloadError

_BLOCK = 2**16


def pack_bits(values: NDArray[np.uint32], width: int) -> bytes:
    """Return the lowest ``width`` bits of every value, the lowest first, in bytes filled from their lowest bit."""
    if width == 0 or not len(values):
        return b""
    pack = _pack_narrow if width <= 8 else _pack_wide
    return b"".join(pack(values[at : at + _BLOCK], width) for at in range(0, len(values), _BLOCK))


def unpack_bits(data: memoryview, width: int, count: int) -> NDArray[np.uint32]:
    """Return ``count`` values, the inverse of ``pack_bits``; ``data`` has exactly ``packed_size`` bytes.

    Raises:
        PayloadError: if a bit after the last value is set.
    """
    values = np.zeros(count, dtype=np.uint32)
    if width == 0 or not count:
        return values
    spare = count * width % 8
    if spare and data[-1] >> spare:
        raise PayloadError("expected zero bits after the last packed value")
    octets = np.frombuffer(data, dtype=np.uint8)
    unpack = _unpack_narrow if width <= 8 else _unpack_wide
    for at in range(0, count, _BLOCK):
        size = min(_BLOCK, count - at)
        values[at : at + size] = unpack(octets[at * width // 8 : packed_size(width, at + size)], width, size)
    return values


def packed_size(width: int, count: int) -> int:
    """Return how many bytes ``count`` values of ``width`` bits take."""
    return -(-width * count // 8)


def _pack_narrow(values: NDArray[np.uint32], width: int) -> bytes:
    """Pack up to 8 bits a value: eight values fill ``width`` bytes, and are brought together two by two."""
    size = len(values)
    words = np.zeros(-(-size // 8) * 8, dtype="<u8")
    np.bitwise_and(values, np.uint32(2**width - 1), out=words[:size], casting="unsafe")
    for shift in (width, 2 * width, 4 * width):
        words = words[0::2] | (words[1::2] << np.uint64(shift))
    return words.view(np.uint8).reshape(-1, 8)[:, :width].tobytes()[: packed_size(width, size)]


def _unpack_narrow(octets: NDArray[np.uint8], width: int, size: int) -> NDArray[np.uint32]:
    eights = -(-size // 8)
    padded = np.zeros((eights, width), dtype=np.uint8)
    padded.reshape(-1)[: len(octets)] = octets
    words = np.zeros((eights, 8), dtype=np.uint8)
    words[:, :width] = padded
    joined = words.view("<u8")[:, 0]
    values = np.empty((eights, 8), dtype=np.uint32)
    for index in range(8):
        values[:, index] = (joined >> np.uint64(index * width)) & np.uint64(2**width - 1)
    return values.reshape(-1)[:size]


def _pack_wide(values: NDArray[np.uint32], width: int) -> bytes:
    octets = np.ascontiguousarray(values, dtype="<u4").view(np.uint8).reshape(-1, 4)[:, : -(-width // 8)]
    bits = np.unpackbits(octets, axis=1, bitorder="little")[:, :width]
    return np.packbits(bits, bitorder="little").tobytes()


def _unpack_wide(octets: NDArray[np.uint8], width: int, size: int) -> NDArray[np.uint32]:
    rounded = -(-width // 8)
    bits = np.zeros((size, 8 * rounded), dtype=np.uint8)
    bits[:, :width] = np.unpackbits(octets, count=size * width, bitorder="little").reshape(size, width)
    values = np.zeros((size, 4), dtype=np.uint8)
    values[:, :rounded] = np.packbits(bits, axis=1, bitorder="little")
    return values.view("<u4")[:, 0].astype(np.uint32, copy=False)
