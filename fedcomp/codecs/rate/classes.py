"""Which blocks share a table: scales in quarter octaves, neighbours merged where that saves bits."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
PER_OCTAVE = 4
LOWEST, HIGHEST = -24, 96
NUM_SCALES = HIGHEST - LOWEST + 2
"""Scales of blocks relative to the step: 0 for zeros alone, then quarter octaves from 2**-6 to 2**24 steps."""
_TABLE_BITS, _FEW = 24.0, 8


def scales_of(log_means: NDArray[np.float32], step: float) -> NDArray[np.uint8]:
    """Return the scale of every block."""
    relative = np.floor(PER_OCTAVE * (log_means - np.float32(np.log2(step))))
    scales = np.clip(relative, LOWEST, HIGHEST) - LOWEST + 1
    return np.where(np.isinf(log_means), 0, scales).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Merging:
    """``classes`` has the class of every scale; ``bits`` is what the class sequence takes."""

    classes: NDArray[np.uint8]
    count: int


def merge_scales(counts: Floats, scales: NDArray[np.uint8], weight: float) -> Merging:
    """Return classes of neighbouring scales, merged as long as that saves bits.

    Args:
        counts: how often each symbol (a magnitude, or a range of them) occurs in each scale, shape (scales, symbols).
        scales: the scale of every block.
        weight: how many values each that was counted stands for; what is estimated from few looks cheaper than it is.
    """
    numbers = np.bincount(scales, minlength=NUM_SCALES).astype(np.float64)
    present = np.flatnonzero(numbers)
    share = _sequence_share(scales)
    classes = [_Class(counts[scale], float(numbers[scale]), len(scales), share, weight) for scale in present]
    members = [[int(scale)] for scale in present]
    merged = [a.joined(b) for a, b in pairwise(classes)]
    gains = [a.bits + b.bits - c.bits for (a, b), c in zip(pairwise(classes), merged, strict=True)]
    while gains and (max(gains) > 0 or len(classes) > 255):
        at = int(np.argmax(gains))
        classes[at : at + 2] = [merged[at]]
        members[at : at + 2] = [members[at] + members[at + 1]]
        del merged[at], gains[at]
        for place in (at - 1, at):
            if 0 <= place < len(gains):
                merged[place] = classes[place].joined(classes[place + 1])
                gains[place] = classes[place].bits + classes[place + 1].bits - merged[place].bits
    firsts = np.array([group[0] for group in members])
    found = np.searchsorted(firsts, np.arange(NUM_SCALES), side="right") - 1
    return Merging(np.maximum(found, 0).astype(np.uint8), len(classes))


def sequence_bits(classes: NDArray[np.uint8]) -> float:
    """Return about what the sequence of classes takes."""
    if not classes.any():
        return 0.0
    differences = np.diff(classes.astype(np.int16), prepend=np.int16(0))
    return min(_entropy(np.bincount(classes)), _entropy(np.bincount(differences + 256))) + 32


def _sequence_share(scales: NDArray[np.uint8]) -> float:
    """Return how much less a sequence takes if each block is coded by its difference from the one before."""
    alone = _entropy(np.bincount(scales))
    differences = np.bincount(np.diff(scales.astype(np.int16)) + 256)
    return min(_entropy(differences) / alone, 1.0) if alone else 1.0


class _Class:
    """Symbols and blocks of one class, and what they take in bits, of which the sequence's part is a share."""

    def __init__(self, counts: Floats, blocks: float, total: int, share: float, weight: float) -> None:
        self._counts, self._blocks, self._rest = counts, blocks, (total, share, weight)
        used = counts[counts > 0]
        size = float(used.sum())
        symbols = size * np.log2(max(size, 1e-9)) - float(np.sum(used * np.log2(used)))
        table = _TABLE_BITS + 8.0 * min(len(used), _FEW) if len(used) > 1 else 8.0
        self.bits = symbols + 0.72 * weight * len(used) + table + share * blocks * np.log2(total / blocks)

    def joined(self, other: "_Class") -> "_Class":
        return _Class(self._counts + other._counts, self._blocks + other._blocks, *self._rest)


def _entropy(counts: NDArray[np.int64]) -> float:
    used = counts[counts > 0].astype(np.float64)
    return float(used.sum() * np.log2(used.sum()) - np.sum(used * np.log2(used)))
