"""One step of a Viterbi search (Viterbi 1967) over many paths at once: costs of all states, and what was decided."""

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from fedcomp.codecs.trellis.bins import Bins, Bytes, Costs, Lookup

_FORBIDDEN, _ROWS_BETWEEN_RESETS = 12_000, 8


class Paths:
    """Costs of some paths, so few that a step of all of them stays in a cache.

    Costs are by state, a state being b3 b2 b1 in binary as it is left, or b2 b1 b as it is reached. They are 16-bit
    differences, taken back to zero now and then. All memory is allocated once.
    """

    def __init__(self, start: int, stop: int, rows: int) -> None:
        """Take which paths they are, and the largest number of rows at a time."""
        self.start, self.stop = start, stop
        width = stop - start
        padded = -(-width // 8) * 8
        self._costs = np.full((2, 8, width), _FORBIDDEN, dtype=np.int16)
        self._costs[0, 0] = 0
        self._places = np.empty((rows, width), dtype=np.intp)
        self._odd, self._second = np.empty((2, rows, width), dtype=np.int16), np.empty((rows, width), dtype=np.int16)
        self._with_odd = np.empty((2, 2, 2, width), dtype=np.int16)
        self._decided = np.zeros((rows, 8, padded), dtype=np.uint8)

    def best(self) -> Bytes:
        """Return the cheapest state of every path."""
        cheapest: Bytes = self._costs[0].argmin(axis=0).astype(np.uint8)
        return cheapest

    def advance(self, bins: Bins, lookup: Lookup, out: Bytes) -> None:
        """Take the first paths through some rows; put the decisions of each value, decision i in bit i, into ``out``.

        Both arrays are of shape (rows, paths). Decision 4w + 2 b2 + b1 says whether the new state with newest bit
        b1 xor w comes from a state whose oldest bit is set.
        """
        rows, width = bins.shape
        places = self._places[:rows, :width]
        places[:] = bins
        odd, second = self._odd[:, :rows, :width], self._second[:rows, :width]
        for table, found in ((lookup.odd[0], odd[0]), (lookup.odd[1], odd[1]), (lookup.second, second)):
            _take(table, places, found)
        now, then = (_Views(costs[:, :width]) for costs in self._costs)
        with_odd = self._with_odd[..., :width]
        decided = self._decided[:rows, :, :width].view(np.bool_).reshape(rows, 2, 2, 2, width)
        steps = zip(odd.transpose(1, 0, 2)[:, None, :, None], second, decided, strict=True)
        for row, (more_odd, more_second, (same, other)) in enumerate(steps):
            # Relative to the best even level of quantizer 0: an odd level costs more_odd more, quantizer 1 more_second.
            np.add(now.by_old, more_odd, with_odd)
            # The newest bit equals the one before it if the parity is the oldest bit, and differs if not.
            np.minimum(now.by_old[0], with_odd[1], out=then.same)
            np.minimum(with_odd[0], now.by_old[1], out=then.other)
            np.less(with_odd[1], now.by_old[0], same)
            np.less(now.by_old[1], with_odd[0], other)
            np.add(then.from_second, more_second, then.from_second)
            if row % _ROWS_BETWEEN_RESETS == _ROWS_BETWEEN_RESETS - 1:
                then.reset()
            now, then = then, now
        now.reset()
        if rows % 2:
            then.costs[:] = now.costs
        _pack(self._decided[:rows].view(np.uint64))
        out[:] = self._decided[:rows, 0, :width]


class _Views:
    """Costs (8, paths) by (b3, b2, b1), and as they are reached: by (b2, b1) with b equal to b1 or not, and b2 set."""

    def __init__(self, costs: Costs) -> None:
        self.costs = costs
        width, (state, path) = costs.shape[1], costs.strides
        self.by_old = as_strided(costs, (2, 2, 2, width), (4 * state, 2 * state, state, path))
        self.same = as_strided(costs, (2, 2, width), (4 * state, 3 * state, path))
        self.other = as_strided(costs[1:], (2, 2, width), (4 * state, state, path))
        self.from_second = costs[4:]

    def reset(self) -> None:
        """Make the first state's cost 0: only differences count."""
        self.costs -= self.costs[0].copy()


def _take(table: Costs, places: NDArray[np.intp], out: Costs) -> None:
    if out.flags.c_contiguous:
        table.take(places, out=out, mode="clip")
    else:
        out[:] = table.take(places, mode="clip")


def _pack(decided: NDArray[np.uint64]) -> None:
    """Gather bit 0 of bytes 0 ... 7, axis 1, in the bits of byte 0; eight paths at a time."""
    for half in (4, 2, 1):
        lower, upper = decided[:, :half], decided[:, half : 2 * half]
        np.left_shift(upper, np.uint64(half), out=upper)
        np.bitwise_or(lower, upper, out=lower)
