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
MAX_CLASSES = 255
_TABLE_BITS, _FEW, _FEW_LOOKS = 24.0, 8, 256


def scales_of(log_means: NDArray[np.float32], step: float) -> NDArray[np.uint8]:
    """Return the scale of every block."""
    relative = np.floor(PER_OCTAVE * (log_means - np.float32(np.log2(step))))
    scales = np.clip(relative, LOWEST, HIGHEST) - LOWEST + 1
    return np.where(np.isinf(log_means), 0, scales).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Merging:
    """``classes`` has the class of every scale, ``count`` says how many classes there are."""

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
    cost = _Cost(len(scales), _sequence_share(scales), weight)
    rows, blocks = list(counts[present][:, counts.any(axis=0)]), numbers[present].tolist()
    firsts = present.tolist()
    bits, joined = cost.of(rows, blocks), cost.of_joined(rows, blocks)
    while joined:
        gains = [one + two - both for one, two, both in zip(bits, bits[1:], joined, strict=False)]
        at = gains.index(max(gains))
        if gains[at] <= 0 and len(rows) <= MAX_CLASSES:
            break
        rows[at : at + 2], blocks[at : at + 2] = [rows[at] + rows[at + 1]], [blocks[at] + blocks[at + 1]]
        bits[at : at + 2] = [joined[at]]
        del firsts[at + 1]
        low = max(at - 1, 0)
        joined[low : at + 2] = cost.of_joined(rows[low : at + 2], blocks[low : at + 2])
    found = np.searchsorted(firsts, np.arange(NUM_SCALES), side="right") - 1
    return Merging(np.maximum(found, 0).astype(np.uint8), len(rows))


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


@dataclass(frozen=True)
class _Cost:
    """What classes take in bits: symbols, tables, and a share of what ``total`` blocks tell about their classes."""

    total: int
    share: float
    weight: float

    def of(self, rows: list[Floats], blocks: list[float]) -> list[float]:
        """Return the bits of classes from the counts of each and its number of blocks."""
        if not rows:
            return []
        counts, numbers = np.array(rows), np.array(blocks)
        sizes, used = counts.sum(axis=1), np.count_nonzero(counts, axis=1)
        symbols = sizes * np.log2(np.maximum(sizes, 1e-9)) - (counts * np.log2(np.maximum(counts, 1e-300))).sum(axis=1)
        tables = np.where(used > 1, _TABLE_BITS + 8.0 * np.minimum(used, _FEW), 8.0)
        sequence = self.share * numbers * np.log2(self.total / numbers)
        # Few looks make entropy seem smaller than it is (Miller 1955), the more so the fewer there are.
        looks = np.maximum(sizes / max(self.weight, 1e-9), 1.0)
        unseen = 0.72 * self.weight * used * (1 + 2 * used / looks)
        if self.weight > 1:
            unseen *= np.where(looks < _FEW_LOOKS, 4.0, 1.0)
        found: list[float] = (symbols + unseen + tables + sequence).tolist()
        return found

    def of_joined(self, rows: list[Floats], blocks: list[float]) -> list[float]:
        """Return the bits of every two neighbours taken together."""
        return self.of([one + two for one, two in pairwise(rows)], [one + two for one, two in pairwise(blocks)])


def _entropy(counts: NDArray[np.int64]) -> float:
    used = counts[counts > 0].astype(np.float64)
    return float(used.sum() * np.log2(used.sum()) - np.sum(used * np.log2(used)))
