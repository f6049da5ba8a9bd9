"""Which class each block is in: by the log-scale of its mean magnitude, as many classes as pay for their tables.

The encoder alone chooses; the decoder takes any classes. Class 0 is silent: its values are zero and are not coded.
"""

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.trellis.bins import Floats
from fedcomp.codecs.trellis.machine import BLOCK

Classes = NDArray[np.uint8]

_PER_OCTAVE = 2
_SILENT = 1.9
"""No magnitude below so many steps is worth a level other than zero."""
_TABLE_BITS = 200
"""What a class costs beyond the class of every block: two tables and the shifts."""
_CHANCE = 0.025
"""Largest squared difference of classes, in logarithms of mean magnitudes, that blocks of one scale have by chance."""
_CHUNK = 2**10


def choose_classes(values: Floats, step: float, padding: int) -> Classes:
    """Return the class of every block of ``values``, shape (blocks, 256); class 1 is the quietest that is coded.

    The last ``padding`` values, fewer than a block, are zeros that do not count.
    """
    means, largest = np.empty((2, len(values)), dtype=np.float32)
    for at in range(0, len(values), _CHUNK):
        magnitudes = np.abs(values[at : at + _CHUNK])
        np.mean(magnitudes, axis=1, out=means[at : at + _CHUNK])
        np.max(magnitudes, axis=1, out=largest[at : at + _CHUNK])
    if len(means):
        means[-1] *= BLOCK / (BLOCK - padding)
    coded = np.flatnonzero(largest >= _SILENT * step)
    means /= np.float32(step)
    classes = np.zeros(len(values), dtype=np.uint8)
    if len(coded):
        scales = np.log2(means[coded])
        grid = np.floor(scales * _PER_OCTAVE).astype(np.int64)
        classes[coded] = _merge(grid - grid.min(), scales) + 1
    return classes


def _merge(grid: NDArray[np.int64], scales: Floats) -> NDArray[np.int64]:
    """Return classes 0, 1, ... in place of ``grid``: neighbours are joined while that saves bits."""
    _, classes = np.unique(grid, return_inverse=True)
    while classes.max():
        count = int(classes.max()) + 1
        blocks = np.bincount(classes).astype(np.float64)
        sums = np.bincount(classes, weights=scales).astype(np.float64)
        switches = np.zeros(count - 1)
        steps = np.diff(classes)
        np.add.at(switches, np.minimum(classes[1:], classes[:-1])[np.abs(steps) == 1], 1)
        saved = np.array([_saving(pair, blocks, sums, switches) for pair in range(count - 1)])
        best = int(saved.argmax())
        if saved[best] <= 0:
            break
        classes = classes - (classes > best)
    return classes


def _saving(
    pair: int,
    blocks: NDArray[np.float64],
    sums: NDArray[np.float64],
    switches: NDArray[np.float64],
) -> float:
    """Return the bits that joining classes ``pair`` and ``pair + 1`` is expected to save."""
    first, second = blocks[pair], blocks[pair + 1]
    total = first + second
    apart = np.log(2.0) * (sums[pair] / first - sums[pair + 1] / second)
    level = 2.0 ** ((sums[pair] + sums[pair + 1]) / total)
    # A wrong scale by d (natural logarithm) costs about d^2 nats a value at high rate, and less where most are zero.
    mismatch = BLOCK * first * second / total * max(apart**2 - _CHANCE, 0.0) / np.log(2.0) * min(1.0, level)
    share = min(0.5, switches[pair] / total)
    entropy = 0.0 if share == 0 else -share * np.log2(share) - (1 - share) * np.log2(1 - share)
    return float(_TABLE_BITS + total * entropy - mismatch)
