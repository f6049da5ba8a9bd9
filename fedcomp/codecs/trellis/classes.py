"""Which class each block is in: by the log-scale of its mean magnitude, as many classes as pay for their tables.

The encoder alone chooses; the decoder takes any classes. Class 0 is silent: its values are zero and are not coded.
"""

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.trellis.blocks import Scales
from fedcomp.codecs.trellis.machine import BLOCK

Classes = NDArray[np.uint8]
_Floats = NDArray[np.float64]

_PER_OCTAVE = 2
_SILENT = 1.9
"""No magnitude below so many steps is worth a level other than zero."""
_TABLE_BITS = 200
"""What a class costs beyond the class of every block: two tables and the shifts."""
_CHANCE = 0.025
"""Largest squared difference of classes, in logarithms of mean magnitudes, that blocks of one scale have by chance."""


def choose_classes(scales: Scales, step: float) -> Classes:
    """Return the class of every block; class 1 is the quietest that is coded."""
    coded = np.flatnonzero(scales.peaks >= _SILENT * step)
    classes = np.zeros(len(scales.peaks), dtype=np.uint8)
    if len(coded):
        octaves = np.log2(scales.means[coded] / np.float32(step))
        grid = np.floor(octaves * _PER_OCTAVE).astype(np.intp)
        grid -= grid.min()
        classes[coded] = _merged(grid, octaves)[grid] + 1
    return classes


def _merged(grid: NDArray[np.intp], octaves: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return classes 0, 1, ... of the cells of ``grid``: neighbours are joined while that saves bits."""
    cells = int(grid.max()) + 1
    sizes = np.bincount(grid, minlength=cells)
    present = np.flatnonzero(sizes)
    blocks: _Floats = sizes[present].astype(np.float64)
    sums: _Floats = np.bincount(grid, weights=octaves, minlength=cells)[present].astype(np.float64)
    pairs = np.bincount(grid[1:] * cells + grid[:-1], minlength=cells**2).reshape(cells, cells)
    # How often blocks of two classes follow each other.
    switches = (pairs + pairs.T)[np.ix_(present, present)].astype(np.float64)
    starts = np.arange(len(present))
    while len(starts) > 1:
        saved = _savings(blocks, sums, np.diagonal(switches, offset=1))
        best = int(saved.argmax())
        if saved[best] <= 0:
            break
        kept = np.delete(np.arange(len(starts)), best + 1)
        starts, blocks, sums = starts[kept], np.add.reduceat(blocks, kept), np.add.reduceat(sums, kept)
        switches = np.add.reduceat(np.add.reduceat(switches, kept, axis=0), kept, axis=1)
    of_cell = np.zeros(cells, dtype=np.intp)
    of_cell[present] = np.searchsorted(starts, np.arange(len(present)), side="right") - 1
    return of_cell


def _savings(blocks: _Floats, sums: _Floats, switches: _Floats) -> _Floats:
    """Return the bits that joining each class with the next is expected to save, from blocks and sums of log-scales."""
    total = blocks[:-1] + blocks[1:]
    apart = np.log(2.0) * np.diff(sums / blocks)
    level = 2.0 ** ((sums[:-1] + sums[1:]) / total)
    # A wrong scale by d (natural logarithm) costs about d^2 nats a value at high rate, and less where most are zero.
    wrong = np.maximum(apart**2 - _CHANCE, 0.0) / np.log(2.0) * np.minimum(1.0, level)
    share = np.clip(switches / total, 1e-9, 0.5)
    entropy = -share * np.log2(share) - (1 - share) * np.log2(1 - share)
    return np.asarray(_TABLE_BITS + total * entropy - BLOCK * blocks[:-1] * blocks[1:] / total * wrong)
