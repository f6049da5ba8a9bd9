"""Maps of scattering features to fewer of them: fixed, public, row by row, so that they cost no privacy.

Each map ends by bringing a row back to the length that all its features had, from that row alone. A linear layer's
gradient is as long as its input, so clipping and step length then mean what they mean for all features.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcomp.rng import stream
from fedcomp.tasks.scattering import NUM_FEATURES

Floats = NDArray[np.float32]
Map = Callable[[Floats], Floats]
MAPS = 81
"""Scattering channels, of ``SIDE`` by ``SIDE`` places each."""
SIDE = 7
_BLOCK = 64
_ROWS = 2000


def subset(count: int) -> Map:
    """Return the map ``[n, 3969]`` to ``[n, count]`` that keeps ``count`` features, drawn once and for everybody."""
    places = np.sort(stream(0, "local mode", "subset").permutation(NUM_FEATURES)[:count])

    def kept(rows: Floats) -> Floats:
        return rows[:, places]

    return kept


def projection(count: int) -> Map:
    """Return the map ``[n, 3969]`` to ``[n, count]`` onto random directions that are orthonormal.

    Random signs, a Hadamard transform of 4,096 (the rows padded with zeros) and ``count`` of its outputs (the fast
    transform of Ailon and Chazelle 2006). A linear head on them is a head of low rank whose input side is frozen.
    """
    size = _BLOCK * _BLOCK
    rng = stream(0, "local mode", "projection")
    signs = rng.choice(np.array([-1, 1], dtype=np.float32), NUM_FEATURES)
    places = np.sort(rng.permutation(size)[:count])
    matrix = hadamard(_BLOCK) / np.float32(np.sqrt(_BLOCK))

    def projected(rows: Floats) -> Floats:
        padded = np.zeros((len(rows), size), dtype=np.float32)
        padded[:, :NUM_FEATURES] = rows * signs
        mixed = matrix @ padded.reshape(-1, _BLOCK, _BLOCK) @ matrix
        return np.asarray(mixed.reshape(-1, size)[:, places])

    return projected


def pooling(side: int) -> Map:
    """Return the map ``[n, 3969]`` to ``[n, 81 * side**2]`` of means over overlapping windows of the 7x7 places."""
    windows = np.zeros((side, SIDE), dtype=np.float32)
    for place in range(side):
        low, high = place * SIDE // side, -(-(place + 1) * SIDE // side)
        windows[place, low:high] = 1 / (high - low)

    def pooled(rows: Floats) -> Floats:
        maps = rows.reshape(-1, MAPS, SIDE, SIDE)
        return np.asarray((windows @ maps @ windows.T).reshape(len(rows), -1), dtype=np.float32)

    return pooled


def cut(rows: NDArray[Any], mapped: Map) -> NDArray[np.float16]:
    """Return the mapped rows as float16, each as long (L2) as it was with all its features."""
    parts = [_cut(np.asarray(rows[at : at + _ROWS], dtype=np.float32), mapped) for at in range(0, len(rows), _ROWS)]
    return np.concatenate(parts)


def hadamard(size: int) -> Floats:
    """Return the Hadamard matrix of a power of two; entries are 1 and -1."""
    places = np.arange(size)
    shared = np.bitwise_count(places[:, None] & places)
    return np.asarray(np.where(shared % 2, -1, 1), dtype=np.float32)


def _cut(rows: Floats, mapped: Map) -> NDArray[np.float16]:
    fewer = mapped(rows)
    length = np.linalg.norm(fewer, axis=1, keepdims=True)
    scale = np.linalg.norm(rows, axis=1, keepdims=True) / np.maximum(length, np.float32(1e-6))
    return np.asarray(fewer * scale, dtype=np.float16)
