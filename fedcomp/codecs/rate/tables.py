"""How the levels of one class are coded: which bits, which table, and how that lies in bytes.

A level's zigzag number is 0, 1, 2, 3, 4 ... for 0, -1, 1, -2, 2 ... Without low bits the size that is coded is the
level's magnitude, and a sign bit follows elsewhere if it is not 0; with low bits it is the number without them. Sizes
below ``top`` are symbols of their own; those above share one an octave: symbol top + e stands for top - 1 + 2**e and
the 2**e - 1 sizes after it, and e further bits say which. See docs/wire-format.md.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.cursor import Cursor, dump_number
from fedcomp.codecs.entropy.hazards import MAX_HAZARDS, hazard_frequencies
from fedcomp.codecs.entropy.tables import (
    MAX_ALPHABET,
    MAX_COMBINATIONS,
    GroupTable,
    Ints,
    dump_frequencies,
    group_table,
    read_frequencies,
)

MAX_LEVEL_BITS = 24
"""Zigzag numbers are below 2**24, so that a level plus its shift in 1/256 is a 31-bit integer."""
_OCTAVES, _EXPLICIT = 0x40, 0x80
_NO_FREQUENCIES = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class LevelTable:
    """The coding of one class; ``top`` 0 says that all of it is zeros, and nothing else counts.

    ``octaves`` is the number of indices from ``top`` on, 1 if ``top`` is the largest size that there is. ``hazards``
    are parameters as of ``fit_hazards``, or None where the frequencies travel one by one.
    """

    top: int
    octaves: int
    low_bits: int
    group: int
    hazards: bytes | None
    frequencies: Ints

    @property
    def signed(self) -> bool:
        """Whether sizes are magnitudes, with signs elsewhere."""
        return self.low_bits == 0

    def slots(self) -> GroupTable:
        """Return the table that the lanes use: 2**15 slots for groups, 2**14 for single symbols."""
        return slots_of(self.frequencies, self.group)

    def symbols(self, numbers: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
        """Return the symbols of zigzag numbers, and for each that is wide how many bits it has and what they are."""
        kind = numbers.dtype.type
        sizes = (numbers >> kind(1)) + (numbers & kind(1)) if self.signed else numbers >> kind(self.low_bits)
        places = np.flatnonzero(sizes > self.top) if self.octaves > 1 else np.empty(0, dtype=np.intp)
        above = sizes[places].astype(np.int64) - (self.top - 1)
        bits = np.frexp(above)[1].astype(np.int64) - 1
        sizes[places] = self.top + bits
        return sizes, bits, above - (1 << bits)

    def dump(self) -> bytes:
        """Return the bytes that ``read_table`` reads."""
        if not self.top:
            return dump_number(0)
        kind = (_EXPLICIT if self.hazards is None else self.hazards[0]) | (_OCTAVES if self.octaves > 1 else 0)
        head = dump_number(self.top) + bytes([self.low_bits << 4 | (self.group - 1), kind])
        octaves = bytes([self.octaves]) if self.octaves > 1 else b""
        return head + octaves + (dump_frequencies(self.frequencies) if self.hazards is None else self.hazards[1:])


def slots_of(frequencies: Ints, group: int) -> GroupTable:
    """Return the slots of groups, or of single symbols: their frequencies, since fewer slots lose fewer bits."""
    return group_table(frequencies, group) if group > 1 else GroupTable(len(frequencies), 1, frequencies)


def escape_bits(slots: GroupTable) -> int:
    """Return how many bits the index of an escaped group takes."""
    return (slots.combinations - 1).bit_length()


ZEROS = LevelTable(0, 1, 0, 1, b"\0", _NO_FREQUENCIES)


def read_table(cursor: Cursor) -> LevelTable:
    """Return the next table; raises ``PayloadError`` if it breaks a limit."""
    top = cursor.number()
    if not top:
        return ZEROS
    head, kind = cursor.take(2)
    low_bits, group = head >> 4, (head & 15) + 1
    octaves = cursor.take(1)[0] if kind & _OCTAVES else 1
    alphabet = top + octaves
    if alphabet > MAX_ALPHABET or (group > 1 and alphabet**group > MAX_COMBINATIONS):
        raise PayloadError(f"a class has an alphabet of {alphabet} in groups of {group}, over the limits")
    if (octaves < 2 and kind & _OCTAVES) or (top + (1 << octaves)) << max(low_bits, 1) > 1 << MAX_LEVEL_BITS:
        raise PayloadError(f"a class has {low_bits} low bits and {octaves} octaves above {top}, over the limits")
    count = kind & MAX_HAZARDS
    if kind & _EXPLICIT:
        if count:
            raise PayloadError(f"expected frequencies or hazards, got both: {count} hazards")
        return LevelTable(top, octaves, low_bits, group, None, read_frequencies(cursor, alphabet))
    hazards = bytes([count]) + bytes(cursor.take(count))
    return LevelTable(top, octaves, low_bits, group, hazards, hazard_frequencies(hazards, alphabet - 1, signed=False))
