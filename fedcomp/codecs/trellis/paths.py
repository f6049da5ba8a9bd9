"""A Viterbi search (Viterbi 1967) over many paths at once: costs of all states, and where each of them came from."""

import numpy as np

from fedcomp.codecs.trellis.bins import HISTORY_BITS, MOST, Bytes, Costs, Lookup, Places

ROWS = HISTORY_BITS
"""Rows of values after which it is noted where the states came from."""
_FORBIDDEN = 9 * MOST + (1 << HISTORY_BITS)
"""More than two ways through three rows can differ by, a row being two differences on one way and another on the other:
so all paths start in state 0. And so little that costs stay within 16 bits, which are taken back every three rows."""
_FIRST, _CLEARED = np.int16(1 << (ROWS - 1)), np.int16(-(1 << ROWS))


class Paths:
    """Costs of the states of some paths, a state being b3 b2 b1 in binary; they go on from call to call.

    Costs are 16-bit differences. Of the three lowest bits of each, the first is set in the first of three rows where
    the best way to a state comes from one with b3 set, and so on: together they are the state it left three rows ago
    (Viterbi with register exchange). All memory is allocated once.
    """

    def __init__(self, paths: int, rows: int, *, anywhere: bool = False) -> None:
        """Take how many paths there are, the largest number of rows at a time, and whether all states may be first."""
        self._costs = np.full((2, 8, paths), 0 if anywhere else _FORBIDDEN, dtype=np.int16)
        self._costs[0, 0] = 0
        self._costs[0, 4:] += _FIRST
        self._odd, self._second = np.empty((2, rows * paths), dtype=np.int16), np.empty(rows * paths, dtype=np.int16)
        self._with_odd = np.empty((2, 2, 2, paths), dtype=np.int16)
        self._base = np.empty(paths, dtype=np.int16)

    def best(self) -> Bytes:
        """Return the cheapest state of every path."""
        cheapest: Bytes = self._costs[0].argmin(axis=0).astype(np.uint8)
        return cheapest

    def advance(self, places: Places, width: int, lookup: Lookup) -> Bytes:
        """Take the first ``width`` paths through rows of values, given by their bins, one row after the other.

        Returns:
            Of every three rows, the last of them perhaps fewer, and every state: the state it comes from, shape
            (rows / 3, 8, width). The lowest three bits count; after two rows or one the last one or two of them are
            to be taken from the state itself.
        """
        rows = len(places) // width
        odd, second = (each[..., : len(places)] for each in (self._odd, self._second))
        for table, found in ((lookup.odd[0], odd[0]), (lookup.odd[1], odd[1]), (lookup.second, second)):
            table.take(places, out=found, mode="clip")
        by_row = second.reshape(rows, width)
        # What comes after a value of quantizer 1 is a state with b3 set: here is where it gets the bit of the next row.
        for row in range(ROWS - 1):
            by_row[row::ROWS] += _FIRST >> (row + 1)
        history = np.empty((-(-rows // ROWS), 8, width), dtype=np.uint8)
        now, then = (_Views(costs, width) for costs in self._costs)
        with_odd, base = self._with_odd[..., :width], self._base[:width]
        steps = zip(odd.reshape(2, rows, width).transpose(1, 0, 2)[:, None, :, None], by_row, strict=True)
        for row, (more_odd, more_second) in enumerate(steps, 1):
            # Relative to the best even level of quantizer 0: an odd level costs more_odd more, quantizer 1 more_second.
            np.add(now.by_old, more_odd, with_odd)
            # The newest bit equals the one before it if the parity is the oldest bit, and differs if not.
            np.minimum(now.from_clear, with_odd[1], out=then.same)
            np.minimum(with_odd[0], now.from_set, out=then.other)
            np.add(then.from_second, more_second, then.from_second)
            now, then = then, now
            if row % ROWS == 0 or row == rows:
                now.note(history[(row - 1) // ROWS], base)
        if rows % 2:
            then.costs[:] = now.costs
        return history


class _Views:
    """Costs (8, paths) by (b3, b2, b1) as they are left, and as they are reached."""

    def __init__(self, costs: Costs, width: int) -> None:
        self.costs = costs[:, :width]
        self.by_old = costs.reshape(2, 2, 2, -1)[..., :width]
        self.from_clear, self.from_set = self.by_old
        # By the two older bits: those whose newest bit is the same as the one before it, and those where it differs.
        state, path = costs.strides
        self.same = np.ndarray((2, 2, width), np.int16, costs, 0, (4 * state, 3 * state, path))
        self.other = np.ndarray((2, 2, width), np.int16, costs, state, (4 * state, state, path))
        self.from_second, self.from_first = self.costs[4:], self.costs[:4]

    def note(self, history: Bytes, base: Costs) -> None:
        """Note where states come from, clear that, set the next first bit, and make the first cost 0."""
        np.copyto(history, self.costs, casting="unsafe")
        np.bitwise_and(self.costs, _CLEARED, self.costs)
        base[:] = self.costs[0]
        np.subtract(self.from_first, base, self.from_first)
        np.subtract(base, _FIRST, base)
        np.subtract(self.from_second, base, self.from_second)
