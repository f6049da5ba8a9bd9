"""What the encoder believes of a class: the bits of every level and where its points lie, learnt from a sample."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.entropy.tables import SYMBOL_BITS
from fedcomp.codecs.trellis.bins import BINS_PER_STEP, NEAR_BINS, TABLE_BINS, Floats, Lookup
from fedcomp.codecs.trellis.machine import POINT_BITS, SHIFTED, Ints
from fedcomp.codecs.trellis.search import Numbers

PRICE_OF_BIT = 0.46
"""Squared steps that a bit is worth: the slope of the rate-distortion curve, fitted to Gaussian values at 1-4 bits."""
_MAGNITUDES = TABLE_BINS // (2 * BINS_PER_STEP) + 2
_INERTIA, _UNSEEN = 4, 0.3
_LOW_RATE = 1.5
"""Mean magnitude in steps over which nothing is gained by a quantizer 1 that is mostly zero."""
_HIGH_RATE, _VERY_HIGH_RATE = 8.0, 24.0
_ZERO_OF_SECOND, _DEAREST_ZERO = 7.0, 11.0
_MOSTLY_ZERO, _SHIFTS_MOSTLY_ZERO = 0.7, [[30, 45, 45], [40, 45, 45]]
_MOST = 2**16 - 1
_CENTRES = ((np.arange(TABLE_BINS) + 0.5) / BINS_PER_STEP).astype(np.float32)
Counts = NDArray[np.float64]


def _candidates() -> NDArray[np.int32]:
    """Return of each subset and bin three magnitudes, shape (3, 4, bins): others are four steps farther away."""
    quantizer, parity = np.array([[0], [0], [1], [1]]), np.array([[0], [1], [0], [1]])
    below = np.floor((_CENTRES + quantizer - 2 * parity) / 4).astype(np.int64) * 2 + parity
    three = np.stack([below - 2, below, below + 2])
    return np.asarray(np.minimum(np.maximum(three, parity), _MAGNITUDES - 2 + parity), dtype=np.int32)


_CANDIDATES = _candidates()
_UNMOVED = np.maximum(2.0 * np.arange(2**14 + 2) - np.array([[0.0], [1.0]]), 0.0)
"""What magnitudes stand for without shifts: all that have numbers of 16 bits."""
_PLACES = (_CANDIDATES + np.array([0, 0, _MAGNITUDES, _MAGNITUDES])[:, None]).astype(np.intp)


@dataclass(frozen=True, eq=False)
class Model:
    """``bits`` of each magnitude with its sign, shape (2, magnitudes), and ``shifts`` of points, shape (2, 3).

    ``cost`` is the mean cost in squared steps of the values it was learnt from, and ``lengths`` the bits of each number
    (see ``search``) if they are coded with as many bits as they have information, where they were learnt; ``surplus``
    is what that lacks, in all, for values like them (Miller 1955). A model that ``is_flat`` learns nothing but
    ``rate``, the bits of a value whose block has a mean magnitude of one step, and ``error``, its mean square in steps.
    """

    bits: NDArray[np.float64]
    shifts: Ints
    cost: float = 0.0
    lengths: Floats = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    surplus: float = 0.0
    is_flat: bool = False
    rate: float | None = None
    error: float = 0.0

    @classmethod
    def flat(cls, mean: float) -> "Model":
        """Return the model for values of a mean magnitude so large that all levels cost alike."""
        bits = np.zeros((2, _MAGNITUDES))
        # As dear as a search makes it where it has a symbol of its own.
        bits[1, 0] = _ZERO_OF_SECOND if mean < _VERY_HIGH_RATE else 0
        return cls(bits, np.zeros((2, SHIFTED), dtype=np.int64), is_flat=True)

    @classmethod
    def guesses(cls, magnitudes: Floats) -> "tuple[Model, ...]":
        """Return one or two guesses from magnitudes in steps, as if each quantizer were used without a trellis.

        Searches that learn from what they find settle in one of two ways: quantizer 1 does without zero (best for
        values like Gaussian ones, and at high rates), or it is mostly zero (best for heavy tails at low rates).
        """
        mean = float(magnitudes.mean())
        if mean >= _HIGH_RATE:
            return (cls.flat(mean),)
        halves = np.minimum(magnitudes, np.float32(2 * _MAGNITUDES - 4)) * np.float32(0.5)
        even, odd = (
            np.bincount((halves + np.float32(more)).astype(np.intp), minlength=_MAGNITUDES).astype(np.float64)
            for more in (0.4, 1.0)
        )
        zeros = int(np.count_nonzero(magnitudes < _MOSTLY_ZERO))
        odd[0] = len(magnitudes) // 64
        shifts = np.zeros((2, SHIFTED), dtype=np.int64)
        without = cls(_bits(np.stack([even, odd])), shifts)
        if mean > _LOW_RATE:
            return (without,)
        odd[0], odd[1] = zeros, odd[1] - zeros
        return without, cls(_bits(np.stack([even, odd])), np.array(_SHIFTS_MOSTLY_ZERO))

    def learn(self, magnitudes: Floats, numbers: Numbers) -> "Model":
        """Return the model of what a search with this one chose: magnitudes in steps, and numbers as in ``search``."""
        if numbers.dtype != np.uint16:
            near = numbers <= _MOST
            magnitudes, numbers = magnitudes[near], numbers[near].astype(np.uint16)
        places = numbers.astype(np.intp)
        size = 4 * max((int(numbers.max(initial=0)) + 2) // 4 + 1, SHIFTED + 1) - 2
        by_number = np.bincount(places, minlength=size), np.bincount(places, weights=magnitudes, minlength=size)
        counts, sums = (_by_magnitude(found) for found in by_number)
        points = points_of(self.shifts, counts.shape[1])
        squares = float(np.dot(magnitudes, magnitudes)) - float((points * (2 * sums - points * counts)).sum())
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        lengths = -np.log2(np.where(shares > 0, shares, 1))
        lengths[:, 1:] += 1
        cost = (squares + PRICE_OF_BIT * float((counts * lengths).sum())) / max(len(numbers), 1)
        surplus = np.count_nonzero(counts) / (2 * np.log(2))
        return Model(_bits(counts), self._moved(counts, sums), cost, by_number_of(lengths), surplus)

    def _moved(self, counts: Counts, sums: Counts) -> Ints:
        """Return shifts to the means of what was rounded to each point; few observations move a point by little."""
        off = sums - counts * _UNMOVED[:, : counts.shape[1]]
        number, total = (np.add.reduceat(each, range(1, SHIFTED + 1), axis=1) for each in (counts, off))
        moved = np.rint((total * 2.0**POINT_BITS + _INERTIA * self.shifts) / (number + _INERTIA))
        return np.asarray(np.minimum(np.maximum(moved, -127), 127), dtype=np.int64)

    @cached_property
    def lookup(self) -> Lookup:
        """What the search needs to know."""
        points = points_of(self.shifts, _MAGNITUDES).astype(np.float32).reshape(-1)
        prices = (PRICE_OF_BIT * self.bits).astype(np.float32).reshape(-1)
        costs = np.square(_CENTRES - points.take(_PLACES))
        costs[..., :NEAR_BINS] += prices.take(_PLACES[..., :NEAR_BINS])
        least, levels = costs[0], _CANDIDATES[0]
        for cost, candidate in zip(costs[1:], _CANDIDATES[1:], strict=True):
            levels = np.where(cost < least, candidate, levels)
            least = np.minimum(cost, least)
        return Lookup.of(least, levels)


def by_number_of(by_magnitude: NDArray[np.float64]) -> Floats:
    """Return by number what is given by quantizer and magnitude, shape (2, magnitudes)."""
    # Magnitude m has the numbers 4m - 2 ... 4m + 1: two signs of two quantizers.
    halves = np.repeat(by_magnitude.T[:, None], 2, axis=1)
    return np.asarray(halves.reshape(-1)[2:], dtype=np.float32)


def _by_magnitude(by_number: NDArray[Any]) -> Counts:
    """Return by quantizer and magnitude what is given by number, and belongs together."""
    halves = np.append(np.zeros(2), by_number).reshape(-1, 2, 2)
    return np.asarray((halves[:, 0] + halves[:, 1]).T)


def points_of(shifts: Ints, count: int) -> NDArray[np.float64]:
    """Return what magnitudes below ``count``, 2**14 + 2 at most, of both quantizers stand for, in steps."""
    points: NDArray[np.float64] = _UNMOVED[:, :count].copy()
    moved = shifts / 2.0**POINT_BITS
    points[:, 1:SHIFTED] += moved[:, : min(count, SHIFTED) - 1]
    points[:, SHIFTED:] += moved[:, SHIFTED - 1 :]
    return points


def _bits(counts: Counts) -> NDArray[np.float64]:
    """Return the bits of each magnitude with its sign; what has not been seen is dear, not impossible."""
    total = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    seen = np.zeros((2, _MAGNITUDES))
    seen[:, : counts.shape[1]] = counts[:, :_MAGNITUDES]
    bits: NDArray[np.float64] = np.log2(total / np.maximum(seen, np.maximum(total / 2.0**SYMBOL_BITS, _UNSEEN)))
    bits[:, 1:] += 1
    # Where it is not seen once it must not be lost for good: what becomes too dear is never seen again.
    bits[1, 0] = min(bits[1, 0], _DEAREST_ZERO)
    return bits
