"""Of the encoder: how the numbers of a class become a table, symbols for the lanes, and what goes beside them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.entropy.hazards import fit_hazards
from fedcomp.codecs.entropy.tables import SYMBOL_BITS
from fedcomp.codecs.trellis.lanes import Batch
from fedcomp.codecs.trellis.machine import Ints
from fedcomp.codecs.trellis.search import Numbers
from fedcomp.codecs.trellis.table import MAX_TOP, Table

_TYPICAL_WITHOUT_LOW_BITS, _SAMPLE = 17, 2**11
_ESCAPE_BITS = 6.0
_CAP = 2**16 - 1
_CHUNK = 2**16


@dataclass(frozen=True, eq=False)
class Part:
    """What is coded of one class: its table, what goes beside the lanes, and what goes through them.

    ``bits`` is about how many of them the lanes take.
    """

    table: Table
    extras: NDArray[np.uint32]
    low: NDArray[Any]
    batch: Batch
    bits: float

    @property
    def coded_bits(self) -> float:
        """About how many bits it takes, but for the table."""
        return self.bits + len(self.extras) * self.table.extra_bits + len(self.low) * self.table.low_bits

    @property
    def size(self) -> float:
        """About how many bytes all of it takes, without the states of the lanes."""
        return self.coded_bits / 8 + len(self.table.dump())


def make_part(numbers: Numbers, shifts: Ints) -> Part:
    """Return the part of a class whose values have these numbers (see ``search``), searched with these shifts.

    What the numbers are is spoilt: there is no second array of their size.
    """
    # The third quartile: outliers are for extra numbers, not for low bits of all the others.
    sample = numbers[:: -(-len(numbers) // _SAMPLE)]
    typical = int(np.partition(sample, len(sample) * 3 // 4)[len(sample) * 3 // 4])
    low_bits = max(int(np.ceil(np.log2(max(typical, 1) / (4 * _TYPICAL_WITHOUT_LOW_BITS)))), 0)
    low = _split(numbers, low_bits) if low_bits else np.empty(0, dtype=np.uint8)
    counts = _count(numbers)
    top = _choose_top(counts.sum(axis=0))
    extras = np.empty(0, dtype=np.uint32)
    if top + 1 < counts.shape[1]:
        extras = _escape(numbers, top)
        counts = _count(numbers)
    parameters = (_fit(counts[0], top), _fit(counts[1], top))
    table = Table(low_bits, top, int(extras.max(initial=0)).bit_length(), shifts, parameters)
    batch = Batch(numbers.astype(np.uint16, copy=False), table.frequencies())
    return Part(table, extras, low, batch, _coded_bits(counts, batch.frequencies))


def _chunks(numbers: NDArray[Any]) -> Iterator[NDArray[Any]]:
    yield from (numbers[at : at + _CHUNK] for at in range(0, len(numbers), _CHUNK))


def _split(numbers: Numbers, low_bits: int) -> NDArray[Any]:
    """Turn numbers into those of the high parts, in place, and return the low bits."""
    lows = np.empty(len(numbers), dtype=np.min_scalar_type((1 << low_bits) - 1))
    signed = np.int16 if numbers.dtype == np.uint16 else np.int32
    one, half, sign = signed(1), signed(1 << (low_bits - 1)), signed(8 * numbers.itemsize - 1)
    for part, low in zip(_chunks(numbers), _chunks(lows), strict=True):
        zigzag = (part >> part.dtype.type(1)).view(signed)
        level = (zigzag >> one) ^ -(zigzag & one)
        level += half
        np.bitwise_and(level, signed((1 << low_bits) - 1), out=low, casting="unsafe")
        level >>= signed(low_bits)
        part &= part.dtype.type(1)
        part |= (((level << one) ^ (level >> sign)) << one).view(part.dtype)
    return lows


def _escape(numbers: Numbers, top: int) -> NDArray[np.uint32]:
    """Leave no magnitude over ``top`` in place, and return half of what is missing where they stand for more."""
    where = np.flatnonzero(numbers >= 4 * (top - 1) - 2)
    extras = (((numbers[where].astype(np.int64) + 2) >> 2) - (top - 1)) >> 1
    numbers[where] -= (8 * extras).astype(numbers.dtype)
    return extras.astype(np.uint32)


def _count(numbers: Numbers) -> Ints:
    """Return how often each quantizer has each magnitude, shape (2, magnitudes); very large ones count as one."""
    last = min(int(numbers.max()), _CAP)
    # Magnitude m has the numbers 4m - 2 ... 4m + 1: two signs of two quantizers.
    counts = np.zeros(4 * ((last + 2) // 4 + 1), dtype=np.int64)
    for part in _chunks(numbers):
        found = np.bincount(part if part.dtype == np.uint16 else np.minimum(part, last))
        counts[2 : 2 + len(found)] += found
    halves = counts.reshape(-1, 2, 2)
    by_quantizer: Ints = (halves[:, 0] + halves[:, 1]).T
    return by_quantizer


def _choose_top(counts: Ints) -> int:
    """Return the largest magnitude that gets symbols: those take a slot each from all others, an escape its bits."""
    last, total = len(counts) - 1, int(counts.sum())
    tops = np.arange(2, min(last, MAX_TOP + 1))
    escapes = np.cumsum(counts[::-1])[::-1][tops - 1]
    slots = total * 2 * np.append(tops, last) / 2**14 / np.log(2)
    costs = slots + np.append(escapes * (_ESCAPE_BITS + np.log2(last + 1)), 0.0 if last <= MAX_TOP else np.inf)
    return int(np.append(tops, last)[costs.argmin()])


def _fit(counts: Ints, top: int) -> bytes:
    # One magnitude more than have been seen counts as seen once: the tail must not look like what comes before it.
    seen = np.flatnonzero(counts)
    last = int(seen[-1]) + 1 if len(seen) else 0
    return fit_hazards(np.append(counts[:last], 1)[: top + 1])


def _coded_bits(counts: Ints, frequencies: Ints) -> float:
    """Return the bits of symbols by how often each quantizer has each magnitude, both signs alike."""
    bits = SYMBOL_BITS - np.log2(frequencies[:, : 2 * counts.shape[1] - 1])
    of_signs = (bits[:, 1::2] + bits[:, 2::2]) / 2
    return float(counts[:, 0] @ bits[:, 0]) + float((counts[:, 1:] * of_signs).sum())
