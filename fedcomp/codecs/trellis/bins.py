"""Values in fine bins, so that the encoder looks up what a value costs and becomes in each subset of the trellis.

Looked up, any prices of levels and any points cost the same time. Bins up to 32 steps have entries of their own; beyond
them nothing but the place within a period of four steps counts, and a period adds two to a level.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Bins = NDArray[np.int32]
Codes = NDArray[np.uint16]
Places = NDArray[np.intp]
Costs = NDArray[np.int16]

BINS_PER_STEP = 16
NEAR_BINS, PERIOD_BINS = 32 * BINS_PER_STEP, 4 * BINS_PER_STEP
TABLE_BINS = NEAR_BINS + PERIOD_BINS
COST_UNIT, HISTORY_BITS, MOST = 256, 3, 1792
"""Costs are whole numbers, so many a squared step, with zeros in their lowest bits, which ``paths`` uses; differences
of more than 7 squared steps count as 7."""
_NUMBERS_A_PERIOD_SHIFT = 3
"""A period of 64 bins adds 2 to a level, which is 8 to its number."""


@dataclass(frozen=True, eq=False)
class Lookup:
    """What every bin costs and becomes.

    ``odd`` (2, bins): in each quantizer, cost of the best odd level less that of the best even one. ``second`` (bins):
    cost of the best even level of quantizer 1 less that of quantizer 0. ``numbers`` (bins * 8): the best number, twice
    the interleaved level plus the quantizer, at place 8 bin + 4 (negative) + subset, the subset of quantizer q and
    parity z being 2q + z. Interleaved levels are 0, 1, 2, 3, 4 ... for 0, -1, 1, -2, 2 ...
    """

    odd: Costs
    second: Costs
    numbers: Codes

    @classmethod
    def of(cls, costs: Floats, levels: Bins) -> "Lookup":
        """Return the tables for costs in squared steps and magnitudes by subset and bin, shape (4, bins)."""
        units = costs * np.float32(COST_UNIT / (1 << HISTORY_BITS))
        differences = np.empty((3, costs.shape[1]), dtype=np.float32)
        np.subtract(units[1::2], units[::2], differences[:2])
        np.subtract(units[2], units[0], differences[2])
        np.rint(differences, differences)
        differences *= np.float32(1 << HISTORY_BITS)
        whole = np.minimum(np.maximum(differences, -MOST), MOST).astype(np.int16)
        numbers, quantizer = np.empty((costs.shape[1], 2, 4), dtype=np.uint16), np.array([0, 0, 1, 1])
        numbers[:, 0] = 4 * levels.T + quantizer
        numbers[:, 1] = np.maximum(4 * levels.T - 2, 0) + quantizer
        return cls(whole[:2], whole[2], numbers.reshape(-1))

    @classmethod
    def joined(cls, lookups: "Sequence[Lookup]") -> "Lookup":
        """Return several, one after the other."""
        odd, second, numbers = zip(*((each.odd, each.second, each.numbers) for each in lookups), strict=True)
        return cls(np.concatenate(odd, axis=1), np.concatenate(second), np.concatenate(numbers))


class Reader:
    """Bins of some values at a time.

    All memory is allocated once: fresh memory costs more than what is done with it.
    """

    def __init__(self, scale: float, most: int) -> None:
        """Take bins per unit of value, and the largest number of values at a time."""
        self._scale = np.float32(scale)
        self._scaled = np.empty(most, dtype=np.float32)
        self._bins, self._folded = np.empty((2, most), dtype=np.int32)
        self._small, self._spread = np.empty((2, most), dtype=np.uint16)
        self._places = np.empty(most, dtype=np.intp)
        self._negative = np.empty(most, dtype=np.bool_)

    def read(self, values: Floats, codes: Codes) -> tuple[Places, bool]:
        """Return the bin of every value in a ``Lookup``, and whether it is the true bin of all of them.

        ``codes`` is filled with twice the bin, plus one if a value is negative. The bins hold until the next call.
        """
        size = len(values)
        scaled, small, places = self._scaled[:size], self._small[:size], self._places[:size]
        np.multiply(values, self._scale, scaled)
        negative = np.less(scaled, np.float32(0), self._negative[:size])
        np.abs(scaled, scaled)
        near = bool(scaled.max(initial=0) < TABLE_BINS)
        if near:
            small[:] = scaled
        else:
            small[:] = self._fold(scaled)
        places[:] = small
        np.add(small, small, codes)
        np.bitwise_or(codes, negative.view(np.uint8), codes)
        return places, near

    def number(self, codes: Codes, subsets: Bytes, lookup: Lookup) -> Codes:
        """Return the number (see ``Lookup``) of every value, as if its bin were its true one; until the next call."""
        size = len(codes)
        spread, places = self._spread[:size], self._places[:size]
        np.left_shift(codes, np.uint16(2), spread)
        np.bitwise_or(spread, subsets, spread)
        places[:] = spread
        return lookup.numbers.take(places, out=spread, mode="clip")

    def beyond(self, values: Floats) -> Bins:
        """Return what is to be added to the number of every value because its bin is not its true one."""
        scaled = self._scaled[: len(values)]
        np.abs(np.multiply(values, self._scale, scaled), scaled)
        folded = self._fold(scaled)
        more = np.subtract(self._bins[: len(values)], folded, folded)
        return np.right_shift(more, np.int32(_NUMBERS_A_PERIOD_SHIFT), more)

    def _fold(self, scaled: Floats) -> Bins:
        """Return bins in a ``Lookup``; the true ones are in ``_bins``."""
        bins, folded = self._bins[: len(scaled)], self._folded[: len(scaled)]
        bins[:] = scaled
        np.bitwise_and(bins, np.int32(PERIOD_BINS - 1), folded)
        np.bitwise_or(folded, np.int32(NEAR_BINS), folded)
        return np.minimum(folded, bins, out=folded)
