"""The levels of one class on their way from the lanes to values."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.cursor import Cursor
from fedcomp.codecs.entropy.bits import packed_size, unpack_bits
from fedcomp.codecs.entropy.groups import group_digits, restore_escaped
from fedcomp.codecs.entropy.tables import GroupTable
from fedcomp.codecs.layout import load_values
from fedcomp.codecs.rate.levels import Floats, Words
from fedcomp.codecs.rate.tables import LevelTable, escape_bits

Turn = Callable[[NDArray[Any]], Floats]
"""From zigzag numbers to floats, whatever their shape."""
_CHUNK = 2**15
_NONE = np.empty(0, dtype=np.intp)


class Part:
    """One class: its table, its slots, the groups that the lanes held, and how many levels they are."""

    def __init__(self, table: LevelTable, slots: GroupTable, indices: NDArray[np.uint16], length: int) -> None:
        """Take what the lanes held."""
        self._table, self._slots, self._indices, self._length = table, slots, indices, length
        self._digits = group_digits(slots)
        self._has_wide = (self._digits > table.top).any(axis=1)
        self._wide: dict[int, Words] = {}
        self._low, self._signs, self._signs_taken = memoryview(b""), np.empty(0, dtype=np.bool_), 0
        self._turn: Turn
        self._by_group: Floats | None = None

    @property
    def multiple(self) -> int:
        """Pieces that ``floats`` is asked for start at a multiple of this."""
        return self._slots.group

    def take_beside(self, beside: Cursor, turn: Turn) -> None:
        """Take escaped groups, bits of wide symbols, low bits and signs; ``turn`` is applied to all levels.

        Raises:
            PayloadError: if they do not fit, or symbols after the last level are not 0.
        """
        table, slots = self._table, self._slots
        num_escaped = int(np.count_nonzero(self._indices == slots.combinations)) if slots.has_escape else 0
        width = escape_bits(slots)
        escaped = unpack_bits(beside.take(packed_size(width, num_escaped)), width, num_escaped)
        restore_escaped(self._indices, escaped, slots)
        if self._digits[self._indices[-1]][(self._length - 1) % slots.group + 1 :].any():
            raise PayloadError("expected zeros after the last symbol of a class")
        for width in range(1, table.octaves):
            count = self._count(self._digits == table.top + width)
            self._wide[width] = unpack_bits(beside.take(packed_size(width, count)), width, count)
        self._low, self._turn = beside.take(packed_size(table.low_bits, self._length)), turn
        if table.signed:
            count = self._count(self._digits > 0)
            self._signs = load_values(beside.take(packed_size(1, count)), np.dtype(np.bool_), count)
            self._by_group = turn(2 * self._digits)

    def floats(self, span: slice) -> Floats:
        """Return the levels of a span, turned; spans are asked for in order, each from a multiple of 8."""
        group, size = self._slots.group, span.stop - span.start
        indices = self._indices[span.start // group : -(-span.stop // group)].astype(np.intp)
        wide = np.flatnonzero(self._has_wide.take(indices, mode="clip")) if self._wide else _NONE
        if self._by_group is not None:
            found = self._by_group.take(indices, axis=0, mode="clip")
            if len(wide):
                found[wide] = self._turn(2 * self._sizes(indices[wide]))
            return self._with_signs(found.reshape(-1)[:size])
        numbers = self._digits.take(indices, axis=0, mode="clip").astype(np.uint32)
        if len(wide):
            numbers[wide] = self._sizes(indices[wide])
        numbers = numbers.reshape(-1)[:size] << np.uint32(self._table.low_bits)
        data = self._low[span.start * self._table.low_bits // 8 : packed_size(self._table.low_bits, span.stop)]
        return self._turn(numbers | unpack_bits(data, self._table.low_bits, size))

    def _with_signs(self, found: Floats) -> Floats:
        """Negate, in place, what the next signs say; a level that is not 0 never turns to 0."""
        places = np.flatnonzero(found != 0)
        negative = np.zeros(len(found), dtype=np.uint8)
        negative[places] = self._signs[self._signs_taken : self._signs_taken + len(places)].view(np.uint8)
        self._signs_taken += len(places)
        bits = found.view(np.uint32)
        bits ^= negative.astype(np.uint32) << np.uint32(31)
        return found

    def _sizes(self, indices: NDArray[np.intp]) -> NDArray[np.int64]:
        """Return the sizes of groups that have wide symbols, taking the bits of these."""
        sizes = self._digits[indices].astype(np.int64)
        symbols = sizes.copy()
        for width, bits in self._wide.items():
            chosen = symbols == self._table.top + width
            count = int(np.count_nonzero(chosen))
            sizes[chosen] = self._table.top - 1 + (1 << width) + bits[:count].astype(np.int64)
            self._wide[width] = bits[count:]
        return sizes

    def _count(self, chosen: NDArray[np.bool_]) -> int:
        """Return how many symbols are among those chosen, from a mask of the shape of the digits."""
        by_group = chosen.sum(axis=1)
        pieces = range(0, len(self._indices), _CHUNK)
        return sum(int(by_group.take(self._indices[at : at + _CHUNK]).sum()) for at in pieces)
