"""What the encoder believes of a class: the bits of every level and where its points lie, learnt from a sample."""

from dataclasses import dataclass

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
_ZERO_OF_SECOND, _FLAT_RATE = 7.0, 1.4
_MOSTLY_ZERO, _SHIFTS_MOSTLY_ZERO = 0.7, [[30, 45, 45], [40, 45, 45]]
_MOST = 2**12
Counts = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Model:
    """``bits`` of each magnitude with its sign, shape (2, magnitudes), and ``shifts`` of points, shape (2, 3).

    ``rate`` is the mean number of bits, and ``cost`` the mean cost in squared steps, of the values it was learnt from.
    """

    bits: NDArray[np.float64]
    shifts: Ints
    rate: float = 0.0
    cost: float = 0.0

    @classmethod
    def flat(cls, mean: float) -> "Model | None":
        """Return the model for values of a mean magnitude so large that all levels cost alike, or None if it is not."""
        if mean < _HIGH_RATE:
            return None
        bits = np.zeros((2, _MAGNITUDES))
        # As dear as a search makes it where it has a symbol of its own.
        bits[1, 0] = _ZERO_OF_SECOND if mean < _VERY_HIGH_RATE else 0
        return cls(bits, np.zeros((2, SHIFTED), dtype=np.int64), _FLAT_RATE + float(np.log2(mean)))

    @classmethod
    def guesses(cls, magnitudes: Floats) -> "tuple[Model, ...]":
        """Return one or two guesses from magnitudes in steps, as if each quantizer were used without a trellis.

        Searches that learn from what they find settle in one of two ways: quantizer 1 does without zero (best for
        values like Gaussian ones, and at high rates), or it is mostly zero (best for heavy tails at low rates).
        """
        halves = np.minimum(magnitudes, np.float32(2 * _MAGNITUDES - 4)) * np.float32(0.5)
        even, odd = (
            np.bincount((halves + np.float32(more)).astype(np.intp), minlength=_MAGNITUDES).astype(np.float64)
            for more in (0.4, 1.0)
        )
        zeros = int(np.count_nonzero(magnitudes < _MOSTLY_ZERO))
        odd[0] = len(magnitudes) // 64
        shifts = np.zeros((2, SHIFTED), dtype=np.int64)
        without = cls(_bits(np.stack([even, odd])), shifts)
        if magnitudes.mean() > _LOW_RATE:
            return (without,)
        odd[0], odd[1] = zeros, odd[1] - zeros
        return without, cls(_bits(np.stack([even, odd])), np.array(_SHIFTS_MOSTLY_ZERO))

    def learn(self, magnitudes: Floats, numbers: Numbers) -> "Model":
        """Return the model of what a search with this one chose: magnitudes in steps, and numbers as in ``search``."""
        # Even places are quantizer 0, odd ones 1; the two signs of a magnitude are one.
        places = np.minimum((numbers.astype(np.intp) + 2) >> 2, _MOST) * 2 + (numbers & 1)
        size = 2 * max(int(places.max()) // 2 + 1, SHIFTED + 1)
        counts: Counts = np.bincount(places, minlength=size).reshape(-1, 2).T.astype(np.float64)
        sums: Counts = np.bincount(places, weights=magnitudes, minlength=size).reshape(-1, 2).T.astype(np.float64)
        points = _points(self.shifts, counts.shape[1])
        squares = float(np.dot(magnitudes, magnitudes)) - float((points * (2 * sums - points * counts)).sum())
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        rate = float(counts[:, 1:].sum() - (counts * np.log2(np.where(shares > 0, shares, 1))).sum()) / len(numbers)
        return Model(_bits(counts), self._moved(counts, sums), rate, squares / len(numbers) + PRICE_OF_BIT * rate)

    def _moved(self, counts: Counts, sums: Counts) -> Ints:
        """Return shifts to the means of what was rounded to each point; few observations move a point by little."""
        off = sums - counts * _points(np.zeros_like(self.shifts), counts.shape[1])
        number, total = counts[:, 1:_MOST].copy(), off[:, 1:_MOST].copy()
        number[:, SHIFTED - 1], total[:, SHIFTED - 1] = (each[:, SHIFTED - 1 :].sum(axis=1) for each in (number, total))
        number, total = number[:, :SHIFTED], total[:, :SHIFTED] * 2.0**POINT_BITS
        moved = np.rint((total + _INERTIA * self.shifts) / (number + _INERTIA))
        return np.clip(moved, -127, 127).astype(np.int64)

    def lookup(self) -> Lookup:
        """Return what the search needs to know."""
        centers = ((np.arange(TABLE_BINS) + 0.5) / BINS_PER_STEP).astype(np.float32)
        # By quantizer, parity, bin, and half the magnitude.
        points = _points(self.shifts, _MAGNITUDES).astype(np.float32).reshape(2, -1, 2).transpose(0, 2, 1)[:, :, None]
        prices = (PRICE_OF_BIT * self.bits).astype(np.float32).reshape(2, -1, 2).transpose(0, 2, 1)[:, :, None]
        costs = np.square(centers[:, None] - points)
        costs[:, :, :NEAR_BINS] += prices
        best = costs.argmin(axis=3)
        levels = (2 * best + np.array([[0], [1]])).astype(np.int32)
        cheapest = np.take_along_axis(costs, best[..., None], axis=3)
        return Lookup.of(cheapest.reshape(4, TABLE_BINS), levels.reshape(4, TABLE_BINS))


def _points(shifts: Ints, count: int) -> NDArray[np.float64]:
    """Return what magnitudes below ``count`` of both quantizers stand for, in steps."""
    number = np.arange(count)
    moved = shifts[:, np.clip(number, 1, SHIFTED) - 1] / 2.0**POINT_BITS
    return np.where(number > 0, 2 * number - np.array([[0], [1]]) + moved, 0.0)


def _bits(counts: Counts) -> NDArray[np.float64]:
    """Return the bits of each magnitude with its sign; what has not been seen is dear, not impossible."""
    total = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    seen = np.zeros((2, _MAGNITUDES))
    seen[:, : counts.shape[1]] = counts[:, :_MAGNITUDES]
    bits: NDArray[np.float64] = np.log2(total / np.maximum(seen, np.maximum(total / 2.0**SYMBOL_BITS, _UNSEEN)))
    bits[:, 1:] += 1
    return bits
