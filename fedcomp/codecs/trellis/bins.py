"""Values in fine bins, so that the encoder looks up what a value costs and becomes in each subset of the trellis.

Looked up, any prices of levels and any points cost the same time. Bins up to 32 steps have entries of their own; beyond
them nothing but the place within a period of four steps counts, and a period adds two to a level.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Bins = NDArray[np.int32]
Costs = NDArray[np.int16]

BINS_PER_STEP = 16
NEAR_BINS, PERIOD_BINS = 32 * BINS_PER_STEP, 4 * BINS_PER_STEP
TABLE_BINS = NEAR_BINS + PERIOD_BINS
COST_UNIT, _MOST = 256, 2048
"""Costs are whole numbers, so many a squared step; differences of more than 8 squared steps count as 8."""
_PERIOD_SHIFT = PERIOD_BINS.bit_length() - 1


@dataclass(frozen=True, eq=False)
class Lookup:
    """What every bin costs and becomes.

    ``odd`` (2, bins): in each quantizer, cost of the best odd level less that of the best even one. ``second`` (bins):
    cost of the best even level of quantizer 1 less that of quantizer 0. ``levels`` (4 bins): the best magnitude in
    subset 2q + z, quantizer q and parity z, subset by subset.
    """

    odd: Costs
    second: Costs
    levels: Bins

    @classmethod
    def of(cls, costs: Floats, levels: Bins) -> "Lookup":
        """Return the tables for costs in squared steps and magnitudes by subset and bin, shape (4, bins)."""
        differences = np.stack([costs[1] - costs[0], costs[3] - costs[2], costs[2] - costs[0]])
        whole = np.clip(np.rint(differences * COST_UNIT), -_MOST, _MOST).astype(np.int16)
        return cls(whole[:2], whole[2], levels.reshape(-1))


class Reader:
    """Bins of some values at a time.

    All memory is allocated once: fresh memory costs more than what is done with it.
    """

    def __init__(self, scale: float, most: int) -> None:
        """Take bins per unit of value, and the largest number of values at a time."""
        self._scale = np.float32(scale)
        self._scaled = np.empty(most, dtype=np.float32)
        self._bins, self._folded, self._subsets = np.empty((3, most), dtype=np.int32)
        self._places = np.empty(most, dtype=np.intp)
        self._negative = np.empty(most, dtype=np.bool_)

    def read(self, values: Floats) -> Bins:
        """Return the place of every value in a ``Lookup``; it holds until the next call."""
        size = len(values)
        scaled, bins, folded = self._scaled[:size], self._bins[:size], self._folded[:size]
        np.multiply(values, self._scale, out=scaled)
        np.abs(scaled, out=scaled)
        bins[:] = scaled
        np.bitwise_and(bins, np.int32(PERIOD_BINS - 1), out=folded)
        folded |= np.int32(NEAR_BINS)
        return np.minimum(folded, bins, out=folded)

    def number(self, values: Floats, quantizer: Bytes, parity: Bytes, lookup: Lookup) -> Bins:
        """Return the number of every value: twice its interleaved level plus its quantizer.

        Interleaved levels are 0, 1, 2, 3, 4 ... for 0, -1, 1, -2, 2 ... The array holds until the next call.
        """
        size = len(values)
        folded = self.read(values)
        bins, subsets, places = self._bins[:size], self._subsets[:size], self._places[:size]
        bins -= folded
        bins >>= np.int32(_PERIOD_SHIFT - 1)
        subsets[:] = quantizer
        subsets += subsets
        subsets += parity
        subsets *= np.int32(TABLE_BINS)
        np.add(subsets, folded, out=places)
        lookup.levels.take(places, out=subsets, mode="clip")
        bins += subsets
        bins += bins
        bins -= np.less(values, np.float32(0), out=self._negative[:size])
        np.maximum(bins, np.int32(0), out=bins)
        bins += bins
        bins += quantizer
        return bins
