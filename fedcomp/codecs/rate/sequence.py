"""The class of every block as a batch of its own: differences from block to block, or classes as they are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.cursor import Cursor
from fedcomp.codecs.entropy.hazards import fit_hazards, hazard_frequencies, read_hazards
from fedcomp.codecs.entropy.symbols import to_unsigned
from fedcomp.codecs.entropy.tables import SYMBOL_BITS, Ints
from fedcomp.codecs.rate.levels import signed_levels

Classes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Sequence:
    """``count`` classes; the zigzag number of class - count // 2, or of the difference of a class from the one before.

    Differences are modulo ``count``, in the range around 0. ``hazards`` are those of the numbers' magnitudes.
    """

    count: int
    differ: bool
    hazards: bytes

    @property
    def slots(self) -> Ints:
        """The slots of the numbers, of sum 2**14."""
        return hazard_frequencies(self.hazards, self.count // 2)

    def classes(self, numbers: NDArray[np.uint16]) -> Classes:
        """Return the classes; raises ``PayloadError`` if one is out of range."""
        levels = signed_levels(numbers).astype(np.int64)
        classes = np.cumsum(levels) % self.count if self.differ else levels + self.count // 2
        if classes.min() < 0 or classes.max() >= self.count:
            raise PayloadError(f"expected classes below {self.count}, got others")
        return classes.astype(np.uint8)


@dataclass(frozen=True, eq=False)
class SequencePlan:
    """A sequence, its zigzag numbers, and the bits that they and the hazards take."""

    sequence: Sequence
    numbers: NDArray[np.uint32]
    bits: float


def plan_sequence(classes: Classes, count: int) -> SequencePlan:
    """Return the cheaper plan for classes below ``count``, which is 2 at least."""
    wide, half = classes.astype(np.int16), np.int16(count // 2)
    differences = (np.diff(wide, prepend=np.int16(0)) + half) % np.int16(count) - half
    plans = [_plan(levels, count, differ) for levels, differ in ((wide - half, False), (differences, True))]
    return min(plans, key=lambda plan: plan.bits)


def read_sequence(cursor: Cursor, count: int, *, differ: bool) -> Sequence:
    """Return the next sequence; raises ``PayloadError`` if it breaks a limit."""
    return Sequence(count, differ, read_hazards(cursor))


def _plan(levels: NDArray[np.int16], count: int, differ: bool) -> SequencePlan:
    magnitudes = np.bincount(np.abs(levels), minlength=count // 2 + 1)
    sequence = Sequence(count, differ, fit_hazards(magnitudes))
    numbers = to_unsigned(levels)
    counts = np.bincount(numbers, minlength=2 * (count // 2) + 1)
    bits = float(np.sum(counts * (SYMBOL_BITS - np.log2(sequence.slots)))) + 8 * len(sequence.hazards)
    return SequencePlan(sequence, numbers, bits)
