"""A class on the wire: how its levels become symbols, with which frequencies, and what they stand for."""

import struct
from dataclasses import dataclass

import numpy as np

from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.cursor import Cursor
from fedcomp.codecs.entropy.hazards import hazard_frequencies, read_hazards
from fedcomp.codecs.trellis.machine import POINT_BITS, SHIFTED, Ints

MAX_TOP = 511
_MAX_LOW_BITS, _MAX_EXTRA_BITS = 24, 26
_RECORD = struct.Struct("<BHB6b")


@dataclass(frozen=True, eq=False)
class Table:
    """Levels k as high parts h = (k + half) >> low_bits, half being 2**(low_bits - 1) or 0, and low bits.

    ``top`` is the largest magnitude of h that has symbols. If ``extra_bits`` is not 0, the two largest magnitudes stand
    for all larger ones of their parity, too, and half of what is missing follows elsewhere in so many bits.
    """

    low_bits: int
    top: int
    extra_bits: int
    shifts: Ints
    parameters: tuple[bytes, bytes]

    @property
    def half(self) -> int:
        """What is added to a level before its low bits are taken off."""
        return 1 << self.low_bits >> 1

    @property
    def high_parts(self) -> Ints:
        """The high part of every symbol: 0, -1, 1, -2, 2 ... -top, top."""
        symbols = np.arange(2 * self.top + 1)
        high: Ints = (symbols >> 1) ^ -(symbols & 1)
        return high

    def frequencies(self) -> Ints:
        """Return the frequencies of the symbols of both quantizers, shape (2, 2 top + 1)."""
        return np.stack([hazard_frequencies(parameters, self.top) for parameters in self.parameters])

    def points(self, levels: Ints, quantizer: Ints) -> Ints:
        """Return what levels of quantizers 0 or 1 stand for, in units of 2**-6 steps."""
        sign = np.sign(levels)
        shift = self.shifts[quantizer, np.clip(np.abs(levels), 1, SHIFTED) - 1]
        points: Ints = ((2 * levels - quantizer * sign) << POINT_BITS) + sign * shift
        return points

    def dump(self) -> bytes:
        """Return the record that ``read_table`` reads."""
        head = _RECORD.pack(self.low_bits, self.top, self.extra_bits, *self.shifts.reshape(-1).tolist())
        return head + b"".join(self.parameters)


def read_table(cursor: Cursor) -> Table:
    """Return the next table; raises ``PayloadError`` if it breaks a limit."""
    low_bits, top, extra_bits, *shifts = cursor.unpack(_RECORD)
    if low_bits > _MAX_LOW_BITS or top > MAX_TOP or extra_bits > _MAX_EXTRA_BITS:
        raise PayloadError(f"a table has {low_bits} low bits, top {top}, {extra_bits} extra bits, over the limits")
    if extra_bits and top < 2:
        raise PayloadError(f"expected a top of at least 2 beside extra bits, got {top}")
    parameters = (read_hazards(cursor), read_hazards(cursor))
    return Table(low_bits, top, extra_bits, np.array(shifts, dtype=np.int64).reshape(2, SHIFTED), parameters)
