"""What levels cost, estimated from few counts, and the roundings that follow from it. The encoder alone runs this.

Magnitudes are counted in bins: one each up to 15, then eight an octave.
"""

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.rate.classes import LOWEST, NUM_SCALES, PER_OCTAVE, merge_scales, sequence_bits
from fedcomp.codecs.rate.levels import Floats, Rounding

Counts = NDArray[np.float64]
TRADE_OFF = 0.1
"""What a bit is worth in squared steps. High-rate theory says ln 2 / 6 = 0.116; 0.1 measured best from 0.05 bits up."""
NUM_BINS = 192
_FIRST_BIN = 1015
_TYPICAL_FIRST, _MAX_FIRST, _MAX_LATER = 0.62, 0.95, 0.7
_HEAD_BYTES, _TABLE_BYTES, _LOSS = 16.0, 3.0, 1.001
_INDEX = np.arange(NUM_BINS)
_OCTAVES = np.maximum(_INDEX - 1, 0) // 8
_EXTRA = np.maximum(_OCTAVES - 3, 0).astype(np.float64)
_LOWEST = np.where(_INDEX > 0, (8 + (_INDEX - 1) % 8) * 2.0 ** (_OCTAVES - 3), 0.0)
_CENTRES = _LOWEST + (2.0**_EXTRA - 1) / 2


def bins_of(levels: Floats) -> NDArray[np.int32]:
    """Return the bin of every magnitude, given as a float: its exponent and the first three bits after it."""
    bins = (levels.view(np.int32) >> np.int32(20)) - np.int32(_FIRST_BIN)
    return np.asarray(np.maximum(bins, np.int32(0), out=bins))


def best_rounding(counts: Counts) -> Rounding:
    """Return the borders at which what a higher level costs in bits is worth the smaller error.

    Args:
        counts: of the bins of one class.
    """
    size, zeros, ones = float(counts.sum()), float(counts[0]), float(counts[1])
    nonzero, total = size - zeros, float(counts @ _CENTRES)
    if nonzero <= 0:
        return Rounding(_MAX_FIRST, _MAX_LATER)
    ratio = min(max(1 - nonzero / max(total, nonzero), 1e-3), 1.0)
    first = 0.5 + TRADE_OFF / 2 * (np.log2((zeros + 0.5) / (ones + 0.5)) + 1)
    later = min(0.5 - TRADE_OFF / 2 * np.log2(ratio), _MAX_LATER)
    return Rounding(float(min(max(first, 0.5), _MAX_FIRST)), float(later))


def estimated_size(counts: Counts, classes: NDArray[np.uint8], size: int) -> float:
    """Return about how many bytes a payload takes.

    Args:
        counts: of the bins of every class, shape (classes, bins).
        classes: the class, or the kind, of every block.
        size: number of values.
    """
    bits = sum(_bits(row) for row in counts) + sequence_bits(classes)
    return bits / 8 * _LOSS + _HEAD_BYTES + min(bits / 2000, size / 12000)


def size_if_laplace(scales: NDArray[np.uint8], finest: NDArray[np.uint8], size: int) -> float:
    """Return about how many bytes a payload takes if values have Laplace distributions: for choosing blocks.

    Args:
        scales: the scale of every block.
        finest: the scale of every block of the shortest length, which is that of its values.
        size: number of values.
    """
    share = -(-len(finest) // len(scales))
    share = 1 << (share - 1).bit_length()
    places = np.repeat(scales.astype(np.intp), share)[: len(finest)] * NUM_SCALES + finest
    together = np.bincount(places, minlength=NUM_SCALES**2).reshape(NUM_SCALES, NUM_SCALES)
    rows, columns = np.flatnonzero(together.any(axis=1)), np.flatnonzero(together.any(axis=0))
    counts = np.zeros_like(_LAPLACE)
    counts[rows] = size / len(finest) * (together[np.ix_(rows, columns)] @ _LAPLACE[columns])
    merging = merge_scales(counts, scales, 0.0)
    starts = np.searchsorted(merging.classes, np.arange(merging.count))
    return estimated_size(np.add.reduceat(counts, starts, axis=0), merging.classes[scales], size)


def _bits(counts: Counts) -> float:
    """Return about what a class takes, its table included."""
    used = counts[counts > 0]
    if len(used) <= 1 and counts[0]:
        return 8.0
    size = float(used.sum())
    entropy = size * np.log2(size) - float(np.sum(used * np.log2(used)))
    signs = size - float(counts[0])
    return float(entropy + signs + float(counts @ _EXTRA) + 8 * (_TABLE_BYTES + min(len(used), 8)))


def _laplace() -> tuple[tuple[Floats, Floats], Counts]:
    """Return roundings and probabilities of the bins of every scale if its blocks are Laplace-distributed."""
    means = 2.0 ** ((np.arange(NUM_SCALES) + LOWEST - 0.5) / PER_OCTAVE)
    passed, ratio = np.exp(-_TYPICAL_FIRST / means), np.exp(-1 / means)
    first = 0.5 + TRADE_OFF / 2 * (np.log2((1 - passed) / np.maximum(passed * (1 - ratio), 1e-30)) + 1)
    first, later = np.clip(first, 0.5, _MAX_FIRST), np.minimum(0.5 + TRADE_OFF / 2 * np.log2(np.e) / means, _MAX_LATER)
    borders = np.concatenate([_LOWEST, [_LOWEST[-1] * 9 / 8]]) - 1 + later[:, None]
    borders[:, 0], borders[:, 1] = 0, first
    probabilities = -np.diff(np.exp(-borders / means[:, None]), axis=1)
    probabilities[0] = _INDEX == 0
    return (first.astype(np.float32), later.astype(np.float32)), np.where(probabilities > 1e-6, probabilities, 0.0)


LAPLACE_ROUNDINGS, _LAPLACE = _laplace()
