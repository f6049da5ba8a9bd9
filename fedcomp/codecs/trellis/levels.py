"""What travels of a class beside the lanes: extra and low bits; and how they and the symbols become values."""

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.cursor import Cursor, dump_number
from fedcomp.codecs.entropy.bits import pack_bits, packed_size, unpack_bits
from fedcomp.codecs.entropy.tables import SYMBOL_BITS
from fedcomp.codecs.trellis.lanes import SLOTS, LaneDecoder
from fedcomp.codecs.trellis.machine import MAX_LEVEL, POINT_BITS, Ints
from fedcomp.codecs.trellis.table import Table

_CHUNK = 2**14
Words = NDArray[np.uint32]


def dump_levels(table: Table, extras: Words, low: Words) -> bytes:
    """Return what ``Levels`` reads: extra numbers, in the order of the lanes, and the low bits of all values."""
    count = dump_number(len(extras)) if table.extra_bits else b""
    return count + pack_bits(extras, table.extra_bits) + pack_bits(low, table.low_bits)


class Levels:
    """The levels of one class of a payload, but for what the lanes hold."""

    def __init__(self, cursor: Cursor, table: Table, count: int) -> None:
        """Read and check; nothing is allocated that ``count``, the number of values, does not justify."""
        self._table, self._count = table, count
        self._num_extras = cursor.number() if table.extra_bits else 0
        if self._num_extras > count:
            raise PayloadError(f"expected at most {count} extra numbers, got {self._num_extras}")
        self._extras = cursor.take(packed_size(table.extra_bits, self._num_extras))
        self._low = cursor.take(packed_size(table.low_bits, count))

    def decode(self, decoder: LaneDecoder, step: float) -> NDArray[np.float32]:
        """Return the values, taking the symbols from the lanes; raises ``PayloadError`` if anything does not fit."""
        table, frequencies = self._table, self._table.frequencies()
        low = unpack_bits(self._low, table.low_bits, self._count) if table.low_bits else None
        # A level is its high part, shifted, and its low bits, less half, which is odd for a single low bit only.
        parities = None if low is None else (low.astype(np.uint8) ^ np.uint8(table.half & 1)) & np.uint8(1)
        found = decoder.read(frequencies, np.abs(table.high_parts) & 1, self._count, parities)
        high = np.concatenate([np.repeat(table.high_parts, f.astype(np.intp)) for f in frequencies])
        scale = np.float32(step) * np.float32(2.0**-POINT_BITS)
        if low is None and not table.extra_bits:
            values = table.points(high, np.arange(2 * SLOTS) >> SYMBOL_BITS).astype(np.float32) * scale
            return _take(values, found)
        values = self._from_parts(found, high, low)
        values *= scale
        return values

    def _from_parts(self, found: NDArray[np.uint16], high: Ints, low: Words | None) -> NDArray[np.float32]:
        table, out = self._table, np.empty(self._count, dtype=np.float32)
        extras = unpack_bits(self._extras, table.extra_bits, self._num_extras).astype(np.int64)
        used = 0
        for at in range(0, self._count, _CHUNK):
            here = found[at : at + _CHUNK]
            levels = high.take(here)
            if table.extra_bits:
                where = np.flatnonzero(np.abs(levels) >= table.top - 1)
                more = extras[used : used + len(where)]
                if len(more) < len(where):
                    raise PayloadError(f"expected more than {self._num_extras} extra numbers")
                levels[where] += 2 * more * np.sign(levels[where])
                used += len(where)
            if low is not None:
                levels = (levels << table.low_bits) + low[at : at + _CHUNK] - table.half
            if np.abs(levels).max(initial=0) >= MAX_LEVEL:
                raise PayloadError(f"expected levels below {MAX_LEVEL}, got {np.abs(levels).max()}")
            out[at : at + _CHUNK] = table.points(levels, (here >> SYMBOL_BITS).astype(np.int64))
        if used != self._num_extras:
            raise PayloadError(f"expected {used} extra numbers, got {self._num_extras}")
        return out


def _take(values: NDArray[np.float32], found: NDArray[np.uint16]) -> NDArray[np.float32]:
    out = np.empty(len(found), dtype=np.float32)
    for at in range(0, len(found), _CHUNK):
        values.take(found[at : at + _CHUNK], out=out[at : at + _CHUNK], mode="clip")
    return out
